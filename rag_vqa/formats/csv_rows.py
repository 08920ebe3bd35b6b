"""Rows of CSV: cells between separators, with quotes as programs and people write them.

Knows quotes: doubled inside quotes (RFC 4180), behind a backslash, within a cell, never closed.
Does not know headers (table_header.py), separators (csv_dialect.py) or files (line_reader.py).

A row that the csv module refuses is read again loosely: a quote closes a cell only before a
separator or the end of the line. A quote that is never closed is a character of its cell, and costs
no other row.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from rag_vqa.errors import BadInput
from rag_vqa.formats.line_reader import LINE_LIMIT, UndecodableLine

# A text cell may have hundreds of lines; a quote that is never closed takes the rest of the file.
_MAX_LINES_OF_ROW: Final = 10_000
_MAX_LINES_LOOSELY: Final = 20
_MAX_SIZE_LOOSELY: Final = 2**20  # characters
_PATIENCE: Final = 200_000  # lines that are read again in a file, for quotes that are not closed
_NOT_CSV: Final = "quotes that do not match: inside quotes, write a quote twice."


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the cells of a file are separated.

    Attributes:
        separator: one character.
        has_spaces: blanks behind a separator are no part of the cell.
    """

    separator: str
    has_spaces: bool = False


class CsvRows(Iterator[list[str] | BadInput]):
    """Rows of a file, one by one. After a row that is refused, the next one is read.

    Attributes:
        begin: number of the first line of the current row.
        width: cells of a row, as far as known; decides between readings of odd quotes.
    """

    def __init__(
        self, lines: Iterator[tuple[int, str | BadInput]], dialect: Dialect, width: int = 0
    ) -> None:
        # The module's limit of a cell is 128 kB, for the whole process: raise it, never lower it.
        csv.field_size_limit(max(csv.field_size_limit(), LINE_LIMIT))
        self._source, self._dialect = lines, dialect
        self._waiting: deque[tuple[int, str | BadInput]] = deque()
        self._taken: list[tuple[int, str | BadInput]] = []
        self._size, self._patience = 0, _PATIENCE
        self._reader = csv.reader(
            _Feed(self),
            delimiter=dialect.separator,
            skipinitialspace=dialect.has_spaces,
            strict=True,
        )
        self.begin, self.width = 0, width

    def __next__(self) -> list[str] | BadInput:
        self._taken.clear()
        self._size = 0
        try:
            row: list[str] | BadInput = next(self._reader)
        except (csv.Error, _OpenQuote):
            row = self._mend()
        self.begin = self._taken[0][0]
        bad = (line for _, line in self._taken if isinstance(line, BadInput))
        return next(bad, row)

    def next_line(self) -> str:
        """The next line, for the csv module.

        Raises:
            StopIteration: there is none.
            _OpenQuote: it cannot belong to the row that was begun.
        """
        number, line = self._waiting.popleft() if self._waiting else next(self._source)
        self._taken.append((number, line))
        text = _line_text(line)
        if text is None:
            raise _OpenQuote
        self._size += len(text)
        if len(self._taken) > min(_MAX_LINES_OF_ROW, max(self._patience, 2)):
            raise _OpenQuote
        if self._size > LINE_LIMIT and len(self._taken) > 1:
            raise _OpenQuote
        return text

    def _mend(self) -> list[str] | BadInput:
        """The row that begins with the first line taken; later lines are read again."""
        first = self._taken[0][1]
        begin = _line_text(first)
        if begin is None:
            return self._keep(1, BadInput(str(first)))
        self._patience -= len(self._taken) + _MAX_LINES_LOOSELY
        whole = _parse_loosely(begin, self._dialect, is_complete=True)
        if whole is not None and len(whole) == self.width > 1 and self._is_row_next():
            return self._keep(1, whole)
        text = ""
        for count, (_, line) in enumerate(self._more_lines(), 1):
            more = _line_text(line)
            if more is None or len(text) > _MAX_SIZE_LOOSELY:
                break
            text += more
            cells = _parse_loosely(text, self._dialect)
            if cells is not None and len(cells) == (self.width or len(cells)):
                return self._keep(count, cells)
        return self._keep(1, BadInput(f"not CSV: {_NOT_CSV}") if whole is None else whole)

    def _is_row_next(self) -> bool:
        """Whether the second line looks like a row of its own."""
        following = [line for _, line in islice(self._more_lines(), 2)][1:]
        text = _line_text(following[0]) if following else "\n"
        if text is None or text.isspace():
            return True
        cells = _parse_loosely(text, self._dialect, is_complete=True)
        return cells is not None and len(cells) == self.width

    def _more_lines(self) -> Iterator[tuple[int, str | BadInput]]:
        """The lines taken, then further ones, as far as a row read loosely may go."""
        limit = _MAX_LINES_LOOSELY if self._patience > 0 else 1
        for at in range(limit):
            if at == len(self._taken):
                following = self._waiting.popleft() if self._waiting else next(self._source, None)
                if following is None:
                    return
                self._taken.append(following)
            yield self._taken[at]

    def _keep(self, count: int, row: list[str] | BadInput) -> list[str] | BadInput:
        """The row, after the lines behind its first `count` are put back."""
        self._waiting.extendleft(reversed(self._taken[count:]))
        del self._taken[count:]
        return row


