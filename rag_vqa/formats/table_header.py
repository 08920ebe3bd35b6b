"""The header of a table: which row it is, and what its columns are called.

Knows columns without a name, columns that number the rows, and names that are given twice. Does not
know files, nor which column is which field (mapping.py). CSV and Excel share it.

The header is the first row that is not empty. If that row does not name the id and one of the next
does, it is that one: people write a title above a table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from rag_vqa.errors import BadInput
from rag_vqa.formats.mapping import IMAGES, WELL_KNOWN, normal_name
from rag_vqa.formatting import quote_value

_HEADER_ROWS: Final = 20  # that are not empty; a header further down is not looked for
_SAMPLE_ROWS: Final = 10_000  # that tell what a column without a name holds
_UNNAMED: Final = re.compile(r"(?:Unnamed: \d+(?:[._]\w+)*)?")  # "" and as pandas calls them
_NUMBER: Final = re.compile(r"\d{1,18}(?:\.0)?", re.ASCII)
_LINE_BREAK: Final = re.compile(r"\s*[\r\n]+\s*")
_IMAGEFOLDER_ID: Final = "file_name"
_OF_ONE_COLUMN: Final = ("id", "parent", "url")
_OF_SEVERAL: Final = ("text", "retrieval_text", "title", "section", *IMAGES)

Cells = Sequence[Any]


@dataclass(frozen=True, slots=True)
class TableHeader:
    """The names of a table's columns.

    Attributes:
        row: number of the header's row among all rows, from 0.
        names: of the columns by position; "" if a column is left out. Cells further right have no
            column.
        columns: names of the columns that hold something.
        mapping: field → columns, with all columns of a name that is given twice.
        remarks: what the user should know, one line each.
    """

    row: int
    names: tuple[str, ...]
    columns: tuple[str, ...]
    mapping: Mapping[str, Sequence[str]] | None = None
    remarks: tuple[str, ...] = ()


@dataclass(slots=True)
class _Column:
    """What a column without a name holds, in the rows that were looked at."""

    rows: int = 0
    filled: int = 0
    numbers: set[int] = field(default_factory=set)
    last: int = -1
    in_order: bool = True
    only_numbers: bool = True

    def add(self, cell: Any) -> None:
        self.rows += 1
        if is_blank(cell):
            return
        self.filled += 1
        number = int(float(cell)) if _NUMBER.fullmatch(str(cell)) else None
        if number is None or number in self.numbers:
            self.only_numbers = False
        else:
            self.numbers.add(number)
            self.in_order &= number == self.last + 1 if self.last >= 0 else number in (0, 1)
            self.last = number

    def numbers_rows(self, is_first: bool) -> bool:
        """Whether it is an index: numbers in order, or (as a first column) without repetition."""
        return bool(self.filled) and self.only_numbers and (self.in_order or is_first)


def id_names(mapping: Mapping[str, Sequence[str]] | None) -> frozenset[str]:
    """Normal names of the columns that may be the id."""
    if mapping and "id" in mapping:
        return frozenset(normal_name(name) for name in mapping["id"])
    return frozenset({"id", *WELL_KNOWN["id"], _IMAGEFOLDER_ID})


def find_header(
    rows: Iterator[Cells],
    mapping: Mapping[str, Sequence[str]] | None,
    call_column: Callable[[int], str] = lambda at: f"column {at + 1}",
    needs_names: bool = True,
) -> TableHeader | None:
    """The header of a table; None if all rows are empty.

    Args:
        rows: all rows from the first; some thousands of them are read.
        call_column: what to call a column without a name, by its position.
        needs_names: a cell right of the last name is a mistake, as of a separator within a text,
            unless most rows have one.

    Raises:
        BadInput: two columns are called like a field that takes one only.
    """
    beginning: list[tuple[int, Cells]] = []
    for at, row in enumerate(rows):
        if not all(map(is_blank, row)):
            beginning.append((at, row))
        if len(beginning) >= _HEADER_ROWS:
            break
    if not beginning:
        return None
    place = _header_place(beginning, id_names(mapping))
    at, header = beginning[place]
    names = [_clean_name(cell) for cell in header]
    below = [row for _, row in beginning[place + 1 :]]
    found, remarks = _name_columns(names, below, rows, mapping, call_column, needs_names)
    if place:
        remarks.insert(0, f"the header is row {at + 1}: what stands above it is left out")
    found, wider, repeated = _tell_apart(found, mapping)
    columns = tuple(name for name, is_shown in found if is_shown and name)
    return TableHeader(at, tuple(name for name, _ in found), columns, wider, (*remarks, *repeated))


def is_blank(cell: Any) -> bool:
    """Whether a cell holds nothing, or blanks only."""
    return cell is None or (isinstance(cell, str) and (not cell or cell.isspace()))


def _header_place(beginning: Sequence[tuple[int, Cells]], wanted: frozenset[str]) -> int:
    for place, (_, row) in enumerate(beginning):
        if any(normal_name(_clean_name(cell)) in wanted for cell in row):
            return place
    return 0


def _clean_name(cell: Any) -> str:
    return "" if cell is None else _LINE_BREAK.sub(" ", str(cell).strip().strip('"').strip())


def _name_columns(
    names: list[str],
    below: list[Cells],
    rows: Iterator[Cells],
    mapping: Mapping[str, Sequence[str]] | None,
    call_column: Callable[[int], str],
    needs_names: bool,
) -> tuple[list[tuple[str, bool]], list[str]]:
    """Names by position, each with whether its column is shown; and remarks."""
    if not needs_names:
        names += [""] * (max((len(row) for row in below), default=0) - len(names))
    nameless = {at: _Column() for at, name in enumerate(names) if _UNNAMED.fullmatch(name)}
    if nameless:
        for row in (*below, *islice(rows, _SAMPLE_ROWS)):
            if not all(map(is_blank, row)):
                for at, seen in nameless.items():
                    seen.add(row[at] if at < len(row) else None)
    wanted = {normal_name(name) for columns in (mapping or {}).values() for name in columns}
    last = max((at for at in range(len(names)) if at not in nameless), default=-1)
    found: list[tuple[str, bool]] = []
    remarks: list[str] = []
    is_first = True  # no column that holds anything came before
    for at, name in enumerate(names):
        column = nameless.get(at)
        label = name or call_column(at)
        if column is None or normal_name(label) in wanted:
            found.append((label, True))
            is_first = False
        elif not column.filled:
            found.append((call_column(at), False))
        elif column.numbers_rows(is_first):
            found.append(("", False))
            remarks.append(f"{quote_value(label)} only numbers the rows and is left out")
        elif needs_names and at > last and 2 * column.filled <= column.rows:
            break
        else:
            found.append((label, True))
            if not name:
                remarks.append(f"a column has no name: it is called {quote_value(label)}")
    while needs_names and len(found) > last + 1 and not found[-1][1]:
        found.pop()  # empty columns at the end: what is filled there later is a cell too many
    return found, remarks


def _tell_apart(
    found: list[tuple[str, bool]], mapping: Mapping[str, Sequence[str]] | None
) -> tuple[list[tuple[str, bool]], Mapping[str, Sequence[str]] | None, list[str]]:
    """Each name once, a mapping that has all columns of a name, and what to say about it.

    Raises:
        BadInput: a field that takes one column only has two.
    """
    groups: dict[str, list[str]] = {}
    apart: list[tuple[str, bool]] = []
    taken = {name for name, _ in found}
    for name, is_shown in found:
        label = name
        if name and name in groups:
            number = len(groups[name]) + 1
            while (label := f"{name} ({number})") in taken:
                number += 1
            taken.add(label)
        groups.setdefault(name, []).append(label)
        apart.append((label, is_shown))
    repeated = {name: labels for name, labels in groups.items() if name and len(labels) > 1}
    if not repeated:
        return apart, mapping, []
    wider: dict[str, Sequence[str]] = dict(mapping or {})
    for name, labels in repeated.items():
        for own in _fields_of(name, mapping):
            if own in _OF_ONE_COLUMN:
                raise BadInput(f"two columns are called {quote_value(name)}: rename one of them.")
            before = [label for label in wider.get(own, (name,)) if label != name]
            wider[own] = (*before, *labels)
    remarks = [
        f"{len(labels)} columns are called {quote_value(name)}: they are read as "
        f"{', '.join(map(quote_value, labels))}"
        for name, labels in repeated.items()
    ]
    return apart, wider, remarks


def _fields_of(name: str, mapping: Mapping[str, Sequence[str]] | None) -> list[str]:
    """The fields that a column's name gives, by the mapping or as its own name."""
    given = [
        own
        for own, columns in (mapping or {}).items()
        if normal_name(name) in {normal_name(column) for column in columns}
    ]
    plain = normal_name(name)
    if given or plain in (mapping or {}) or plain not in (*_OF_ONE_COLUMN, *_OF_SEVERAL):
        return given
    return [plain]
