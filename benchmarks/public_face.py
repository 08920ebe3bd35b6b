"""Records what others depend on: names, import paths, commands, help, routes, files.

Compares two records: an entry that is gone or changed is a loss, a new one is not. Records leave
out prose, so that texts may change. The static part takes seconds, and the tests compare it.
public_files.py takes minutes: it runs the product to find the files on disk and the keys of all
JSON.

    python benchmarks/public_face.py --out face.json              records both parts
    python benchmarks/public_face.py --out face.json --static
    python benchmarks/public_face.py --compare tests/golden/public_face.json face.json
    python benchmarks/public_face.py --against tests/golden/public_face.json
"""

import argparse
import inspect
import json
import re
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import MagicMock

from public_files import record_run, run_verb

ROOT = Path(__file__).resolve().parents[1]
# Paths that other projects import, whether the book shows them or not.
OWNERS = (
    "rag_vqa.retriever.model:RetModel",
    "rag_vqa.retriever.model:RetrieverModel",
    "rag_vqa.retriever.encoder:Encoder",
    "rag_vqa.retriever.index:make_index",
    "rag_vqa.retriever.knowledge_base:KnowledgeBase",
    "rag_vqa.eval.infoseek:normalize_answer",
    "rag_vqa.eval.infoseek:parse_numbers",
    "rag_vqa.eval.infoseek:score_answer",
    "rag_vqa.eval.evqa:preprocess_answer",
    "rag_vqa.eval.evqa:exact_match",
    "rag_vqa.eval.evqa:score_answer",
    "rag_vqa.readers.local:LocalReader",
    "rag_vqa.readers.remote:RemoteReader",
)
Record = dict[str, Any]


def read_pages() -> str:
    """The text of all documentation pages and examples."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    pages += [*(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.py")]
    pages += [*(ROOT / "examples").rglob("*.md"), *(ROOT / "examples").rglob("*.sh")]
    return "\n".join(page.read_text("utf-8") for page in sorted(pages))


# --- names and import paths --------------------------------------------------------------------


def parameters_of(thing: Any) -> dict[str, str]:
    """Position, kind and default of each parameter of a callable, without annotations."""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return {}
    found = {}
    for place, (name, each) in enumerate(signature.parameters.items()):
        where = f"{place} " if each.kind is each.POSITIONAL_OR_KEYWORD else ""
        default = (
            "" if each.default is each.empty else f" = {re.sub(' at 0x.*', '', repr(each.default))}"
        )
        found[name] = f"{where}{each.kind.description}{default}"
    return found


def members_of(kind: type) -> dict[str, Any]:
    """Public attributes and methods, with parameters, of a class and its bases."""
    found: dict[str, Any] = {}
    for name in dir(kind):
        if not name.startswith("_") and not hasattr(object, name):
            value = inspect.getattr_static(kind, name)
            callee = getattr(kind, name, None)
            is_method = callable(callee) and not isinstance(value, property)
            found[name] = parameters_of(callee) if is_method else "attribute"
    return found


def resolve(path: str) -> Any:
    """The object at "module:name.name" or "module". Raises if there is none."""
    module, _, names = path.partition(":")
    found = import_module(module)
    for name in filter(None, names.split(".")):
        found = getattr(found, name)
    return found


def describe(path: str) -> dict[str, Any]:
    """Kind of the object at a path, with its parameters if it can be called."""
    thing = resolve(path)
    if inspect.ismodule(thing):
        return {"is": "module"}
    if inspect.isclass(thing):
        return {"is": "class", "parameters": parameters_of(thing)}
    if callable(thing):
        return {"is": "function", "parameters": parameters_of(thing)}
    return {"is": "value"}


def shown_paths(text: str) -> set[str]:
    """Import paths in the text of pages, from import statements and dotted names in prose."""
    found = set(OWNERS)
    for module, names in re.findall(r"from (rag_vqa[\w.]*) import (\([^)]*\)|[^\n`#;]+)", text):
        for name in re.findall(r"(\w+)(?: as \w+)?", names.strip("()\n ")):
            found.add(f"{module}:{name}")
    for dotted in re.findall(r"\brag_vqa(?:\.\w+)+", text):
        found.add(dotted)
        module, _, name = dotted.rpartition(".")
        found.add(f"{module}:{name}")
    return {path for path in found if is_there(path)}


def is_there(path: str) -> bool:
    try:
        resolve(path)
    except (ImportError, AttributeError):
        return False
    return True


def documented_members(text: str) -> set[str]:
    """Methods and attributes with an entry in the reference, like "RagVqa.ask"."""
    return set(re.findall(r"^#### `(\w+\.\w+)`$", text, re.M))


def record_members(paths: Mapping[str, Any], documented: set[str]) -> dict[str, Any]:
    """The members that the reference documents, of each class among the paths."""
    found: dict[str, Any] = {}
    for path in paths:
        kind = resolve(path)
        if inspect.isclass(kind):
            members = members_of(kind)
            for entry in documented:
                owner, _, name = entry.partition(".")
                if owner == kind.__name__ and name in members:
                    found[f"{path}.{name}"] = members[name]
    return found


def record_exports() -> dict[str, Any]:
    import rag_vqa

    return {
        name: {"parameters": parameters_of(kind), "members": members_of(kind)}
        for name in rag_vqa.__all__
        for kind in (getattr(rag_vqa, name),)
    }


def record_errors() -> dict[str, Any]:
    """The exception tree with its exit codes."""
    errors = import_module("rag_vqa.errors")
    kinds = (kind for _, kind in inspect.getmembers(errors, inspect.isclass))
    return {
        kind.__name__: {"base": kind.__base__.__name__, "exit_code": kind.exit_code}
        for kind in kinds
        if issubclass(kind, errors.RagVqaError)  # not the warning
    }


# --- commands and help -------------------------------------------------------------------------


def command_tree() -> dict[str, Any]:
    """click's command of each verb; "" is the program itself."""
    import typer

    program = typer.main.get_command(import_module("rag_vqa.cli.app").app)
    found: dict[str, Any] = {"": program}

    def visit(command: Any, path: str) -> None:
        for name, inner in getattr(command, "commands", {}).items():
            found[f"{path} {name}".strip()] = inner
            visit(inner, f"{path} {name}".strip())

    visit(program, "")
    return found


