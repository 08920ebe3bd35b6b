"""Options that several verbs share, each worded once. It knows flags, not what they do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_vqa.cli.run import Run
from rag_vqa.errors import UsageError
from rag_vqa.types import Scalar

if TYPE_CHECKING:
    from rag_vqa.settings import Settings

KnowledgeBasePath = Annotated[Path, typer.Argument(metavar="KB", help="A knowledge base.")]
Question = Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask.")]
Image = Annotated[
    Path | None, typer.Option("--image", "-i", metavar="FILE", help="The picture asked about.")
]
K = Annotated[
    int | None,
    typer.Option("-k", metavar="N", help="Documents to retrieve; 0: none."),
]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="NAME=VALUE", help="Only documents with this metadata."),
]
Instruction = Annotated[
    str | None,
    typer.Option("--instruction", help="Put before the question when searching."),
]
Retriever = Annotated[
    str | None,
    typer.Option("--retriever", metavar="MODEL", help="ReT: a folder, a hub id, or demo."),
]
Reader = Annotated[
    str | None,
    typer.Option("--reader", metavar="MODEL", help="LLM that sees: a folder, a hub id, or demo."),
]
Server = Annotated[
    list[str] | None,
    typer.Option("--server", metavar="URL", help="That runs the reader: http://host:8000/v1."),
]
Quantization = Annotated[
    str | None,
    typer.Option("--quantization", metavar="nf4|int8|none", help="Of the reader."),
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps."),
]
Index = Annotated[
    str | None,
    typer.Option("--index", metavar="auto|exact|faiss|triton", help="How passages are searched."),
]
Hybrid = Annotated[
    bool | None,
    typer.Option("--hybrid/--no-hybrid", help="Search words too, and fuse both rankings."),
]
Sections = Annotated[
    bool | None,
    typer.Option("--sections/--no-sections", help="Pages first, each by its best document."),
]
Yes = Annotated[
    bool,
    typer.Option("--yes", "-y", help="Download models without asking."),
]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", metavar="N", help="Items encoded at once."),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", help="Processes that open pictures; 0: none."),
]
Template = Annotated[
    str | None,
    typer.Option("--template", help="answer, short, closed-book, or a .jinja file."),
]
Language = Annotated[
    str | None,
    typer.Option("--language", metavar="NAME", help="Of the answer, for instance German."),
]
Filter = Annotated[
    str | None,
    typer.Option("--filter", metavar="none|critic", help="Which documents found are read."),
]
MaxNewTokens = Annotated[
    int | None,
    typer.Option("--max-new-tokens", metavar="N", help="Length of an answer."),
]
MaxPixels = Annotated[
    int | None,
    typer.Option("--max-pixels", metavar="N", help="Of one image."),
]
MaxImages = Annotated[
    int | None,
    typer.Option("--max-images", metavar="N", help="In one prompt."),
]


# Which settings an option sets; the others are a verb's own matter.
SETTINGS: dict[str, tuple[str, ...]] = {
    "k": ("k",),
    "instruction": ("retriever__instruction",),
    "retriever": ("retriever__model",),
    "index": ("retriever__index",),
    "hybrid": ("retriever__hybrid",),
    "sections": ("retriever__sections",),
    "reader": ("reader__model",),
    "server": ("reader__servers",),
    "quantization": ("reader__quantization",),
    "device": ("reader__device", "retriever__device"),
    "template": ("prompt__template",),
    "language": ("prompt__language",),
    "filter": ("filter__name",),
    "max_new_tokens": ("reader__max_new_tokens",),
    "max_pixels": ("reader__max_pixels",),
    "max_images": ("reader__max_images",),
}


def settings_of(ctx: typer.Context, **more: str) -> Settings:
    """The settings of a verb: all layers, and what its options say, whichever of these it has.

    `more`: flags besides, `preset="12gb"`.
    """
    run: Run = ctx.obj
    said = {name: value for name, value in ctx.params.items() if value not in ((), [])}
    given = {key: value for name, value in said.items() for key in SETTINGS.get(name, ())}
    return run.settings(**given, **more)


def image_file(path: Path | None) -> Path | None:
    """The path, if there is a file to open.

    Raises:
        UsageError: there is none.
    """
    if path is None:
        return None
    if path.is_dir():
        raise UsageError(f"--image {path}: this is a folder. Give one picture.")
    if not path.exists():
        raise UsageError(f"--image {path}: no such file.")
    return path


def question_text(text: str) -> str:
    """The question, if there is one; else UsageError."""
    if not text.strip():
        raise UsageError('The question is empty. Give one, for instance "What is this?"')
    return text


def where_filter(conditions: list[str] | None) -> dict[str, Scalar | list[Scalar]] | None:
    """`["lang=en", "year=1990"]` as a filter. What looks like a number, true, false or null is
    found as such and as text; in quotes as text alone.

    >>> where_filter(["lang=en", "year=1990", "code='7'", "old=true"])
    {'lang': 'en', 'year': [1990, '1990'], 'code': '7', 'old': [True, 'true']}
    """
    if not conditions:
        return None
    found: dict[str, Scalar | list[Scalar]] = {}
    for condition in conditions:
        name, sign, value = condition.partition("=")
        if not sign or not name:
            raise UsageError(f"--where {condition}: expected name=value, for instance lang=en")
        found[name] = _values(value)
    return found


def folder(path: Path, option: str) -> Path:
    """The path, if it is a folder; else UsageError."""
    if not path.is_dir():
        problem = "this is a file" if path.exists() else "no such folder"
        raise UsageError(f"{option} {path}: {problem}. Give a folder.")
    return path


def existing(path: Path, what: str, mend: str) -> Path:
    """The path, if something is there; else UsageError, which says what helps."""
    if not path.exists():
        raise UsageError(f"{path}: no such {what}. {mend}")
    return path


def _values(text: str) -> Scalar | list[Scalar]:
    from rag_vqa.formats.mapping import scalar

    named: dict[str, Scalar] = {"true": True, "false": False, "null": None}
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    value = named.get(text, scalar(text))
    return text if value == text else [value, text]
