"""Possible sources: what a folder offers, where its files may be a source each.

Knows layouts of folders: a table with its pictures, parts of one table, the hub's `data/`, splits
and configurations, ImageFolder, WebDataset, documents. Does not know how any of them is read.

A folder with one table is that table, and the folder is where its pictures lie. Files are parts of
one table if their names say so: `part-0001.csv`, `train-00000-of-00002.parquet`, `test.csv`; all
Parquet files of one folder are. Tables in subfolders count only if there is none above them, and
no documents. Whatever else could be a source is named, and the user chooses.
"""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.formats import parquet
from rag_vqa.formats.detection import LINE_SUFFIXES, all_formats, detect_format, find_format
from rag_vqa.formats.document_format import DOCUMENT_FORMATS, DocumentFormat
from rag_vqa.formats.document_reader import DOCUMENT_READERS
from rag_vqa.formats.folder_walk import PICTURES, TEXTS, WalkedFolder, list_folder, split_name
from rag_vqa.formats.json_records import holds_records
from rag_vqa.formats.name_pairs import group_names
from rag_vqa.formats.packed_file import unpacked_suffix

FOLDER: Final = "folder"
_PARQUET: Final = "parquet"
_MAX_DEPTH: Final = 3  # of folders that are searched for tables
_MAX_FOLDERS: Final = 1_000
_MAX_NAMES: Final = 50_000
_MANY_TEXTS: Final = 4  # texts without pictures that are taken for a collection
_FILES_LOOKED_AT: Final = 20  # whose suffix says too little
_NAMES_SHOWN: Final = 6

