"""Rules of the house that neither ruff, mypy nor import-linter keeps; figures with `pytest -s`.

The direction of imports is LAYERS, the words that no name may consist of are BANNED, a reason for
a small module is a line of its header that begins with "Apart because".
"""

import ast
import re
from collections import defaultdict
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import pytest
from import_graph import import_cycles, import_graph, importers, is_reexport, product_modules

LONGEST = 400  # lines: a longer file is two ideas
SMALL = 60  # lines: a shorter file with one importer belongs into that importer
MOST_FILES, MOST_SMALL, MOST_WITH_ONE_IMPORTER = 393, 30, 0.28
REASON = re.compile(r"^Apart because \S", re.M)

# What is still to be mended, by rule: may only fall. None at the end.
PENDING: dict[str, int] = {}

# From top to bottom, by the first name below rag_vqa ("" is rag_vqa/__init__.py). A module imports
# from its own layer and from those below. What `|` parts never imports one another.
LAYERS = """
    __main__
    cli
    demo
    jobs
    server | integrations
    eval
    ""
    pipeline
    critic demo_limits cited_answers
    retriever | prompts | readers
    formats images settings settings_schema presets checkpoints hub serialization answer_stream
    image_formats
    image_signatures image_boxes image_metadata jxl_process data_address
    storage
    types errors formatting progress devices memory model_structure registry
"""

# Words that are no whole name of a module, function or class: they say nothing alone.
BANNED = """
    about again ahead alike all alone any anything apart aside at away back before beside beyond
    between by each either else enough ever every everything far here how however instead it just
    later likewise many me more most much near nearest never none nothing now of off often on once
    only other others otherwise out over own quite rather same she so some somebody something
    soon still such that them then there these they this those through thus to together too twice
    under until up upon us very we what when where which while who whole whom whose why with
    within without yet you
    begun bent bound bought broken brought built caught chosen come dealt done drawn driven fallen
    felt found forgotten given gone got grown had heard held hidden kept known laid learnt led left
    lent lost made meant met missing one paid said seen sent shown sold sought spent spoke spoken
    stood stuck taken taught told thought thrown understood won worn written
    finite foreign right safe wrong
"""
PARTICIPLE = re.compile(r"[a-z]{2,}(ed|ing)")  # unless a noun of the field:
NOUNS = """
    bed embed feed need seed speed
    batching chunking drawing embedding encoding finding formatting heading listing logging mapping
    mining modeling padding pooling ranking reasoning ring routing sampling scoring setting spelling
    streaming string thing training
"""
# Public names that stay, and names that other libraries ask for.
KEPT = frozenset({"Locked", "Missing", "Rejected", "to"})  # tensors and inputs move by `to`
KEPT_MODULES = frozenset({"rag_vqa.eval.benchmarks.own"})  # a benchmark's name, as users write it
VAGUE_MODULES = ("utils", "helpers", "common", "misc")
# Folders whose modules may have one name, because they are one thing seen from two sides.
MIRRORED = (
    ("cli", "jobs"),  # a verb's flags, and what it does
    ("cli.eval", "jobs"),
    ("cli", "integrations"),
    ("", "cli"),  # the Reporter protocol, and the terminal's
    ("cli", "server"),  # two applications
    ("cli", "server.routes"),  # a verb, and its route
    ("readers.local", "readers.remote"),
    ("eval", "eval.benchmarks"),  # a benchmark's name
    ("eval", "eval.metrics"),
    ("eval.benchmarks", "eval.metrics"),
)


ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def modules() -> dict[str, Path]:
    return product_modules(ROOT)


@pytest.fixture(scope="module")
def trees(modules: Mapping[str, Path]) -> dict[str, ast.Module]:
    return {module: ast.parse(file.read_text("utf-8")) for module, file in modules.items()}


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    return import_graph(ROOT)


def judge(rule: str, found: list[str]) -> None:
    """Fails if a rule is broken more often than PENDING allows; `pytest -rP` shows where."""
    listed = f"{len(found)} {rule}:\n" + "\n".join(found)
    print(listed)
    assert len(found) <= PENDING.get(rule, 0), listed


def count_lines(file: Path) -> int:
    return len(file.read_text("utf-8").splitlines())


def layers() -> dict[str, tuple[int, int]]:
    """The layer of each first name, and which of the peers in it."""
    rows = [line.strip() for line in LAYERS.strip().splitlines()]
    return {
        name.strip('"'): (row, peer)
        for row, line in enumerate(rows)
        for peer, names in enumerate(line.split("|"))
        for name in names.split()
    }


def top_of(module: str) -> str:
    return module.removeprefix("rag_vqa").removeprefix(".").partition(".")[0]


def test_the_graph_sees_the_product_through_the_mapping(modules, graph) -> None:
    assert modules["rag_vqa.retriever.store"].parent.parent.name == "retriever"
    assert "rag_vqa.types" in graph["rag_vqa.pipeline"]
    assert "rag_vqa.retriever.knowledge_base" in graph["rag_vqa"]  # under TYPE_CHECKING


def test_no_modules_import_each_other(graph) -> None:
    judge("cycles", [" · ".join(group) for group in import_cycles(graph)])


