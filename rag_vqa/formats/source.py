"""Sources: files of a user, their format, their columns, and their Records.

Knows that an option must be one of the format's, and where pictures may lie. Does not know how a
format is found out (detection.py; possible_sources.py for a folder), any format (one module each,
or a benchmark's), nor what a source contains in all (source_statistics.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.formats.detection import all_formats, detect_format, find_format
from rag_vqa.formats.document import (
    Contents,
    Item,
    Record,
    RejectHandler,
    check_fields,
    parse_items,
    read_records,
)
from rag_vqa.formats.document_format import DocumentFormat, Option, SourceOptions
from rag_vqa.formats.folder import contents as open_folder
from rag_vqa.formats.hub_cache import find_repository, find_snapshot
from rag_vqa.formats.line_reader import read_lines
from rag_vqa.formats.packed_folder import UnpackedFolder, is_packed_folder
from rag_vqa.formats.possible_sources import PossibleSource, find_source
from rag_vqa.formats.table_folder import open_tables

_OPTION_NAMES: Mapping[Option, str] = {
    "images": "a folder of images", "mapping": "a mapping", "text": "a template of the text",
    "encoding": "an encoding", "unit": "a unit",
}  # fmt: skip


# Fields as `check_fields` returns them, metadata that cannot be kept, and the item's remark.
CheckedFields: TypeAlias = tuple[dict[str, Any], dict[str, str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where documents come from.

    Attributes:
        kind: name of its format; the user should see it.
        folder: what its pictures may not leave, an absolute path.
        base: the folder that their names are read from: `folder`, or one in it.
        columns: names of what its items have; of lines and files, the first ones were looked at.
        metadata: those of them that become metadata.
        unknown: those of them that are left out.
        remarks: what the user should know before the build, one line each.
        fields: of a table, the columns that each field is read from.
        findings: what the last complete reading found, one line each.
        unpacked: of a packed folder, the one with its files, which vanishes with the last Source.
    """

    path: Path
    kind: str
    folder: Path
    base: Path
    columns: tuple[str, ...]
    metadata: tuple[str, ...]
    unknown: tuple[str, ...]
    on_reject: RejectHandler | None = None
    strict: bool = False
    wanted: frozenset[str] | None = field(default=None, repr=False)
    remarks: tuple[str, ...] = ()
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    findings: Callable[[], tuple[str, ...]] = tuple
    items: Callable[[], Iterator[Item]] = field(repr=False)
    unpacked: UnpackedFolder | None = field(default=None, repr=False)

    def records(self) -> Iterator[Record]:
        """Read from the beginning, each time.

        Raises:
            BadInput: there are no documents; under `strict`, or without `on_reject`, the first
                item that is refused.
        """
        return read_records(
            self.items(),
            self.path,
            self.folder,
            self.on_reject,
            self.strict,
            self.wanted,
            self.base,
        )

    def checked_fields(self) -> Iterator[CheckedFields]:
        """As `records`, but the fields of each document alone, which takes half the time."""

        def parse(item: Item) -> CheckedFields | None:
            assert not isinstance(item.fields, BadInput)
            fields, left_out = check_fields(item.fields)
            if self.wanted is not None:
                names = (fields[name] for name in ("id", "parent", "url", "title"))
                if self.wanted.isdisjoint(names):
                    return None
            return fields, left_out, item.remark

        return parse_items(self.items(), self.path, parse, self.on_reject, self.strict, self.wanted)


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
    given, path = path, find_snapshot(path)
    unpacked = None
    if path.is_file() and is_packed_folder(path):
        unpacked = UnpackedFolder(path)
        path = unpacked.root
    found = find_source(path, kind) if path.is_dir() else _find_file(path, kind)
    home = path if path.is_dir() else path.parent
    base = (home if images is None else Path(images)).resolve()
    strict = strict or on_reject is None
    options = SourceOptions(
        images=None if images is None else base,
        mapping=mapping,
        text=text,
        encoding=encoding,
        unit=unit,
        strict=strict,
        links=find_repository(base),
    )
    _check_options(found.format, options)
    contents = _open_contents(found, path, options)
    return Source(
        path=given,
        kind=found.format.name,
        folder=options.links or base,
        base=base,
        columns=contents.columns,
        metadata=contents.metadata,
        unknown=contents.unknown,
        remarks=contents.remarks,
        fields=contents.fields,
        findings=contents.findings,
        on_reject=on_reject,
        strict=strict,
        wanted=None if subset is None else _read_subset(Path(subset)),
        items=contents.items,
        unpacked=unpacked,
    )


def _find_file(path: Path, kind: str) -> PossibleSource:
    known = detect_format(path) if kind == "auto" else find_format(kind)
    return PossibleSource(known, (path,), path.name)


def _open_contents(found: PossibleSource, path: Path, options: SourceOptions) -> Contents:
    """What the files of a format contain; a folder that is given to a format is its own affair."""
    if not found.files:
        return open_folder(path, options.links, found.only)
    if path.is_dir() and found.files != (path,):
        return open_tables(found.format, found.files, path, options, found.same_columns)
    return found.format.open(path, options)


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
            takers = [known.name for known in all_formats() if option in known.options]
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


def _read_subset(path: Path) -> frozenset[str]:
    """The lines of a subset's file."""
    wanted = set()
    for number, line in read_lines(path):
        if isinstance(line, BadInput):
            raise BadInput(f"{path}, line {number}: {line}")
        wanted.add(line.strip())
    wanted.discard("")
    if not wanted:
        raise BadInput(f"{path} is empty: it lists what is read of the source, one a line.")
    return frozenset(wanted)
