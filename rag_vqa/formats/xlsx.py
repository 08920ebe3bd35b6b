"""Excel: sheets with a header, then one document a row; pictures that lie in a row are its own.

Knows which sheets are the table, and which of their rows are documents. Does not know cells
(workbook.py), pictures and links (sheet_parts.py), headers (table_header.py) or fields
(mapping.py).

The first visible sheet whose header names the id is read, and each other one with such a header.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import Contents, Item, is_address
from rag_vqa.formats.document_format import DOCUMENT_FORMATS, DocumentFormat, SourceOptions
from rag_vqa.formats.mapping import FieldMapping, normal_name
from rag_vqa.formats.packed_file import require_file
from rag_vqa.formats.sheet_parts import SheetParts, column_letters, read_sheet_parts
from rag_vqa.formats.table_header import TableHeader, find_header, id_names, is_blank
from rag_vqa.formats.workbook import Workbook
from rag_vqa.formatting import quote_value

SUFFIXES: Final = (".xlsx", ".xlsm", ".xltx", ".xltm")
_NAMES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A sheet with a header."""

    name: str
    part: str
    header: TableHeader


def contents(path: Path, options: SourceOptions) -> Contents:
    """Read the headers.

    Raises:
        Missing: openpyxl is not installed.
        BadInput: no workbook, damaged, encrypted, or over a limit.
        UsageError: the mapping does not fit the columns.
    """
    require_file(path)
    try:
        with Workbook(path) as book:
            sheets = _find_sheets(book, options.mapping)
            if not sheets:
                raise BadInput("it contains no documents: its sheets are empty.")
            tables = _choose_tables(sheets, id_names(options.mapping))
            remarks = [*_describe_choice(sheets, tables), *_describe_parts(book, tables)]
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    columns = _all_columns(tables)
    mapping = FieldMapping.resolve(columns, tables[0].header.mapping, options.text)
    return Contents(
        columns,
        mapping.metadata,
        (),
        lambda: _items(path, tables, mapping),
        (*remarks, *mapping.remarks),
        mapping.fields,
    )


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | BadInput]]:
    """Each row of the first sheet that is not empty, with its number and its filled cells.

    Raises:
        Missing: openpyxl is not installed.
        BadInput: no workbook, or empty.
    """
    require_file(path)
    with Workbook(path) as book:
        sheets = _find_sheets(book, None)
        if not sheets:
            raise BadInput(f"{path} is empty.")
        for number, cells, _ in _rows(book, sheets[0]):
            yield (
                number,
                cells if isinstance(cells, BadInput) else _name_cells(cells, sheets[0].header),
            )


def _find_sheets(book: Workbook, mapping: Mapping[str, Sequence[str]] | None) -> list[_Sheet]:
    """The sheets that are not empty; hidden ones only if there are no others."""
    hidden = book.hidden_sheets()
    parts = book.sheet_parts()
    visible = {name: part for name, part in parts.items() if name not in hidden}
    for group in (visible, parts):
        found = []
        for name, part in group.items():
            header = find_header(book.rows(name), mapping, _call_column, needs_names=False)
            if header is not None and header.columns:
                found.append(_Sheet(name, part, header))
        if found:
            return found
    return []


def _call_column(at: int) -> str:
    return f"column {column_letters(at + 1)}"


def _choose_tables(sheets: Sequence[_Sheet], ids: frozenset[str]) -> list[_Sheet]:
    """The first sheet that has an id, and those with the same columns."""
    first = next((one for one in sheets if not ids.isdisjoint(_names(one))), sheets[0])
    wanted = _names(first)
    if ids.isdisjoint(wanted):
        return [first]
    return [
        one
        for one in sheets
        if not ids.isdisjoint(_names(one)) and (_names(one) <= wanted or wanted <= _names(one))
    ]


def _all_columns(tables: Sequence[_Sheet]) -> tuple[str, ...]:
    """The columns of all sheets, each as the first that has it calls it."""
    columns = list(tables[0].header.columns)
    known = set(map(normal_name, columns))
    for name in (name for table in tables[1:] for name in table.header.columns):
        if normal_name(name) not in known:
            known.add(normal_name(name))
            columns.append(name)
    return tuple(columns)


def _names(sheet: _Sheet) -> frozenset[str]:
    return frozenset(map(normal_name, sheet.header.columns))


def _describe_choice(sheets: Sequence[_Sheet], tables: Sequence[_Sheet]) -> Iterator[str]:
    """What to say about headers, and about sheets that are not read."""
    for sheet in tables:
        for remark in sheet.header.remarks:
            is_alone = len(tables) == 1
            yield remark if is_alone else f"sheet {quote_value(sheet.name)}: {remark}"
    others = [quote_value(one.name) for one in sheets if one not in tables]
    if others:
        read = ", ".join(quote_value(one.name) for one in tables[:_NAMES_SHOWN])
        rest = ", ".join(others[:_NAMES_SHOWN]) + (" …" if len(others) > _NAMES_SHOWN else "")
        yield f"of the workbook, sheet {read} is read, without {rest}"


