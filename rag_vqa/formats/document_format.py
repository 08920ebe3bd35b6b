"""Document formats: how one is described, and the registry of them.

Knows what a format must say: its name, how it is recognised, which options it takes, how it is
opened. Does not know any format: each is one file in this folder that registers its entry, or
belongs to a benchmark (formats/benchmark.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from rag_vqa.formats.document import Contents
from rag_vqa.registry import Registry

Option: TypeAlias = Literal["images", "mapping", "text", "encoding", "unit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """Options for reading a source. A format gets only the options that it lists.

    Attributes:
        images: folder of the pictures, absolute; None: that of the file.
        mapping: field → columns.
        text: template of the text, see text_template.py.
        encoding: of the file, by Python's name; None: it is found out.
        unit: what one document is, where a format can cut its files in several ways.
        strict: raise an error for an unknown field, instead of a warning.
        links: folder that links in a source may lead into, absolute; None: the source itself.
    """

    images: Path | None = None
    mapping: Mapping[str, Sequence[str]] | None = None
    text: str | None = None
    encoding: str | None = None
    unit: str | None = None
    strict: bool = False
    links: Path | None = None


class SourceSample(Protocol):
    """The beginning of a source. Each part is read only if a format asks for it."""

    @property
    def path(self) -> Path:
        """The file or folder."""

    @property
    def field_names(self) -> frozenset[str]:
        """Columns of Parquet, or fields of the first JSON object of lines; else empty."""

    @property
    def first_member(self) -> Any:
        """The first value of a .json file that is one JSON object; None of any other file."""


def _recognise_nothing(sample: SourceSample) -> bool:
    return False


def _claim_nothing(path: Path) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentFormat:
    """One format of documents.

    Attributes:
        name: what `--kind` takes.
        open: reads the beginning of a source and returns its Contents, which read the rest.
        suffixes: of files that are of this format whatever they contain, as ".csv".
        recognises: whether a source without such a suffix is of this format.
        claims: whether a file is of this format although its suffix says otherwise: a table that
            is called .txt. It is asked first, and only looks into files that it may mean.
        options: the options that the format takes; `open_source` refuses the others.
        units: values of the option `unit`; the first is the default.
        refusals: option that the format refuses → the reason, for the error message.
    """

    name: str
    open: Callable[[Path, SourceOptions], Contents]
    suffixes: tuple[str, ...] = ()
    recognises: Callable[[SourceSample], bool] = _recognise_nothing
    claims: Callable[[Path], bool] = _claim_nothing
    options: frozenset[Option] = frozenset({"images"})
    units: tuple[str, ...] = ()
    refusals: Mapping[str, str] = field(default_factory=dict)


DOCUMENT_FORMATS: Registry[DocumentFormat] = Registry("document format")
