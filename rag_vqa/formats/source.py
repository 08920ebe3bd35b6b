"""Files of a user → a Source: which kind they are, what is in them, and their Records.

It knows which format reads which kind, and which option belongs to which. How a format is read is
the matter of its own module; what a source holds in all is survey.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.formats import csv, evqa, folder, jsonl, m2kr, mbeir, parquet, wiki6m
from rag_vqa.formats.document import Record, nearest
from rag_vqa.formats.evqa import Unit
from rag_vqa.formats.items import Contents, Item, Report, read_records
from rag_vqa.formats.lines import read_lines, suffix
from rag_vqa.formats.members import read_members

Kind: TypeAlias = Literal["jsonl", "csv", "folder", "parquet", "evqa", "wiki6m", "m2kr", "mbeir"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_MAPPED = ("csv", "parquet")
_LINES = (".jsonl", ".ndjson")
_BY_FIELDS: dict[Kind, tuple[str, ...]] = {
    "wiki6m": wiki6m.JSONL,
    "m2kr": m2kr.JSONL,
    "mbeir": mbeir.JSONL,
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
    on_reject: Report | None = None
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
    on_reject: Report | None = None,
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
    found = _kind(path) if kind == "auto" else kind
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
        wanted=None if subset is None else _listed(Path(subset)),
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
            return evqa.contents(path, unit or "page", images is not None)
        case "wiki6m":
            return wiki6m.contents(path, images)
        case "m2kr":
            return m2kr.contents(path)
        case "mbeir":
            return mbeir.contents(path)


def _check_options(kind: Kind, images: bool, mapping: bool, unit: bool) -> None:
    if kind not in KINDS:
        raise UsageError(f"{kind!r} is no kind of source.{nearest(kind, KINDS)} {_kinds()}")
    if mapping and kind not in _MAPPED:
        raise UsageError(
            f"a mapping is for CSV and Parquet: {kind} says itself what its fields are."
        )
    if unit and kind != "evqa":
        raise UsageError(f"a unit is for evqa alone: {kind} has one document an item.")
    if images and kind == "folder":
        raise UsageError("a folder of images is for files: in a folder, pictures lie beside texts.")


def _kind(path: Path) -> Kind:
    if path.is_dir():
        return _tabular(path) if parquet.is_dataset(path) or parquet.is_parquet(path) else "folder"
    named = suffix(path)
    if named in csv.SUFFIXES:
        return "csv"
    if named == parquet.SUFFIX:
        return _tabular(path)
    if named == ".zip":
        return "evqa"
    return _of_json(path) if named == ".json" else _of_lines(path)


def _tabular(path: Path) -> Kind:
    names = parquet.column_names(path)
    return "m2kr" if set(m2kr.PARQUET) <= set(names) else "parquet"


def _of_json(path: Path) -> Kind:
    """One object of pages, which may be a single line of gigabytes; else lines after all."""
    with path.open("rb") as file:
        first = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if first == b"[":
        raise BadInput(f"{path} is a JSON array: write one object a line, as JSONL.")
    _, page = next(read_members(path), ("", None)) if first == b"{" else ("", None)
    return "evqa" if evqa.looks_like(page) else _of_lines(path)


def _of_lines(path: Path) -> Kind:
    """By the fields of the first object."""
    first = next((record for _, record in jsonl.objects(path)), None)
    if isinstance(first, BadInput) and suffix(path) not in _LINES:
        raise BadInput(
            f"{path} is of no kind that is known: its first line is {first} {_kinds()} "
            "If it is one of them, say which."
        )
    for kind, names in _BY_FIELDS.items():
        if isinstance(first, dict) and set(names) <= first.keys():
            return kind
    return "jsonl"


def _listed(path: Path) -> frozenset[str]:
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


def _kinds() -> str:
    return f"There are {', '.join(KINDS)}."