def describe_parameter(parameter: Any) -> dict[str, Any]:
    """An option or argument of a verb, without prose."""
    shown = re.search(r"\[(?:default: )?([\w.,%+-]+)\]\.?$", parameter.help or "")
    kind = parameter.type_descriptor.annotation
    found = {
        "is": parameter.param_type_name,
        "metavar": parameter.metavar,
        "type": getattr(kind, "__name__", None) or str(kind),
        "least": parameter.min,
        "most": parameter.max,
        "default": None if parameter.default is None else str(parameter.default),
        "default in words": shown[1] if shown else None,
        "variable": parameter.envvar,
        "several values": parameter.nargs != 1,
        **{
            name: getattr(parameter, name, False)
            for name in ("required", "multiple", "is_flag", "hidden")
        },
    }
    if parameter.param_type_name == "option":
        found["switches"] = [*parameter.opts, *parameter.secondary_opts]
    return {
        name: value for name, value in found.items() if value is not None and value is not False
    }


def record_help(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Options and arguments of every verb."""
    found: dict[str, Any] = {}
    for verb, command in tree.items():
        entries = {}
        for place, parameter in enumerate(
            p for p in command.params if p.param_type_name == "argument"
        ):
            entries[f"argument {place}"] = describe_parameter(parameter)
        for parameter in command.params:
            if parameter.param_type_name == "option":
                entries[max(parameter.opts, key=len)] = describe_parameter(parameter)
        found[verb or "rag-vqa"] = entries
    return found


def shown_commands(text: str, tree: Mapping[str, Any]) -> dict[str, list[str]]:
    """Verbs in the text of pages, each with the options that the pages show."""
    found: dict[str, set[str]] = {}
    for line in re.findall(r"rag-vqa ([^\n`]+)", text.replace("\\\n", " ")):
        words = line.split()
        options = {word.partition("=")[0].strip("().,;…") for word in words if word[:1] == "-"}
        verb = ""
        for word in (word for word in words if word[:1] != "-"):
            if f"{verb} {word}".strip() not in tree:
                break
            verb = f"{verb} {word}".strip()
        known = {switch for place in ("", verb) for p in tree[place].params for switch in p.opts}
        found.setdefault(verb or "rag-vqa", set()).update(options & known)
    return {verb: sorted(options) for verb, options in sorted(found.items())}


def shown_programs(text: str) -> list[str]:
    """Modules of ours that pages run with `python -m`."""
    names = set(re.findall(r"python -m (rag_vqa[\w.]*\w)", text))
    return sorted(name for name in names if find_spec(name) is not None)


# --- routes ------------------------------------------------------------------------------------


def record_routes() -> dict[str, Any]:
    """Each route with its methods and schema, without names of models, titles and descriptions."""
    create_app = import_module("rag_vqa.server.app").create_app
    app = create_app(import_module("rag_vqa.server.service").Service(MagicMock()))
    routes: dict[str, Any] = {}

    def visit(some: Any) -> None:
        for route in some:
            for method in sorted(getattr(route, "methods", None) or ()):
                routes[f"{method} {route.path}"] = {}
            visit(getattr(getattr(route, "original_router", None), "routes", ()))

    visit(app.routes)
    schema = app.openapi()
    for path, methods in schema["paths"].items():
        for method, entry in methods.items():
            routes.setdefault(f"{method.upper()} {path}", {})["schema"] = inline_references(
                entry, schema
            )
    return routes


def inline_references(node: Any, schema: Mapping[str, Any], above: tuple[str, ...] = ()) -> Any:
    """A part of an OpenAPI schema with its references replaced by their targets."""
    if isinstance(node, list):
        return [inline_references(each, schema, above) for each in node]
    if not isinstance(node, Mapping):
        return node
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        if name in above:
            return "as above"
        return inline_references(schema["components"]["schemas"][name], schema, (*above, name))
    prose = ("title", "description", "summary", "operationId")
    return {
        key: inline_references(value, schema, above)
        for key, value in node.items()
        if key != "discriminator" and (key not in prose or isinstance(value, Mapping))
    }


# --- records -----------------------------------------------------------------------------------


def record_static(text: str) -> Record:
    """All records that need no model; `text` is that of the pages."""
    tree = command_tree()
    presets = json.loads(run_verb("config", "presets", "--json"))
    paths = {path: describe(path) for path in sorted(shown_paths(text))}
    return {
        "exports": record_exports(),
        "imports": paths,
        "members": record_members(paths, documented_members(text)),
        "programs": shown_programs(text),
        "errors": record_errors(),
        "commands": shown_commands(text, tree),
        "help": record_help(tree),
        "routes": record_routes(),
        "settings": json.loads(run_verb("config", "show", "--json")),
        "presets": {row["name"]: drop_prose(row) for row in presets},
    }


def drop_prose(preset: Mapping[str, Any]) -> Record:
    """A preset's values without its description and its models' notes."""
    models = [{key: row[key] for key in row if key != "note"} for row in preset["models"]]
    return {key: preset[key] for key in preset if key != "about"} | {"models": models}


def record_again(old: Mapping[str, Any]) -> Record:
    """Looks up in the present code what an old record names: pages may have changed since."""
    new = record_static("")
    paths = [path for path in old["imports"] if is_there(path)]
    new["imports"] = {path: describe(path) for path in paths}
    entries = {entry.partition(":")[2] for entry in old["members"]}
    new["members"] = record_members(new["imports"], entries)
    new["programs"] = [name for name in old["programs"] if find_spec(name) is not None]
    switches = {
        verb: {switch for entry in entries.values() for switch in entry.get("switches", ())}
        for verb, entries in new["help"].items()
    }
    everywhere = switches["rag-vqa"]
    new["commands"] = {
        verb: sorted(set(options) & (switches[verb] | everywhere))
        for verb, options in old["commands"].items()
        if verb in switches
    }
    return new


def find_losses(old: Any, new: Any, where: str = "") -> list[str]:
    """Entries of an old record that are gone from a new one, or differ. Ignores additions."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = []
        for key, value in old.items():
            place = f"{where} · {key}" if where else str(key)
            found += find_losses(value, new[key], place) if key in new else [f"{place}: gone"]
        return found
    if isinstance(old, list) and isinstance(new, list):
        if all(isinstance(each, Mapping) for each in (*old, *new)) and len(old) == len(new):
            pairs = enumerate(zip(old, new, strict=True))
            return [line for n, (a, b) in pairs for line in find_losses(a, b, f"{where} · {n}")]
        return [f"{where}: {each!r} is gone" for each in old if each not in new]
    return [] if old == new else [f"{where}: was {old!r}, is {new!r}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="Write the record to this file.")
    parser.add_argument(
        "--static", action="store_true", help="Leave out the part that runs models."
    )
    parser.add_argument(
        "--folder", type=Path, metavar="NEW", help="Keep what the verbs write in this folder."
    )
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("OLD", "NEW"))
    parser.add_argument(
        "--against", type=Path, metavar="OLD", help="Look up what OLD names, and compare."
    )
    given = parser.parse_args()
    if given.compare:
        old, new = (json.loads(file.read_text("utf-8")) for file in given.compare)
        raise SystemExit(report(find_losses(old, new)))
    old = json.loads(given.against.read_text("utf-8")) if given.against else None
    record = record_again(old) if old else record_static(read_pages())
    if not given.static:
        with TemporaryDirectory() as scratch:
            folder = given.folder or Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            record |= record_run(folder)
    text = json.dumps(record, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    if given.out is not None:
        given.out.write_text(text, "utf-8")
    if old:
        raise SystemExit(report(find_losses({key: old[key] for key in record}, record)))


def report(losses: list[str]) -> int:
    """Prints the losses. Returns the exit code."""
    print("\n".join(losses) or "Nothing is lost.")
    return int(bool(losses))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
