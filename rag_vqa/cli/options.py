"""The shared command-line options: each is declared once.

Knows flags, help texts, which settings an option sets, and how settings are written as options
again. Does not know what a verb does with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_vqa.cli.context import CommandContext
from rag_vqa.errors import UsageError
from rag_vqa.settings import differences
from rag_vqa.types import Scalar

if TYPE_CHECKING:
    from rag_vqa.settings_schema import Settings

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
OPTION_SETTINGS: dict[str, tuple[str, ...]] = {
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
SourcePath = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE",
        help="JSONL, CSV, TSV, Parquet, a folder of pictures and texts, or a benchmark's own file.",
    ),
]
SourceImages = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the pictures.")]
SourceKind = Annotated[
    str, typer.Option(help="What SOURCE is, where it does not show: jsonl, csv, parquet, evqa …")
]
SourceMapping = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="FIELD=COLUMN", help="Columns of CSV or Parquet; several by ,"),
]
SourceUnit = Annotated[
    str | None, typer.Option(metavar="page|section", help="Of E-VQA: what a document is.")
]
SourceSubset = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Only these: ids or titles, one a line.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first document refused.")]


def settings_from_options(ctx: typer.Context, **more: str) -> Settings:
    """The settings of a verb: all layers, and what its options say, whichever of these it has.

    `more`: flags besides, `preset="12gb"`.
    """
    run: CommandContext = ctx.obj
    said = {name: value for name, value in ctx.params.items() if value not in ((), [])}
    given = {key: value for name, value in said.items() for key in OPTION_SETTINGS.get(name, ())}
    return run.settings(**given, **more)


def require_image_file(path: Path | None) -> Path | None:
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


def require_question(text: str) -> str:
    """The question, if there is one; else UsageError."""
    if not text.strip():
        raise UsageError('The question is empty. Give one, for instance "What is this?"')
    return text


def parse_where(conditions: list[str] | None) -> dict[str, Scalar | list[Scalar]] | None:
    """`["lang=en", "year=1990"]` as a filter. What looks like a number, true, false or null is
    found as such and as text; in quotes as text alone.

    >>> parse_where(["lang=en", "year=1990", "code='7'", "old=true"])
    {'lang': 'en', 'year': [1990, '1990'], 'code': '7', 'old': [True, 'true']}
    """
    if not conditions:
        return None
    found: dict[str, Scalar | list[Scalar]] = {}
    for condition in conditions:
        name, sign, value = condition.partition("=")
        if not sign or not name:
            raise UsageError(f"--where {condition}: expected name=value, for instance lang=en")
        found[name] = _parse_values(value)
    return found


def _parse_values(text: str) -> Scalar | list[Scalar]:
    from rag_vqa.formats.mapping import parse_scalar

    named: dict[str, Scalar] = {"true": True, "false": False, "null": None}
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    value = named.get(text, parse_scalar(text))
    return text if value == text else [value, text]


def settings_to_args(settings: Settings, private: bool = False) -> list[str]:
    """The words of a command line that say what `settings` say beyond the defaults, unquoted.

    `private`: files and folders by their last name alone, for who is not to know where they lie.
    """
    left = _flatten_tree(differences(settings), private)
    words = [
        word
        for name in ("preset", "offline", "seed")
        for word in _option_args(name, left.pop(name, None))
    ]
    for name, keys in OPTION_SETTINGS.items():
        own = [key.replace("__", ".") for key in keys]
        values = [left.get(key) for key in own]
        if all(value == values[0] for value in values):  # --device is of both models
            words += _option_args(name, values[0])
            left = {key: value for key, value in left.items() if key not in own}
    return words + [word for key, value in left.items() for word in ("--set", f"{key}={value}")]


def _option_args(name: str, value: Any) -> list[str]:
    flag = f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"
    if value is None:
        return []
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    return [word for each in (value if isinstance(value, list) else [value])
            for word in (flag, str(each))]  # fmt: skip


def _flatten_tree(tree: Mapping[str, Any], private: bool, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flatten_tree(value, private, f"{prefix}{name}.")
        elif private and isinstance(value, str) and Path(value).exists():
            found[prefix + name] = Path(value).name
        else:
            found[prefix + name] = value
    return found