def _describe_parts(book: Workbook, tables: Sequence[_Sheet]) -> Iterator[str]:
    """What to say about pictures and formulas. If there are pictures, all rows are looked at."""
    inside = outside = 0
    lacks_results = False
    for sheet in tables:
        beside = read_sheet_parts(book.package, sheet.part)
        lacks_results |= beside.lacks_results
        count = sum(map(len, beside.pictures.values()))
        if count:
            used = sum(len(beside.pictures.get(number, ())) for number, _, _ in _rows(book, sheet))
            inside, outside = inside + used, outside + count - used
    if inside or outside:
        beyond = f"; {outside:,} beside the table are left out" if outside else ""
        yield f"{inside:,} pictures in the workbook belong to the documents of their rows{beyond}"
    if lacks_results:
        yield (
            "some formulas have no saved results and are empty: open the workbook in Excel and "
            "save it"
        )


def _rows(book: Workbook, sheet: _Sheet) -> Iterator[tuple[int, list[Any] | BadInput, SheetParts]]:
    """The rows below the header that are not empty, with their numbers in Excel."""
    beside = read_sheet_parts(book.package, sheet.part)
    merged: dict[tuple[int, int], Any] = {}
    tops = {(top, column) for (_, column), top in beside.merged.items()}
    header: list[Any] = []
    number = 0
    try:
        for number, row in enumerate(book.rows(sheet.name), 1):
            cells = list(row)
            if number == sheet.header.row + 1:
                header = cells
            if number <= sheet.header.row + 1 or cells == header:
                continue
            if tops:
                _fill_merged(number, cells, beside, tops, merged)
            if not all(map(is_blank, cells)):
                yield number, cells, beside
    except BadInput as error:
        yield number + 1, error, beside


def _fill_merged(
    number: int,
    cells: list[Any],
    beside: SheetParts,
    tops: set[tuple[int, int]],
    merged: dict[tuple[int, int], Any],
) -> None:
    """Repeat the value of a merged cell in its further rows."""
    if all(map(is_blank, cells)):
        return
    for at in range(len(cells)):
        if (number, at + 1) in tops:
            merged[number, at + 1] = cells[at]
        top = beside.merged.get((number, at + 1))
        if top is not None and is_blank(cells[at]):
            cells[at] = merged.get((top, at + 1))


def _name_cells(cells: Sequence[Any], header: TableHeader) -> dict[str, Any]:
    names = header.names
    return {
        name: cell
        for at, cell in enumerate(cells)
        if not is_blank(cell) and (name := names[at] if at < len(names) else _call_column(at))
    }


def _items(path: Path, tables: Sequence[_Sheet], mapping: FieldMapping) -> Iterator[Item]:
    address = mapping.fields.get("url", ("",))[0]
    with Workbook(path) as book:
        for sheet in tables:
            place = f"sheet {quote_value(sheet.name)}" if len(tables) > 1 else ""
            names = sheet.header.names
            linked = names.index(address) if address and address in names else -1
            for number, cells, beside in _rows(book, sheet):
                try:
                    if isinstance(cells, BadInput):
                        raise cells
                    pictures = beside.pictures_of_row(number, cells)
                    _follow_link(cells, linked, beside.links.get((number, linked + 1)))
                    fields = mapping.read(_name_cells(cells, sheet.header))
                    if pictures:
                        fields["images"] = [*_as_list(fields.get("images")), *pictures]
                    yield Item(number, fields, place, "row")
                except BadInput as error:
                    yield Item(number, error, place, "row")


def _as_list(images: Any) -> list[Any]:
    return [] if images is None else images if isinstance(images, list) else [images]


def _follow_link(cells: list[Any], at: int, target: str | None) -> None:
    """Put the target of a link where its cell only says "record"."""
    if target and 0 <= at < len(cells) and not is_address(str(cells[at] or "")):
        cells[at] = target


def is_xlsx(path: Path) -> bool:
    """Whether a file is a workbook under another name, as systems send out .xls files."""
    if path.suffix.lower() not in (".xls", ".csv", ".zip", "") or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(4096)
    return head.startswith(b"PK\x03\x04") and any(
        mark in head for mark in (b"xl/workbook", b"xl/worksheets", b"xl/_rels")
    )


DOCUMENT_FORMATS.register(
    DocumentFormat(
        name="xlsx",
        suffixes=SUFFIXES,
        claims=is_xlsx,
        options=frozenset({"images", "mapping", "text"}),
        open=contents,
    )
)