def _line_text(line: str | BadInput) -> str | None:
    """A line that ends with \\n; None if it cannot be read."""
    if isinstance(line, UndecodableLine):
        line = line.text
    if isinstance(line, BadInput):
        return None
    return line[:-2] + "\n" if line.endswith("\r\n") else line.replace("\r", "\n")


class _OpenQuote(Exception):
    """A row cannot go on with this line: a quote was opened and is not closed."""


class _Feed(Iterator[str]):
    """The lines of CsvRows as the csv module asks for them."""

    def __init__(self, rows: CsvRows) -> None:
        self._rows = rows

    def __next__(self) -> str:
        return self._rows.next_line()


def _parse_loosely(text: str, dialect: Dialect, is_complete: bool = False) -> list[str] | None:
    """The cells of a row with odd quotes; None if a quote is not closed.

    Args:
        is_complete: a quote that is not closed is a character of its cell.
    """
    if '\\"' in text:
        cells = _split_cells(text, dialect, is_complete, escape="\\")
        if cells is not None:
            return cells
    return _split_cells(text, dialect, is_complete)


def _split_cells(
    text: str, dialect: Dialect, is_complete: bool, escape: str = ""
) -> list[str] | None:
    text = text.rstrip("\n")
    cells: list[str] = []
    at = 0
    while True:
        if dialect.has_spaces:
            at += len(text[at:]) - len(text[at:].lstrip(" "))
        found = None
        if text[at : at + 1] == '"':
            found = _quoted_cell(text, at, dialect.separator, escape)
            if found is None and not is_complete and _opens_quote(text, at, dialect.separator):
                return None
        if found is None:
            end = text.find(dialect.separator, at)
            end = len(text) if end < 0 else end
            if "\n" in text[at:end]:
                return None
            found = text[at:end], end
        cell, at = found
        cells.append(cell)
        if at >= len(text):
            return cells
        at += 1


def _opens_quote(text: str, at: int, separator: str) -> bool:
    """Whether a cell has a quote without its partner; `"Blue" vase` has none."""
    end = text.find(separator, at)
    return text.count('"', at, len(text) if end < 0 else end) % 2 == 1


def _quoted_cell(text: str, at: int, separator: str, escape: str) -> tuple[str, int] | None:
    """A cell in quotes and where it ends; None if no quote closes it.

    A quote closes the cell if a separator or the end of the text follows, blanks aside.
    """
    parts: list[str] = []
    begin = at + 1
    quote = text.find('"', begin)
    while quote >= 0:
        behind = text[quote + 1 : quote + 2]
        if escape and text[quote - 1] == escape and quote > begin:
            parts.append(text[begin : quote - 1] + '"')
            begin = quote + 1
        elif behind == '"':
            parts.append(text[begin : quote + 1])
            begin = quote + 2
        else:
            end = quote + 1
            while text[end : end + 1] == " ":
                end += 1
            if text[end : end + 1] in ("", separator):
                return "".join(parts) + text[begin:quote], end
            parts.append(text[begin : quote + 1])
            begin = quote + 1
        quote = text.find('"', begin)
    return None
