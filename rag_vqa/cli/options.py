"""The shared command-line options: each is declared once.

Knows flags, help texts, and which settings an option sets. Does not know what a verb does with
them, nor how settings are written as options again (ask_command.py).

A verb names groups of options instead of parameters, and reads them as settings:

    @app.command()
    @with_settings(RETRIEVAL, READING)
    def ask(ctx: typer.Context, path: KnowledgeBasePath, text: Question, yes: Yes = False) -> None:
        settings = settings_from_options(ctx)
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_vqa.cli.context import CommandContext
from rag_vqa.errors import UsageError
from rag_vqa.jobs.document_source import SourceOptions

if TYPE_CHECKING:
    from rag_vqa.settings_schema import Settings

KnowledgeBasePath = Annotated[Path, typer.Argument(metavar="KB", help="A knowledge base.")]
Question = Annotated[str, typer.Argument(metavar="QUESTION", help="The question to answer.")]
Image = Annotated[
    Path | None, typer.Option("--image", "-i", metavar="FILE", help="Picture of the question.")
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="NAME=VALUE",
        help="Only documents with this metadata: lang=en, year=1780,1801, 'price<12.5', "
        "'acquired>=1998-05'. Several conditions: give it again.",
    ),
]
ShowThinking = Annotated[
    bool, typer.Option("--show-thinking", help="Print the reader's thoughts too, on stderr.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Download models without asking.")]


@dataclass(frozen=True)
class SettingOption:
    """An option of the command line that sets one setting, or the same in several sections.

    Attributes:
        keys: keys of the settings, for instance "retriever.model".
        flag: as typer takes it: "--reader", "--hybrid/--no-hybrid".
        kind: type of its value.
    """

    keys: tuple[str, ...]
    flag: str
    help: str
    metavar: str | None = None
    kind: type = str

    @property
    def annotation(self) -> Any:
        """The parameter that typer makes an option of."""
        value: Any = list[str] if self.kind is list else self.kind
        option = typer.Option(self.flag, metavar=self.metavar, help=self.help)
        return Annotated[value | None, option]


# In the order in which --help lists them.
SETTING_OPTIONS: Mapping[str, SettingOption] = {
    "k": SettingOption(
        ("k",), "-k", "Number of documents to retrieve; 0 turns retrieval off.", "N", int
    ),
    "instruction": SettingOption(
        ("retriever.instruction",), "--instruction", "Text to put before the question in a search."
    ),
    "template": SettingOption(
        ("prompt.template",), "--template", "answer, short, closed-book, or a .jinja file."
    ),
    "language": SettingOption(
        ("prompt.language",), "--language", "Language of the answer, for instance German.", "NAME"
    ),
    "filter": SettingOption(
        ("filter.name",), "--filter", "Which retrieved documents to read.", "none|critic"
    ),
    "retriever": SettingOption(
        ("retriever.model",), "--retriever", "ReT model: a folder, a hub id, or demo.", "MODEL"
    ),
    "reader": SettingOption(
        ("reader.model",),
        "--reader",
        "Vision-language model: a folder, a hub id, or demo.",
        "MODEL",
    ),
    "server": SettingOption(
        ("reader.servers",),
        "--server",
        "OpenAI-compatible server of the reader: http://host:8000/v1.",
        "URL",
        list,
    ),
    "quantization": SettingOption(
        ("reader.quantization",),
        "--quantization",
        "Precision of the reader's weights.",
        "nf4|int8|none",
    ),
    "device": SettingOption(
        ("reader.device", "retriever.device"), "--device", "auto, cpu, cuda, cuda:1, mps."
    ),
    "batch_size": SettingOption(
        ("retriever.batch_size",), "--batch-size", "Number of items to encode at once.", "N", int
    ),
    "workers": SettingOption(
        ("retriever.workers",), "--workers", "Processes that open pictures; 0: none.", "N", int
    ),
    "thinking": SettingOption(
        ("reader.thinking",),
        "--thinking",
        "How much the reader thinks before it answers, if it can.",
        "off|on|low|medium|high",
    ),
    "max_new_tokens": SettingOption(
        ("reader.max_new_tokens",),
        "--max-new-tokens",
        "Longest answer in tokens, thoughts included.",
        "N",
        int,
    ),
    "max_pixels": SettingOption(
        ("reader.max_pixels",), "--max-pixels", "Most pixels of an image.", "N", int
    ),
    "max_images": SettingOption(
        ("reader.max_images",), "--max-images", "Most images in a prompt; 0: text alone.", "N", int
    ),
    "index": SettingOption(
        ("retriever.index",), "--index", "Search engine of passages.", "auto|exact|faiss|triton"
    ),
    "hybrid": SettingOption(
        ("retriever.hybrid",),
        "--hybrid/--no-hybrid",
        "Search words too, always or never. [default: as needed]",
        kind=bool,
    ),
    "sections": SettingOption(
        ("retriever.sections",),
        "--sections/--no-sections",
        "Rank pages first, then return the best section of each.",
        kind=bool,
    ),
    "show": SettingOption(
        ("metadata.show",),
        "--show",
        "Metadata that readers and people see, for instance artist,year.",
        "NAME,…",
        list,
    ),
}
RETRIEVAL = ("k", "instruction", "retriever", "device", "index", "hybrid", "sections", "show")
READING = (
    "template", "language", "filter", "reader", "server", "quantization", "device",
    "thinking", "max_new_tokens", "max_pixels", "max_images",
)  # fmt: skip
ENCODING = ("device", "batch_size", "workers")

_OTHER_SHARED = ("image", "where", "yes")  # shared options that set no setting

Verb = Callable[..., None]
Parameters = Mapping[str, inspect.Parameter]


def with_settings(
    *wanted: str | tuple[str, ...], without: tuple[str, ...] = ()
) -> Callable[[Verb], Verb]:
    """Decorator: the verb also takes these options; see `settings_from_options`.

    Args:
        wanted: names of SETTING_OPTIONS, or groups of them.
        without: names to leave out of the groups.
    """
    named = {name for each in wanted for name in ((each,) if isinstance(each, str) else each)}
    kind = inspect.Parameter.KEYWORD_ONLY

    def extend(verb: Verb) -> Verb:
        own = inspect.signature(verb, eval_str=True).parameters
        added = {
            name: inspect.Parameter(name, kind, default=None, annotation=option.annotation)
            for name, option in SETTING_OPTIONS.items()
            if name in named and name not in without
        }

        @functools.wraps(verb)
        def run_verb(**given: Any) -> None:
            verb(**{name: value for name, value in given.items() if name not in added})

        _set_parameters(run_verb, _in_help_order(own, added))
        return run_verb

    return extend


def _in_help_order(verb_parameters: Parameters, added: Parameters) -> Parameters:
    """The parameters as --help lists them: shared ones together, in one order for all verbs."""
    shared = {
        **added,
        **{name: verb_parameters[name] for name in _OTHER_SHARED if name in verb_parameters},
    }
    order = ["image", "k", "where", *SETTING_OPTIONS]
    names = list(verb_parameters)
    first = min((names.index(name) for name in names if name in _OTHER_SHARED), default=len(names))
    listed = [
        *names[:first],
        *sorted((n for n in shared if n != "yes"), key=order.index),
        *(name for name in names[first:] if name not in shared),
        *(name for name in names if name == "yes"),
    ]
    return {name: verb_parameters.get(name) or shared[name] for name in listed}


def settings_from_options(ctx: typer.Context, **more: str) -> Settings:
    """The settings of a verb: those of the program's options, under those of its own options.

    Args:
        more: further settings, for instance `preset="12gb"`.
    """
    context: CommandContext = ctx.obj
    flags = {
        key: value
        for name, value in ctx.params.items()
        if name in SETTING_OPTIONS and value not in ((), [])
        for key in SETTING_OPTIONS[name].keys
    }
    return context.settings({**flags, **more})


_SOURCE_OPTIONS: Mapping[str, tuple[Any, Any]] = {
    "source": (
        Annotated[
            Path,
            typer.Argument(
                metavar="SOURCE",
                help="A table (CSV, Excel, JSON, Parquet), a document (PDF, Word, HTML …), a "
                "folder of documents and pictures, or a benchmark's own file.",
            ),
        ],
        inspect.Parameter.empty,
    ),
    "images": (
        Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the pictures.")],
        None,
    ),
    "kind": (
        Annotated[
            str,
            typer.Option(help="Format of SOURCE, if it is not clear: jsonl, csv, parquet, evqa …"),
        ],
        "auto",
    ),
    "mapping": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--map", metavar="FIELD=COLUMN", help="Columns of a table; several, with commas."
            ),
        ],
        None,
    ),
    "text": (
        Annotated[
            str | None,
            typer.Option(
                metavar="TEMPLATE", help='Text out of columns: "{Title}. Made by {Artist}."'
            ),
        ],
        None,
    ),
    "encoding": (
        Annotated[
            str | None,
            typer.Option(
                metavar="NAME", help="Encoding of a table or JSON, if it is not found out rightly."
            ),
        ],
        None,
    ),
    "unit": (
        Annotated[
            str | None, typer.Option(metavar="page|section", help="E-VQA: what becomes a document.")
        ],
        None,
    ),
    "subset": (
        Annotated[
            Path | None,
            typer.Option(metavar="FILE", help="Only the ids or titles in FILE, one a line."),
        ],
        None,
    ),
    "strict": (
        Annotated[bool, typer.Option("--strict", help="Stop at the first refused document.")],
        False,
    ),
}


def with_source(verb: Verb) -> Verb:
    """Decorator: the options of a document source; the verb gets them as `source`."""
    own = dict(inspect.signature(verb, eval_str=True).parameters)
    first = {name: own.pop(name) for name in ("ctx", "source", "out")}
    kind = inspect.Parameter.KEYWORD_ONLY
    added = {
        name: inspect.Parameter(name, kind, default=default, annotation=annotation)
        for name, (annotation, default) in _SOURCE_OPTIONS.items()
    }

    @functools.wraps(verb)
    def run_verb(**given: Any) -> None:
        named = {name: given.pop(name) for name in added}
        path, mapping = named.pop("source"), tuple(named.pop("mapping") or ())
        verb(source=SourceOptions(path, mapping=mapping, **named), **given)

    _set_parameters(run_verb, {**first, **added, **own})
    return run_verb


def _set_parameters(verb: Verb, parameters: Parameters) -> None:
    """Make typer see these parameters."""
    kind = inspect.Parameter.KEYWORD_ONLY
    listed = [parameter.replace(kind=kind) for parameter in parameters.values()]
    verb.__signature__ = inspect.Signature(listed, return_annotation=None)  # type: ignore[attr-defined]
    verb.__annotations__ = {each.name: each.annotation for each in listed}


def require_image_file(path: Path | None) -> Path | None:
    """The path, if there is a file to open.

    Raises:
        UsageError: no such file.
    """
    if path is None:
        return None
    if path.is_dir():
        raise UsageError(f"--image {path}: this is a folder. Give one picture.")
    if not path.exists():
        raise UsageError(f"--image {path}: no such file.")
    return path


def require_question(text: str) -> str:
    """The question; raises UsageError if it is empty."""
    if not text.strip():
        raise UsageError('The question is empty. Give one, for instance "What is this?"')
    return text


def parse_where(conditions: list[str] | None) -> list[str] | None:
    """The conditions of --where; None if there are none. Names are checked by the knowledge base.

    Raises:
        UsageError: one is no condition: it lacks a name or a sign.
    """
    from rag_vqa.retriever.search.filter_language import check_texts

    try:
        check_texts(conditions or ())
    except UsageError as error:
        raise UsageError(
            f"--where {error} A shell needs quotes around a range: --where 'year>=1780'"
        ) from error
    return conditions or None
