"""Sources: files of a user, their detected format, their columns, and their Records.

Knows how a format is detected and that an option must be one of the format's. Does not know any
format (one module each, or a benchmark's), nor what a source contains in all
(source_statistics.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.formats import parquet
from rag_vqa.formats.benchmark import BENCHMARKS
from rag_vqa.formats.document import Item, Record, RejectHandler, read_records
from rag_vqa.formats.document_format import (
    DOCUMENT_FORMATS,
    DocumentFormat,
    Option,
    SourceOptions,
)
from rag_vqa.formats.json_stream import read_members
from rag_vqa.formats.jsonl import read_objects
from rag_vqa.formats.line_reader import read_lines, unpacked_suffix
from rag_vqa.formatting import did_you_mean

_LINE_SUFFIXES = (".jsonl", ".ndjson")
_OPTION_NAMES: Mapping[Option, str] = {
    "images": "a folder of images", "mapping": "a mapping", "text": "a template of the text",
    "encoding": "an encoding", "unit": "a unit",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where documents come from.

    Attributes:
        kind: name of its format; the user should see it.
        folder: what its pictures may not leave, an absolute path.
        columns: names of what its items have; of lines and files, the first ones were looked at.
        metadata: those of them that become metadata.
        unknown: those of them that are left out.
        remarks: what the user should know before the build, one line each.
        fields: of a table, the columns that each field is read from.
    """

    path: Path
    kind: str
    folder: Path
    columns: tuple[str, ...]
    metadata: tuple[str, ...]
    unknown: tuple[str, ...]
    on_reject: RejectHandler | None = None
    strict: bool = False
    wanted: frozenset[str] | None = field(default=None, repr=False)
    remarks: tuple[str, ...] = ()
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    items: Callable[[], Iterator[Item]] = field(repr=False)

    def records(self) -> Iterator[Record]:
        """Read from the beginning, each time.

        Raises:
            BadInput: there are no documents; under `strict`, or without `on_reject`, the first
                item that is refused.
        """
        return read_records(
            self.items(), self.path, self.folder, self.on_reject, self.strict, self.wanted
        )


def format_names() -> tuple[str, ...]:
    """Names of all formats: the plain ones, then those of benchmarks."""
    return tuple(known.name for known in (*DOCUMENT_FORMATS.entries(), *_benchmark_formats()))


def open_source(
    path: str | Path,
    kind: str = "auto",
    *,
    images: str | Path | None = None,
    mapping: Mapping[str, Sequence[str]] | None = None,
    text: str | None = None,
    encoding: str | None = None,
    unit: str | None = None,
    subset: str | Path | None = None,
    on_reject: RejectHandler | None = None,
    strict: bool = False,
) -> Source:
    """Detect the format of `path`, and look at its beginning.

    Args:
        kind: one of `format_names`. "auto" goes by the suffix, then by the fields of the first
            record.
        images: folder of the pictures; by default that of the file.
        mapping: field → columns, for tables and records.
        text: template that makes the text out of columns, see text_template.py.
        encoding: of a file of text, by Python's name; by default it is found out.
        unit: what becomes a document, if the format can cut its files in several ways: of E-VQA's
            knowledge base a "page" (the default) or a "section".
        subset: a file with one id, parent, address or title a line: only these are read.
        on_reject: is called with each item that is refused. Without it the first one raises.
        strict: the first refused item raises, and so does an unknown field of JSONL.

    Raises:
        Missing: no such file.
        BadInput: the file is not of the given format, or of no known one.
        UsageError: an option that this format does not have, or a mapping that does not fit.
    """
    path = Path(path)
    if not path.exists():
        raise Missing(f"{path} does not exist: check the path.")
    if not path.is_dir() and not path.is_file():  # before it is opened: a pipe would block
        raise BadInput(f"{path} is not a regular file.")
    found = _detect_format(path) if kind == "auto" else _find_format(kind)
    home = path if path.is_dir() else path.parent
    place = (home if images is None else Path(images)).resolve()
    strict = strict or on_reject is None
    options = SourceOptions(
        images=None if images is None else place,
        mapping=mapping,
        text=text,
        encoding=encoding,
        unit=unit,
        strict=strict,
    )
    _check_options(found, options)
    contents = found.open(path, options)
    return Source(
        path=path,
        kind=found.name,
        folder=place,
        columns=contents.columns,
        metadata=contents.metadata,
        unknown=contents.unknown,
        remarks=contents.remarks,
        fields=contents.fields,
        on_reject=on_reject,
        strict=strict,
        wanted=None if subset is None else _read_subset(Path(subset)),
        items=contents.items,
    )


