"""CSV and TSV: a header, then one document a row; quoted cells may contain line breaks.

Knows which file is a table, and what becomes of rows that are shorter or longer than the header.
Does not know separators (csv_dialect.py), quotes (csv_rows.py), headers (table_header.py), fields
(mapping.py) or encodings (file_encoding.py).

The separator is whichever of comma, semicolon, tab and `|` makes the rows as wide as the header.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from rag_vqa.errors import BadInput
from rag_vqa.formats.csv_dialect import (
    SAMPLE_LINES,
    SAMPLE_SIZE,
    find_dialect,
    is_table,
    separator_of_line,
)
from rag_vqa.formats.csv_rows import CsvRows, Dialect
from rag_vqa.formats.document import Contents, Item
from rag_vqa.formats.document_format import DOCUMENT_FORMATS, DocumentFormat, SourceOptions
from rag_vqa.formats.file_encoding import FileEncoding, find_file_encoding
from rag_vqa.formats.line_reader import read_lines
from rag_vqa.formats.mapping import FieldMapping
from rag_vqa.formats.packed_file import unpacked_suffix
from rag_vqa.formats.table_header import TableHeader, find_header, id_names, is_blank

SUFFIXES: Final = (".csv", ".tsv", ".tab")
_TAB_SUFFIXES: Final = (".tsv", ".tab")
_NAME_SIZE: Final = 300  # characters of a cell that are looked at, to find the header
# Of files that are tables if their lines look like one.
_PERHAPS: Final = (".txt", ".text", ".dat", ".asc", ".xls", "")


@dataclass(frozen=True, slots=True)
class _Table:
    """A file whose header was read.

    Attributes:
        skip: lines before the rows, as Excel's `sep=;`.
        line: number of the header's first line.
    """

    path: Path
    encoding: FileEncoding
    dialect: Dialect
    skip: int
    header: TableHeader
    line: int

    def rows(self) -> Iterator[tuple[int, Sequence[str] | BadInput]]:
        """The rows below the header that are not empty, with the numbers of their first lines."""
        width = len(self.header.names)
        rows = CsvRows(_lines(self.path, self.encoding, self.skip), self.dialect, width)
        header: list[str] | BadInput = []
        for row in rows:
            if isinstance(row, BadInput):
                yield rows.begin, row
            elif rows.begin <= self.line:
                header = row
            elif any(not is_blank(cell) for cell in row) and row != header:
                yield rows.begin, self._fit_row(row)

    def _fit_row(self, row: list[str]) -> list[str] | BadInput:
        """A row without the empty cells behind the last column."""
        width = len(self.header.names)
        if len(row) > width and not all(map(is_blank, row[width:])):
            return BadInput(
                f"{len(row)} cells, but the header has {width}: a separator inside a cell needs "
                "quotes around the cell."
            )
        return row[:width]


def contents(path: Path, options: SourceOptions) -> Contents:
    """Read the header.

    Raises:
        Missing: no such file.
        BadInput: no header, an encoding that has to be given, or a binary file.
        UsageError: the mapping does not fit the columns, or no such encoding.
    """
    table = _open_table(path, options.mapping, options.encoding)
    header = table.header
    mapping = FieldMapping.resolve(header.columns, header.mapping, options.text, written=True)
    return Contents(
        header.columns,
        mapping.metadata,
        (),
        lambda: _items(table, mapping),
        (*table.encoding.remarks, *header.remarks, *mapping.remarks),
        mapping.fields,
    )


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, str] | BadInput]]:
    """Each row with the number of its first line: unchanged cells by the names of the header.

    Raises:
        Missing: no such file.
        BadInput: the header cannot be read.
    """
    table = _open_table(path)
    names = table.header.names
    for line, row in table.rows():
        if isinstance(row, BadInput):
            yield line, row
        else:
            cells = (*row, *[""] * (len(names) - len(row)))
            yield line, {name: cell for name, cell in zip(names, cells, strict=True) if name}


def is_csv(path: Path) -> bool:
    """Whether a file that is not called a table is one: a header, and rows of the same width."""
    if not path.is_file() or unpacked_suffix(path) not in _PERHAPS:
        return False
    try:
        encoding = find_file_encoding(path)
        return is_table(_sample(path, encoding))
    except BadInput:
        return False


def _open_table(
    path: Path,
    mapping: Mapping[str, Sequence[str]] | None = None,
    given_encoding: str | None = None,
) -> _Table:
    encoding = find_file_encoding(path, given_encoding)
    sample = _sample(path, encoding)
    separator = separator_of_line(sample[0]) if sample else None
    skip = int(separator is not None)
    preferred = "\t" if unpacked_suffix(path) in _TAB_SUFFIXES else ""
    dialect = find_dialect(sample[skip:], id_names(mapping), separator or preferred)
    numbers: list[int] = []
    rows = CsvRows(_lines(path, encoding, skip), dialect)

    def numbered_rows() -> Iterator[Sequence[str]]:
        for row in rows:
            numbers.append(rows.begin)
            yield [] if isinstance(row, BadInput) else [cell[:_NAME_SIZE] for cell in row]

    header = find_header(numbered_rows(), mapping)
    if header is None:
        raise BadInput(f"{path} contains no documents: it is empty.")
    return _Table(path, encoding, dialect, skip, header, numbers[header.row])


def _sample(path: Path, encoding: FileEncoding) -> list[str]:
    """The first lines, as far as they can be read."""
    lines: list[str] = []
    size = 0
    for _, line in islice(read_lines(path, encoding, breaks=""), SAMPLE_LINES):
        if isinstance(line, str):
            lines.append(line)
            size += len(line)
        if size > SAMPLE_SIZE:
            break
    return lines


def _lines(path: Path, encoding: FileEncoding, skip: int) -> Iterator[tuple[int, str | BadInput]]:
    return islice(read_lines(path, encoding, breaks=""), skip, None)


def _items(table: _Table, mapping: FieldMapping) -> Iterator[Item]:
    names = table.header.names
    for line, row in table.rows():
        try:
            if isinstance(row, BadInput):
                raise row
            filled = {
                name: cell
                for name, cell in zip(names, row, strict=False)
                if name and not is_blank(cell)
            }
            yield Item(line, mapping.read(filled))
        except BadInput as error:
            yield Item(line, error)


DOCUMENT_FORMATS.register(
    DocumentFormat(
        name="csv",
        suffixes=SUFFIXES,
        claims=is_csv,
        options=frozenset({"images", "mapping", "text", "encoding"}),
        open=contents,
    )
)
