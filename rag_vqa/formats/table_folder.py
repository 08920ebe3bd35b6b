"""Table folders: several files of one format are read one after another, as one source.

Knows which files may be parts of one table, where their pictures lie, and folders that are a column
(`year=2020/`). Does not know formats, nor which files of a folder are meant (possible_sources.py).

A picture is named from the folder of its file, or from that of the whole source. A file that is
damaged as a whole is refused, and the others are read.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.formats.document import Contents, Item, is_address
from rag_vqa.formats.document_format import DocumentFormat, SourceOptions
from rag_vqa.formats.mapping import normal_name, parse_scalar
from rag_vqa.formats.picture_files import is_picture_there
from rag_vqa.formats.plain_values import picture_list
from rag_vqa.formatting import one_line, quote_value

_NO_PARTITION: Final = "__HIVE_DEFAULT_PARTITION__"
_NAMES_SHOWN: Final = 3
_COLUMNS_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class _Part:
    """One file.

    Attributes:
        place: its path within the source.
        opened: what it contains, or why it cannot be read.
    """

    place: str
    opened: Contents | BadInput

    @property
    def folder(self) -> str:
        """Its folder within the source; "" is that itself."""
        return posixpath.dirname(self.place)

    @property
    def contents(self) -> Contents:
        """What it contains; nothing, if it cannot be read."""
        if isinstance(self.opened, BadInput):
            return Contents((), (), (), lambda: iter(()))
        return self.opened

    def partition(self) -> dict[str, Any]:
        """Columns that its folders are, as `year=2020`, with their values."""
        pairs = (part.partition("=") for part in self.folder.split("/"))
        return {
            unquote(name): parse_scalar(unquote(value))
            for name, equals, value in pairs
            if name and equals and value != _NO_PARTITION
        }


def open_tables(
    known: DocumentFormat,
    files: Sequence[Path],
    root: Path,
    options: SourceOptions,
    same_columns: bool = False,
) -> Contents:
    """What several files contain in all.

    Args:
        root: folder of the source, which contains the files.
        same_columns: refuse files of which one has a column that another has not.

    Raises:
        BadInput: none of them can be read.
        UsageError: their columns differ so much that they are not parts of one table.
    """
    parts = [_open_part(known, file, root, options, len(files) > 1) for file in files]
    good = [part for part in parts if not isinstance(part.opened, BadInput)]
    if not good:
        raise next(part.opened for part in parts if isinstance(part.opened, BadInput))
    _check_columns(root, good, same_columns)
    found = [part.contents for part in good]
    partitions = _join_names(tuple(part.partition()) for part in parts)
    return Contents(
        _join_names([*(one.columns for one in found), partitions]),
        _join_names([*(one.metadata for one in found), partitions]),
        _join_names(one.unknown for one in found),
        lambda: _items(parts, root, move_names=options.images is None),
        _join_names([_describe_files(good), *(one.remarks for one in found)]),
        fields=found[0].fields,
        findings=lambda: _join_names(one.findings() for one in found),
    )


def _open_part(
    known: DocumentFormat, file: Path, root: Path, options: SourceOptions, is_one_of_many: bool
) -> _Part:
    place = file.relative_to(root).as_posix()
    try:
        return _Part(place, known.open(file, options))
    except BadInput as error:
        return _Part(place, error)
    except UsageError as error:
        raise UsageError(f"{place}: {error}") if is_one_of_many else error from error


def _check_columns(root: Path, parts: Sequence[_Part], same_columns: bool) -> None:
    """
    Raises:
        UsageError: the columns of a file are too different from those of the first.
    """
    first = parts[0]
    for part in parts[1:]:
        if not _may_be_parts(first.contents.columns, part.contents.columns, same_columns):
            raise UsageError(
                f"{root} contains several tables: {part.place} has other columns than "
                f"{first.place} ({_list_names(part.contents.columns)}; "
                f"{_list_names(first.contents.columns)}). Give one of them: "
                f"rag-vqa kb build {shlex.quote(str(root / first.place))} …"
            )


def _may_be_parts(one: Sequence[str], other: Sequence[str], same_columns: bool) -> bool:
    """Whether two files may be parts of one table: the order of columns makes no difference."""
    columns, others = (frozenset(map(normal_name, names)) for names in (one, other))
    if same_columns:
        return columns == others
    shared = len(columns & others)
    return shared >= min(len(columns), len(others)) or 2 * shared >= max(len(columns), len(others))


def _items(parts: Sequence[_Part], root: Path, move_names: bool) -> Iterator[Item]:
    for part in parts:
        if isinstance(part.opened, BadInput):
            yield Item(None, part.opened, quote_value(part.place, 200))
            continue
        partition = part.partition()
        folder = part.folder if move_names else ""
        for item in part.opened.items():
            place = ", ".join(filter(None, (part.place, item.place)))
            fields = item.fields
            if not isinstance(fields, BadInput):
                if folder:
                    fields = _move_names(fields, folder, root)
                if partition:
                    fields = {**fields, "metadata": {**partition, **(fields["metadata"] or {})}}
            yield item._replace(fields=fields, place=place)


def _move_names(fields: Mapping[str, Any], folder: str, root: Path) -> Mapping[str, Any]:
    """The fields with pictures named from the root, not from the folder of their file.

    An id that is the picture's name is moved with it: each split may have a `0001.png`.
    """
    given = [*picture_list(fields.get("image")), *picture_list(fields.get("images"))]
    if not any(isinstance(name, str) and not is_address(name) for name in given):
        return fields
    moved = [_move_name(name, folder, root) for name in given]
    identity = moved[0] if fields.get("id") == given[0] else fields.get("id")
    return {**fields, "id": identity, "image": None, "images": moved}


def _move_name(name: Any, folder: str, root: Path) -> Any:
    if not isinstance(name, str) or is_address(name):
        return name
    near = posixpath.normpath(posixpath.join(folder, name))
    if not is_picture_there(root / near, root) and is_picture_there(root / name, root):
        return name
    return near


def _describe_files(parts: Sequence[_Part]) -> tuple[str, ...]:
    if len(parts) == 1:
        return (f"read: {one_line(parts[0].place)}",)
    names = [one_line(part.place) for part in parts]
    shown = names if len(names) <= _NAMES_SHOWN else [*names[: _NAMES_SHOWN - 1], "…", names[-1]]
    return (f"read as one: {len(parts):,} files, {', '.join(shown)}",)


def _join_names(names: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for some in names for name in some))


def _list_names(names: Sequence[str]) -> str:
    shown = ", ".join(one_line(name) for name in names[:_COLUMNS_SHOWN])
    return shown if len(names) <= _COLUMNS_SHOWN else f"{shown}, …"
