"""CSV and TSV: a header, then one document a row; quoted cells may contain line breaks.

Knows dialects, quotes and the number of cells. Does not know fields (mapping.py) or files
(line_reader.py).

The separator is a tab in .tsv and .tab. Otherwise it is whichever of comma, semicolon and tab
occurs most in the header. Inside quotes, quotes are doubled, as in spreadsheets and RFC 4180. The
text is UTF-8, with or without a byte order mark.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import Contents, Item
from rag_vqa.formats.document_format import DOCUMENT_FORMATS, DocumentFormat, SourceOptions
from rag_vqa.formats.line_reader import LINE_LIMIT, read_lines, unpacked_suffix
from rag_vqa.formats.mapping import FieldMapping
from rag_vqa.formatting import quote_value

SUFFIXES = (".csv", ".tsv", ".tab")
_SEPARATORS = ",;\t"
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
# A text cell may have hundreds of lines; a quote that is never closed takes the rest of the file.
_MAX_LINES_OF_ROW = 10_000


def contents(path: Path, options: SourceOptions) -> Contents:
    """Read the header.

    Raises:
        Missing: no such file.
        BadInput: no header, two columns of one name, or text that is not UTF-8.
        UsageError: the mapping does not fit the columns.
    """
    lines = _Lines(path)
    separator = "\t" if unpacked_suffix(path) in (".tsv", ".tab") else None
    header, separator = _read_header(path, lines, separator)
    mapping = FieldMapping.resolve(header, options.mapping, options.text, written=True)
    return Contents(
        header,
        mapping.metadata,
        (),
        lambda: _items(path, header, mapping, separator),
        mapping.remarks,
        mapping.fields,
    )


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, str] | BadInput]]:
    """Each row with the number of its first line: unchanged cells by the names of the header.

    Raises:
        Missing: no such file.
        BadInput: the header cannot be read.
    """
    lines = _Lines(path)
    header, separator = _read_header(
        path, lines, "\t" if unpacked_suffix(path) in (".tsv", ".tab") else None
    )
    for row in _parse_rows(lines, separator):
        if isinstance(row, BadInput):
            yield lines.begin, row
        elif any(cell and not cell.isspace() for cell in row):
            yield lines.begin, _row_cells(row, header)


class _BadLine(BadInput):
    """One line cannot be read; those after it can."""


class _Lines(Iterator[str]):
    """Lines of a file for the csv module. After a line that raised, the next one is read.

    Attributes:
        number: of the current line, from 1.
        begin: of the first line of the current row.
    """

    def __init__(self, path: Path) -> None:
        self._lines = read_lines(path)
        self.number = self.begin = self._size = 0

    def begin_row(self) -> None:
        self.begin, self._size = self.number + 1, 0

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        if isinstance(line, BadInput):
            raise _BadLine(str(line))
        self._size += len(line)
        lines = self.number - self.begin
        if lines and (lines >= _MAX_LINES_OF_ROW or self._size > LINE_LIMIT):
            raise _BadLine(
                f"a quote opens in line {self.begin} and is not closed by line {self.number}: "
                "close it there. The lines between them are lost."
            )
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            raise _BadLine(
                f"not UTF-8: byte 0x{line[error.start]:02x} at {error.start} of line "
                f"{self.number}. Save the file as UTF-8."
            ) from error


def _parse_rows(lines: _Lines, separator: str) -> Iterator[list[str] | BadInput]:
    # The module's limit of a cell is 128 kB, for the whole process: raise it, never lower it.
    csv.field_size_limit(max(csv.field_size_limit(), LINE_LIMIT))
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        lines.begin_row()
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadInput(f"not CSV: {error}. Inside quotes, write a quote twice.")
        except _BadLine as error:
            yield error


def _read_header(path: Path, lines: _Lines, separator: str | None) -> tuple[tuple[str, ...], str]:
    """Names of the columns, and the separator."""
    try:
        first = next((line for line in lines if line.strip()), "")
    except _BadLine as error:
        raise BadInput(f"{path}, line {lines.number}: {error}") from error
    if not first:
        raise BadInput(f"{path} contains no documents: it is empty.")
    bare = _QUOTED.sub("", first)
    separator = separator or max(_SEPARATORS, key=bare.count)
    try:
        (row,) = csv.reader([first], delimiter=separator, strict=True)
    except (csv.Error, ValueError) as error:
        raise BadInput(f"{path}, line {lines.number}: the header is not CSV: {error}.") from error
    names = tuple(name.strip() for name in row)
    for place, name in enumerate(names, 1):
        if not name:
            raise BadInput(f"{path}: column {place} has no name: give it one in the header.")
        if names.index(name) + 1 < place:
            raise BadInput(
                f"{path}: two columns are called {quote_value(name)}: rename one of them."
            )
    return names, separator


def _items(
    path: Path, header: tuple[str, ...], mapping: FieldMapping, separator: str
) -> Iterator[Item]:
    lines = _Lines(path)
    _read_header(path, lines, separator)
    for row in _parse_rows(lines, separator):
        if isinstance(row, BadInput):
            yield Item(lines.begin, row)
        elif any(cell and not cell.isspace() for cell in row):
            yield Item(lines.begin, _row_fields(row, header, mapping))


def _row_fields(
    row: list[str], header: tuple[str, ...], mapping: FieldMapping
) -> dict[str, object] | BadInput:
    cells = _row_cells(row, header)
    if isinstance(cells, BadInput):
        return cells
    return mapping.read(cells)


def _row_cells(row: list[str], header: tuple[str, ...]) -> dict[str, str] | BadInput:
    if len(row) != len(header):
        why = f"{len(row)} cells, but the header has {len(header)}"
        return BadInput(f"{why}: a separator inside a cell needs quotes around the cell.")
    return dict(zip(header, row, strict=True))


DOCUMENT_FORMATS.register(
    DocumentFormat(
        name="csv",
        suffixes=SUFFIXES,
        options=frozenset({"images", "mapping", "text"}),
        open=contents,
    )
)
