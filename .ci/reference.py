"""Writes docs/reference.md from the docstrings of the public names.

Knows which names are public and how a docstring becomes Markdown. Does not know what they do. `make
readme` runs it; tests/test_readme.py fails if the page is out of date.
"""

import inspect
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference.md"
# Chapter → names, each "module:name" below rag_vqa.
PUBLIC: dict[str, tuple[str, ...]] = {
    "Asking": ("pipeline:RagVqa", "critic:Filter", "critic:Critic"),
    "Knowledge bases": (
        "retriever.knowledge_base:KnowledgeBase",
        "retriever.report:AddReport",
        "retriever.syncing:SyncReport",
        "formats.document:Rejected",
        "retriever.search:Retriever",
        "retriever.encoder:Encoder",
    ),
    "What flows": tuple(
        f"types:{name}"
        for name in (
            "Document",
            "Passage",
            "Query",
            "Hit",
            "Prompt",
            "Completion",
            "Answer",
            "Example",
        )
    ),
    "Readers": (
        "readers:Reader",
        "readers:open_reader",
        "readers:LocalReader",
        "readers:RemoteReader",
    ),
    "ReT": (
        "retriever.configuration:RetrieverConfig",
        "retriever.configuration:RetConfig",
        "retriever.model:RetrieverModel",
        "retriever.model:RetModel",
        "retriever.scoring:late_interaction",
        "retriever.export:export_released",
        "retriever.explain:explain",
        "retriever.explain:Explanation",
        "retriever.explain:PairMatch",
        "retriever.places:Span",
        "retriever.places:Patch",
    ),
    "Integrations": (
        "integrations.langchain:ReTRetriever",
        "integrations.langchain:ChatRagVqa",
        "integrations.langchain:rag_chain",
        "integrations.llamaindex:ReTRetriever",
    ),
    "Metrics": tuple(
        f"retriever.metrics:{name}"
        for name in ("hit", "recall", "reciprocal_rank", "ndcg", "pseudo_hit", "answer_rank")
    ),
    "Errors": ("errors:",),
}
INTRO = """# Python reference

`make readme` writes this page from the docstrings. Import `RagVqa`, `KnowledgeBase`, `Query`,
`Document`, `Hit` and `Answer` with `from rag_vqa import …`. Import the others from the module that
their entry shows.
"""


def page() -> str:
    """The Markdown of the whole page."""
    lines = [INTRO]
    for chapter, names in PUBLIC.items():
        lines += [f"## {chapter}\n", *(line for name in names for line in _entry(name))]
    return "\n".join(lines).rstrip() + "\n"


def _entry(name: str) -> Iterator[str]:
    module, _, attribute = name.partition(":")
    home = import_module(f"rag_vqa.{module}")
    if not attribute:  # the docstring of the module is the documentation
        yield f"`rag_vqa.{module}`\n"
        yield _code_block(inspect.getdoc(home) or "")
        return
    thing = getattr(home, attribute)
    yield f"### `{attribute}`\n"
    yield f"`from rag_vqa.{module} import {attribute}`\n"
    if not getattr(thing, "_is_protocol", False):
        yield _code_block(f"{attribute}{_signature(thing)}")
    yield _code_block(_docstring(thing))
    if inspect.isclass(thing) and not is_dataclass(thing):
        for method, value in _methods(thing):
            yield f"#### `{attribute}.{method}`\n"
            if callable(value):
                yield _code_block(f"{method}{_signature(value)}")
            yield _code_block(_docstring(value))


def _methods(kind: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties of the class itself, in the order of the source."""
    for name, value in vars(kind).items():
        if isinstance(value, (classmethod, staticmethod)):
            value = value.__func__
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
            yield name, value


def _signature(thing: Any) -> str:
    """The signature on one line, or a parameter a line if it is long; `…` for odd defaults."""
    signature = inspect.signature(thing)
    told = [
        _parameter(p) for p in _own_parameters(thing, signature) if p.name not in ("self", "cls")
    ]
    alone = [p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    if alone and not any(re.match(r"\*\w", p) for p in told):
        told.insert([p.partition(":")[0] for p in told].index(alone[0]), "*")
    returned = _annotation(signature.return_annotation)
    ending = "" if inspect.isclass(thing) or not returned else f" -> {returned}"
    line = f"({', '.join(told)}){ending}"
    if len(line) < 80:
        return line
    return "\n".join(["(", *(f"    {parameter}," for parameter in told), ")"]) + ending


def _own_parameters(thing: Any, signature: inspect.Signature) -> list[inspect.Parameter]:
    """Parameters; of a configuration only its own, because transformers adds a dozen to each."""
    own = vars(thing).get("__annotations__", {}) if hasattr(thing, "model_type") else None
    return [p for p in signature.parameters.values() if own is None or p.name in own]


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    said = _annotation(parameter.annotation)
    told = f"{stars}{parameter.name}" + (f": {said}" if said else "")
    if parameter.default is parameter.empty:
        return told
    default = repr(parameter.default)
    return f"{told} = {'…' if default.startswith('<') else default}"


def _annotation(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    told = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"[\w.]+\.(?=[A-Z]\w+)", "", told)


def _docstring(thing: Any) -> str:
    return inspect.getdoc(thing) or ""


def _code_block(text: str) -> str:
    return f"```text\n{text}\n```\n" if text else ""


def main() -> None:
    """Writes the page."""
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