def _benchmark_formats() -> tuple[DocumentFormat, ...]:
    return tuple(known for benchmark in BENCHMARKS.entries() for known in benchmark.documents)


def _find_format(name: str) -> DocumentFormat:
    """
    Raises:
        UsageError: there is none of this name.
    """
    for known in (*DOCUMENT_FORMATS.entries(), *_benchmark_formats()):
        if known.name == name:
            return known
    names = format_names()
    raise UsageError(
        f"{name!r} is not a format of documents.{did_you_mean(name, names)} "
        f"Known: {', '.join(names)}."
    )


def _check_options(document_format: DocumentFormat, options: SourceOptions) -> None:
    """
    Raises:
        UsageError: an option that the format does not have, or a unit that it does not know.
    """
    given: dict[Option, object] = {
        "images": options.images, "mapping": options.mapping, "text": options.text,
        "encoding": options.encoding, "unit": options.unit,
    }  # fmt: skip
    for option, value in given.items():
        if value is not None and option not in document_format.options:
            takers = [
                known.name
                for known in (*DOCUMENT_FORMATS.entries(), *_benchmark_formats())
                if option in known.options
            ]
            raise UsageError(
                document_format.refusals.get(option)
                or f"{_OPTION_NAMES[option]} is for {' and '.join(takers)}: "
                f"{document_format.name} has none."
            )
    if options.unit is not None and options.unit not in document_format.units:
        raise UsageError(
            f"{document_format.name} has no unit {options.unit!r}: "
            f"give {' or '.join(document_format.units)}."
        )


def _detect_format(path: Path) -> DocumentFormat:
    """By the suffix, then by what a format recognises: benchmarks first, as they look closer."""
    formats = (*_benchmark_formats(), *DOCUMENT_FORMATS.entries())
    suffix = "" if path.is_dir() else unpacked_suffix(path)
    for known in formats:
        if suffix in known.suffixes:
            return known
    sample = _Sample(path)
    for known in formats:
        if known.recognises(sample):
            return known
    if path.is_dir():
        return DOCUMENT_FORMATS.get("folder")
    if isinstance(sample.first_object, BadInput) and suffix not in _LINE_SUFFIXES:
        raise BadInput(
            f"{path} is of no known format: its first line is {sample.first_object} "
            f"Known: {', '.join(format_names())}. If it is one of them, give its name."
        )
    return DOCUMENT_FORMATS.get("jsonl")


class _Sample:
    """The beginning of a file, a `SourceSample`. Each part is read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def field_names(self) -> frozenset[str]:
        if parquet.contains_parquet(self.path):
            return frozenset(parquet.column_names(self.path))
        first = self.first_object
        return frozenset(first) if isinstance(first, dict) else frozenset()

    @cached_property
    def first_member(self) -> Any:
        if self.path.suffix.lower() != ".json" or not self.path.is_file():
            return None
        with self.path.open("rb") as file:
            first = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        if first == b"[":
            raise BadInput(f"{self.path} is a JSON array: write one object a line, as JSONL.")
        _, value = next(read_members(self.path), ("", None)) if first == b"{" else ("", None)
        return value

    @cached_property
    def first_object(self) -> dict[str, Any] | BadInput | None:
        """The first line's JSON object, or why it is none; None of an empty file or a folder."""
        if self.path.is_dir():
            return None
        return next((record for _, record in read_objects(self.path)), None)


def _read_subset(path: Path) -> frozenset[str]:
    """The lines of a subset's file."""
    wanted = set()
    for number, line in read_lines(path):
        try:
            if isinstance(line, BadInput):
                raise line
            wanted.add(line.decode().strip())
        except (BadInput, UnicodeDecodeError) as error:
            raise BadInput(f"{path}, line {number}: {error}") from error
    wanted.discard("")
    if not wanted:
        raise BadInput(f"{path} is empty: it lists what is read of the source, one a line.")
    return frozenset(wanted)