def test_every_module_lies_in_a_layer(graph) -> None:
    assert {top_of(module) for module in graph} <= layers().keys()


def test_imports_point_down(graph) -> None:
    place = layers()
    climbs = []
    for module, targets in sorted(graph.items()):
        for target in sorted(targets):
            (row, peer), (below, other) = place[top_of(module)], place[top_of(target)]
            if below < row or (below == row and peer != other):
                climbs.append(f"{module} imports {target}")
    judge("climbs", climbs)


def is_bare(name: str) -> bool:
    """Whether a name is nothing but a participle, an adverb or a pronoun."""
    words = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name.strip("_"))
    if len(words) != 1 or name in KEPT or (name.startswith("__") and name.endswith("__")):
        return False
    word = words[0].lower()
    is_participle = PARTICIPLE.fullmatch(word) is not None and word not in NOUNS.split()
    return is_participle or word in BANNED.split()


@pytest.mark.parametrize(
    ("name", "bare"),
    [("asked", True), ("_there", True), ("Given", True), ("building", True), ("seed", False),
     ("missing_parts", False), ("NotFetched", False), ("RetPretrained", False),
     ("training", False), ("__init__", False), ("Missing", False), ("read", False)],
)  # fmt: skip
def test_what_a_bare_name_is(name: str, bare: bool) -> None:
    assert is_bare(name) is bare


def test_no_module_is_named_by_a_bare_word(modules, trees) -> None:
    judge(
        "bare modules",
        [
            module
            for module in modules
            if is_bare(module.rpartition(".")[2])
            and module not in KEPT_MODULES
            and not is_reexport(trees[module])
        ],
    )


def test_no_function_or_class_is_named_by_a_bare_word(trees) -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    bare = [
        f"{module}:{node.lineno} {node.name}"
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, kinds) and is_bare(node.name)
    ]
    judge("bare names", bare)


def test_one_name_is_one_module(modules, trees) -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for module, file in modules.items():
        if not file.name.startswith("__") and not is_reexport(trees[module]):
            homes[file.stem].append(module.removeprefix("rag_vqa.").rpartition(".")[0])
    mirrored = {frozenset(pair) for pair in MIRRORED}
    twice = [
        f"{name}: {' and '.join(folder or 'rag_vqa' for folder in pair)}"
        for name, folders in sorted(homes.items())
        for pair in combinations(folders, 2)
        if frozenset(pair) not in mirrored
    ]
    judge("twins", twice)


def test_no_file_is_longer_than_one_idea(modules) -> None:
    lengths = {module: count_lines(file) for module, file in modules.items()}
    judge("long files", [f"{module} {n}" for module, n in lengths.items() if n > LONGEST])


def test_a_small_module_with_one_importer_says_why(modules, trees, graph) -> None:
    users = importers(graph)
    silent = [
        f"{module} ({count_lines(file)} lines), by {', '.join(users[module])}"
        for module, file in modules.items()
        if not file.name.startswith("__")
        and count_lines(file) < SMALL
        and len(users[module]) == 1
        and not is_reexport(trees[module])
        and not REASON.search(ast.get_docstring(trees[module]) or "")
    ]
    judge("small modules with one importer and no `Apart because …` in their header", silent)


def test_figures(modules, graph, capsys) -> None:
    lengths = [count_lines(file) for file in modules.values()]
    lonely = sum(len(users) == 1 for users in importers(graph).values())
    small = sum(length < SMALL for length in lengths)
    inits = sum(
        file.name.startswith("__") and count_lines(file) < SMALL for file in modules.values()
    )
    with capsys.disabled():
        print(
            f"\n{len(modules)} files, {sum(lengths):,} lines; {lonely} with one importer"
            f" ({lonely / len(modules):.0%}); {small} under {SMALL} lines, of these {inits}"
            f" __init__ and __main__; longest {max(lengths)}; cycles {len(import_cycles(graph))}"
        )
    assert len(modules) <= MOST_FILES
    assert lonely <= MOST_WITH_ONE_IMPORTER * len(modules)
    assert small - inits <= MOST_SMALL


def test_only_images_py_opens_a_picture(root, modules) -> None:
    # photo.py unpacks the JPEG that it packed a line before: no file of anybody's.
    allowed = {modules["rag_vqa.images"], *(root / "rag_vqa" / "demo").rglob("photo.py")}
    for file in set(modules.values()) - allowed:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            opens = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "open"
                and ast.unparse(node.func.value).split(".")[-1] == "Image"
            )
            assert not opens, f"{file}: pictures are opened by rag_vqa.images alone"


def test_what_flows_imports_nothing_of_ours(graph) -> None:
    assert graph["rag_vqa.types"] == set() == graph["rag_vqa.errors"]


@pytest.mark.parametrize("word", VAGUE_MODULES)
def test_every_file_is_named_after_what_it_knows(modules, word) -> None:
    assert [file for file in modules.values() if file.stem == word] == []


def test_nothing_is_left_to_do(modules) -> None:
    for file in modules.values():
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            left = [mark for mark in ("TODO", "FIXME", "XXX", "HACK") if f"# {mark}" in line]
            assert not left, f"{file}:{number}: {left[0]}"