_SPLITS: Final = frozenset(
    ("train", "training", "test", "testing", "validation", "valid", "val", "dev", "eval")
)
_PART_WORDS: Final = frozenset(("part", "parts", "chunk", "shard", "split", "of", "batch"))
_YEAR: Final = re.compile(r"(?:1[5-9]|20)\d\d")
_NUMBER: Final = re.compile(r"c?[0-9]+|[0-9a-f]{8,}")  # also a writer's hash
_PLACES: Final = frozenset(("data", "default"))  # folders of the hub that are no configuration
# Descriptions of a collection, not documents of it.
_NOTICES: Final = re.compile(
    r"(?:read.?me|licen[sc]e|copying|notice|citation|changelog|authors|contributing"
    r"|code.?book|data.?dictionary|requirements|robots)(?![a-z]).*",
    re.IGNORECASE,
)
_NO_TABLES: Final = frozenset(
    (
        "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json",
        "package.json", "package-lock.json", "tsconfig.json", "config.json", "manifest.json",
        "rejects.jsonl", "missing.csv",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PossibleSource:
    """Files of one format in a folder.

    Attributes:
        files: absolute paths; empty if it is the folder as a whole.
        name: what it is, for people.
        only: suffixes of the documents that are read of a folder; None: all.
        same_columns: whether all files must have the same columns.
    """

    format: DocumentFormat
    files: tuple[Path, ...]
    name: str
    only: frozenset[str] | None = None
    same_columns: bool = False


@dataclass(slots=True)
class _Inventory:
    """What lies in a folder and a few levels below it.

    Attributes:
        tables: paths within the folder of files that may be tables.
        documents: number of files that are documents by themselves.
        pairs: number of texts with a picture of their name.
        texts: number of other texts.
        packed: names of ZIP files.
    """

    tables: list[str] = field(default_factory=list)
    documents: int = 0
    pairs: int = 0
    texts: int = 0
    pictures: int = 0
    packed: list[str] = field(default_factory=list)

    @property
    def has_documents(self) -> bool:
        return bool(self.documents or self.pairs) or self.texts >= _MANY_TEXTS


def find_source(folder: Path, kind: str = "auto") -> PossibleSource:
    """What a folder is as a source.

    Args:
        kind: name of a format, or "auto".

    Raises:
        UsageError: it may be several sources; the message names them.
        BadInput: it contains no file of that kind.
    """
    if kind in ("auto", _PARQUET) and parquet.is_dataset(folder):
        return PossibleSource(DOCUMENT_FORMATS.get(_PARQUET), (folder,), str(folder))
    if kind != "auto":
        return _find_kind(folder, find_format(kind))
    _check_knowledge_base(folder)
    inventory = _take_inventory(folder)
    tables = _group_tables(folder, inventory.tables)
    top = [source for source in tables if all(file.parent == folder for file in source.files)]
    found = top or ([] if inventory.has_documents else tables)
    described = [source for source in found if _is_image_folder(source)]
    if inventory.has_documents and found and not described:
        found = [*found, _as_documents(inventory)]
    if len(found) > 1:
        raise UsageError(_several_sources(folder, found))
    if not found and inventory.packed and not inventory.pictures and not inventory.texts:
        names = ", ".join(inventory.packed[:_NAMES_SHOWN])
        raise UsageError(
            f"{folder} contains packed files ({names}): give one of them: "
            f"rag-vqa kb build {shlex.quote(str(folder / inventory.packed[0]))} …"
        )
    return found[0] if found else _as_documents(inventory)


def _find_kind(folder: Path, wanted: DocumentFormat) -> PossibleSource:
    """The files of one format in a folder."""
    if wanted.name == FOLDER:
        return PossibleSource(wanted, (), str(folder))
    reader = DOCUMENT_READERS.find(wanted.name)
    if reader is not None:
        known = DOCUMENT_FORMATS.get(FOLDER)
        return PossibleSource(known, (), str(folder), only=frozenset(reader.suffixes))
    sources = _group_tables(folder, _take_inventory(folder).tables)
    sources = [source for source in sources if source.format.name == wanted.name]
    top = [one for one in sources if all(file.parent == folder for file in one.files)] or sources
    if not top:
        return PossibleSource(wanted, (folder,), str(folder))
    files = tuple(sorted(file for source in top for file in source.files))
    return PossibleSource(wanted, files, str(folder), same_columns=len(top) > 1)


def _as_documents(inventory: _Inventory) -> PossibleSource:
    count = inventory.documents + inventory.pairs + inventory.texts
    name = "1 text or document" if count == 1 else f"{count:,} texts and documents"
    return PossibleSource(DOCUMENT_FORMATS.get(FOLDER), (), name)


def _check_knowledge_base(folder: Path) -> None:
    if (folder / "kb.sqlite").is_file():
        raise UsageError(
            f"{folder} is a knowledge base, not a source of documents. "
            f"To put knowledge bases together: rag-vqa kb merge {shlex.quote(str(folder))} …"
        )


def _several_sources(folder: Path, found: Sequence[PossibleSource]) -> str:
    names = [f"{source.name} ({source.format.name})" for source in found[:_NAMES_SHOWN]]
    more = f" and {len(found) - _NAMES_SHOWN} more" if len(found) > _NAMES_SHOWN else ""
    kinds = sorted({source.format.name for source in found})
    by_kind = f", or say which: --kind {' or --kind '.join(kinds)}" if len(kinds) > 1 else ""
    first = next((source for source in found if source.files), found[0])
    path = first.files[0] if len(first.files) == 1 else folder / first.name.partition(" ")[0]
    return (
        f"{folder} contains several possible sources: {', '.join(names)}{more}. "
        f"Give one of them, such as {shlex.quote(str(path))}{by_kind}."
    )


def _take_inventory(folder: Path) -> _Inventory:
    """Look through a folder level by level; a very large one is not looked through in full."""
    inventory = _Inventory()
    tables, documents = _table_suffixes(), _document_suffixes()
    waiting, names = [("", 0)], 0
    for inside, depth in waiting:  # grows
        walked = list_folder(folder, inside)
        names += len(walked.names)
        _count_names(folder, walked, tables, documents, inventory)
        if depth < _MAX_DEPTH and names < _MAX_NAMES:
            room = _MAX_FOLDERS - len(waiting)
            waiting += [(f"{inside}{name}/", depth + 1) for name in walked.folders[: max(0, room)]]
    inventory.tables.sort()
    return inventory


def _table_suffixes() -> frozenset[str]:
    known = {suffix for one in all_formats() if _is_table(one) for suffix in one.suffixes}
    return frozenset({*known, *LINE_SUFFIXES, ".parquet", ".pq"})


def _document_suffixes() -> frozenset[str]:
    readers = (suffix for reader in DOCUMENT_READERS.entries() for suffix in reader.suffixes)
    return frozenset((*TEXTS, *readers))


def _is_table(known: DocumentFormat) -> bool:
    """Whether a format's files are tables: many documents in one file."""
    return "mapping" in known.options


def _count_names(
    folder: Path,
    walked: WalkedFolder,
    tables: frozenset[str],
    documents: frozenset[str],
    found: _Inventory,
) -> None:
    """Count the files of one folder; the suffixes tell tables and documents."""
    inside = walked.inside
    rest: list[str] = []
    doubtful = 0
    pictured: frozenset[str] | None = None
    for name in walked.names:
        suffix = unpacked_suffix(Path(name))
        if name.startswith("_") or name.lower() in _NO_TABLES or _NOTICES.match(name):
            continue  # the second is what Spark and others write beside their parts
        if suffix in tables and suffix != ".json":
            found.tables.append(f"{inside}{name}")
        elif suffix in (".json", ".txt", "") and not inside and doubtful < _FILES_LOOKED_AT:
            doubtful += 1
            pictured = pictured if pictured is not None else _picture_stems(walked.names)
            is_table = split_name(name)[0] not in pictured and _may_be_table(folder / name)
            (found.tables if is_table else rest).append(name)
        else:
            rest.append(name)
            if suffix == ".zip":
                found.packed.append(f"{inside}{name}")
    for group in group_names(rest, documents):
        found.pictures += len(group.pictures)
        if group.document and split_name(group.document)[1] not in TEXTS:
            found.documents += 1
        elif group.document:
            found.pairs += bool(group.pictures)
            found.texts += not group.pictures


def _picture_stems(names: Sequence[str]) -> frozenset[str]:
    """Names of pictures, with and without suffix: programs write notes of these names beside."""
    split = ((name, *split_name(name)) for name in names)
    return frozenset(part for *parts, suffix in split if suffix in PICTURES for part in parts)


def _may_be_table(file: Path) -> bool:
    """Whether a file whose suffix says too little is a table by its content."""
    if file.suffix.lower() != ".json":
        known = next((one for one in all_formats() if _is_table(one) and one.claims(file)), None)
        return known is not None and (not known.name.startswith("json") or _has_lines(file))
    try:
        known = detect_format(file)
        if known.name == "json":
            return holds_records(file)
        if known.name != "jsonl":
            return _is_table(known) or known.name not in DOCUMENT_FORMATS.names()
        return _has_lines(file)
    except (BadInput, OSError):
        return False


def _has_lines(file: Path) -> bool:
    """Whether a file has several lines: one object is a configuration, lines of them a table."""
    with file.open("rb") as opened:
        return len(opened.read(2**20).strip().splitlines()) > 1


def _group_tables(folder: Path, tables: Sequence[str]) -> list[PossibleSource]:
    """Files that are parts of one table, by their names."""
    formats: dict[tuple[str, str, str], DocumentFormat] = {}
    groups: dict[tuple[str, str, str], list[Path]] = defaultdict(list)
    for place in tables:
        path = PurePosixPath(place)
        suffix = unpacked_suffix(Path(path.name))
        key = (_configuration(path), _table_name(path, suffix), suffix)
        if key not in formats:
            try:
                formats[key] = detect_format(folder / place)
            except BadInput:
                formats[key] = DOCUMENT_FORMATS.get(_format_of_suffix(suffix))
        groups[key].append(folder / place)
    joined: dict[tuple[str, str, str], list[Path]] = defaultdict(list)
    for (configuration, name, suffix), files in groups.items():
        known = formats[configuration, name, suffix]
        name = "" if known.name == _PARQUET else name
        joined[known.name, configuration, name] += files
    by_name = {known.name: known for known in formats.values()}
    return [
        PossibleSource(by_name[kind], tuple(sorted(files)), _describe_files(folder, files))
        for (kind, _, _), files in joined.items()
    ]


def _format_of_suffix(suffix: str) -> str:
    """The format of a damaged file."""
    if suffix in (".parquet", ".pq"):
        return _PARQUET
    known = (one.name for one in all_formats() if suffix in one.suffixes and _is_table(one))
    return next(known, "jsonl")


def _configuration(path: PurePosixPath) -> str:
    """The folder of a file without parts that are splits, partitions or the hub's."""
    parts = [
        part
        for part in path.parent.parts
        if part.lower() not in _SPLITS | _PLACES
        and "=" not in part
        and not _NUMBER.fullmatch(part.lower())
    ]
    return "/".join(parts)


def _table_name(path: PurePosixPath, suffix: str) -> str:
    """A file's name without what tells parts of one table apart; `#` stands for that.

    >>> [_table_name(PurePosixPath(name), ".csv") for name in ("part-01.csv", "b_2.csv", "b.csv")]
    ['#', 'b #', 'b']
    """
    stem = path.name.lower().removesuffix(".gz").removesuffix(suffix)
    words = [word for word in re.split(r"[-_. ]+", stem) if word]
    kept = [
        word
        for word in words
        if word not in _SPLITS | _PART_WORDS
        and (_YEAR.fullmatch(word) or not _NUMBER.fullmatch(word))
    ]
    return " ".join(kept if len(kept) == len(words) else [*kept, "#"])


def _is_image_folder(source: PossibleSource) -> bool:
    """Whether it is the `metadata.csv` that describes the pictures of its folder."""
    return all(file.name.lower().startswith("metadata.") for file in source.files)


def _describe_files(folder: Path, files: Sequence[Path]) -> str:
    places = sorted(file.relative_to(folder).as_posix() for file in files)
    if len(places) == 1:
        return places[0]
    tops = {place.partition("/")[0] for place in places if "/" in place}
    if len(tops) == 1 and all("/" in place for place in places):
        return f"{tops.pop()}/ with {len(places):,} files"
    return f"{places[0]} … {places[-1]}"
