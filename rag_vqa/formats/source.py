"""Sources: files of a user, their detected format, their columns, and their Records.

Knows how a format is detected and which option belongs to which format. Does not know how a format
is read (one module each), nor what a source contains in all (source_statistics.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.eval.benchmarks import evqa, infoseek, m2kr, mbeir
from rag_vqa.eval.benchmarks.evqa import Unit
from rag_vqa.formats import csv, folder, jsonl, parquet
from rag_vqa.formats.document import Contents, Item, Record, RejectHandler, read_records
from rag_vqa.formats.json_stream import read_members
from rag_vqa.formats.line_reader import read_lines, unpacked_suffix
from rag_vqa.formatting import did_you_mean

Kind: TypeAlias = Literal["jsonl", "csv", "folder", "parquet", "evqa", "wiki6m", "m2kr", "mbeir"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_MAPPED = ("csv", "parquet")
_LINES = (".jsonl", ".ndjson")
_BY_FIELDS: dict[Kind, tuple[str, ...]] = {
    "wiki6m": infoseek.WIKI6M_FIELDS,
    "m2kr": m2kr.JSONL_FIELDS,
    "mbeir": mbeir.JSONL_FIELDS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where documents come from.

    Attributes:
        kind: how it is read; tell the user.
        folder: what its pictures may not leave, an absolute path.
        columns: names of what its items have; of lines and files, the first ones were looked at.
        metadata: those of them that become metadata.
        unknown: those of them that are left out.
    """

    path: Path
    kind: Kind
    folder: Path
    columns: tuple[str, ...]
    metadata: tuple[str, ...]
    unknown: tuple[str, ...]
    on_reject: RejectHandler | None = None
    strict: bool = False
    wanted: frozenset[str] | None = field(default=None, repr=False)
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


def open_source(
    path: str | Path,
    kind: Kind | Literal["auto"] = "auto",
    *,
    images: str | Path | None = None,
    mapping: Mapping[str, Sequence[str]] | None = None,
    unit: Unit | None = None,
    subset: str | Path | None = None,
    on_reject: RejectHandler | None = None,
    strict: bool = False,
) -> Source:
    """Find out what `path` is, and look at its beginning.

    Args:
        kind: "auto" goes by the suffix, then by the names of the first record's fields.
        images: folder of the pictures; by default that of the file.
        mapping: field → columns, for CSV and Parquet.
        unit: what a document is in E-VQA's knowledge base: a "page" (the default) or a "section".
        subset: a file with one id, parent, address or title a line: only these are read.
        on_reject: is told of each item that is refused. Without it the first one raises.
        strict: the first refused item raises, and so does an unknown field of JSONL.

    Raises:
        Missing: no such file.
        BadInput: the file is not what it is said to be, or of no kind that is known.
        UsageError: an option that this kind does not have, or a mapping that does not fit.
    """
    path = Path(path)
    if not path.exists():
        raise Missing(f"{path} does not exist: check the path.")
    if not path.is_dir() and not path.is_file():  # before it is opened: a pipe would block
        raise BadInput(f"{path} is not a regular file.")
    found = _detect_kind(path) if kind == "auto" else kind
    _check_options(found, images is not None, mapping is not None, unit is not None)
    home = path if path.is_dir() else path.parent
    place = (home if images is None else Path(images)).resolve()
    strict = strict or on_reject is None
    contents = _contents(found, path, None if images is None else place, mapping, unit, strict)
    return Source(
        path=path,
        kind=found,
        folder=place,
        columns=contents.columns,
        metadata=contents.metadata,
        unknown=contents.unknown,
        on_reject=on_reject,
        strict=strict,
        wanted=None if subset is None else _read_subset(Path(subset)),
        items=contents.items,
    )


def _contents(
    kind: Kind,
    path: Path,
    images: Path | None,
    mapping: Mapping[str, Sequence[str]] | None,
    unit: Unit | None,
    strict: bool,
) -> Contents:
    match kind:
        case "jsonl":
            return jsonl.contents(path, strict)
        case "csv":
            return csv.contents(path, mapping)
        case "folder":
            return folder.contents(path)
        case "parquet":
            return parquet.contents(path, mapping)
        case "evqa":
            return evqa.page_contents(path, unit or "page", images is not None)
        case "wiki6m":
            return infoseek.wikipedia_contents(path, images)
        case "m2kr":
            return m2kr.contents(path)
        case "mbeir":
            return mbeir.contents(path)


def _check_options(kind: Kind, images: bool, mapping: bool, unit: bool) -> None:
    if kind not in KINDS:
        raise UsageError(
            f"{kind!r} is no kind of source.{did_you_mean(kind, KINDS)} {_list_kinds()}"
        )
    if mapping and kind not in _MAPPED:
        raise UsageError(
            f"a mapping is for CSV and Parquet: {kind} says itself what its fields are."
        )
    if unit and kind != "evqa":
        raise UsageError(f"a unit is for evqa alone: {kind} has one document an item.")
    if images and kind == "folder":
        raise UsageError("a folder of images is for files: in a folder, pictures lie beside texts.")


def _detect_kind(path: Path) -> Kind:
    if path.is_dir():
        return (
            _detect_tabular(path)
            if parquet.is_dataset(path) or parquet.is_parquet(path)
            else "folder"
        )
    named = unpacked_suffix(path)
    if named in csv.SUFFIXES:
        return "csv"
    if named == parquet.SUFFIX:
        return _detect_tabular(path)
    if named == ".zip":
        return "evqa"
    return _detect_json(path) if named == ".json" else _detect_lines(path)


def _detect_tabular(path: Path) -> Kind:
    names = parquet.column_names(path)
    return "m2kr" if set(m2kr.PARQUET_COLUMNS) <= set(names) else "parquet"


def _detect_json(path: Path) -> Kind:
    """One object of pages, which may be a single line of gigabytes; else lines after all."""
    with path.open("rb") as file:
        first = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if first == b"[":
        raise BadInput(f"{path} is a JSON array: write one object a line, as JSONL.")
    _, page = next(read_members(path), ("", None)) if first == b"{" else ("", None)
    return "evqa" if evqa.is_page(page) else _detect_lines(path)


def _detect_lines(path: Path) -> Kind:
    """By the fields of the first object."""
    first = next((record for _, record in jsonl.read_objects(path)), None)
    if isinstance(first, BadInput) and unpacked_suffix(path) not in _LINES:
        raise BadInput(
            f"{path} is of no kind that is known: its first line is {first} {_list_kinds()} "
            "If it is one of them, say which."
        )
    for kind, names in _BY_FIELDS.items():
        if isinstance(first, dict) and set(names) <= first.keys():
            return kind
    return "jsonl"


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


def _list_kinds() -> str:
    return f"There are {', '.join(KINDS)}."
