"""The dialect of a CSV file: what separates its cells, found out from several lines.

Knows Excel's first line `sep=;`, and that with the right separator the rows are as wide as the
header. Does not know quotes (csv_rows.py) or what a header means (table_header.py).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rag_vqa.errors import BadInput
from rag_vqa.formats.csv_rows import CsvRows, Dialect
from rag_vqa.formats.mapping import normal_name

SAMPLE_LINES: Final = 500
SAMPLE_SIZE: Final = 2**19  # characters
_SEPARATORS: Final = ",;\t|"
_SELDOM: Final = "\x1f\x01^~¦"  # of databases and mainframes; only if no other separates anything
_HEADER_ROWS: Final = 20  # above which a header is not looked for
_LONGEST_NAME: Final = 100  # characters of a column's name
_MOST_ROWS: Final = 0.9
_SEPARATOR_LINE: Final = re.compile(r'"?sep=(.|\\t)"?[,;|\t]*\s*', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Fit:
    """How well a dialect fits a sample; the greatest is the best.

    Attributes:
        has_id: a cell of the header is a name of the id.
        share: share of the rows that are as wide as the header.
        height: rows above the header, negative.
        width: cells of the header.
    """

    has_id: bool
    share: float
    height: int
    width: int

    @property
    def key(self) -> tuple[bool, float, int, int]:
        """For comparison: the id first, unless hardly any row fits."""
        return self.has_id and self.share > 0, self.share, self.height, self.width


def find_dialect(lines: Sequence[str], id_names: Collection[str], preferred: str = "") -> Dialect:
    """The dialect of a file from its first lines.

    Args:
        id_names: normal names of columns that may be the id.
        preferred: a separator that is taken if the first line that is not blank contains it.
    """
    fits = _fits(lines, id_names, preferred)
    if not fits:
        return Dialect(preferred or ",")
    best = max(fits, key=lambda separator: fits[separator].key)
    plain, spaced = Dialect(best), Dialect(best, has_spaces=True)
    if best.isspace():
        return plain
    if any(best + ' "' in line for line in lines):
        fit = _fit(lines, spaced, id_names)
        if fit is not None and fit.share > fits[best].share:
            return spaced
    return spaced if _has_spaces(lines, plain) else plain


def is_table(lines: Sequence[str]) -> bool:
    """Whether the first lines of a file look like a table: a tab or more in each, or an id.

    A text with a tab here and there is none, nor is a list of names with commas.

    >>> is_table(["id\\ttext\\n", "a\\tOne.\\n"]), is_table(["Dear all,\\n", "it is late, so\\n"])
    (True, False)
    """
    named = [line for line in lines if not line.isspace()]
    if len(named) < 2 or separator_of_line(named[0]) is not None:
        return len(named) > 2
    for separator, fit in _fits(named, ("id", "_id"), "").items():
        rows = [row for row in _sample_rows(named, Dialect(separator)) if row]
        header = rows[0]
        is_header = len(set(header)) == len(header) > 1 and all(
            0 < len(name) <= _LONGEST_NAME for name in header
        )
        if not is_header or fit.height:
            continue
        if fit.has_id and fit.share >= _MOST_ROWS:
            return True
        if separator == "\t" and all(1 < len(row) <= len(header) for row in rows):
            return fit.share > 0
    return False


def _fits(lines: Sequence[str], id_names: Collection[str], preferred: str) -> dict[str, _Fit]:
    """The separators that separate anything, and how well they fit."""
    first = next((line for line in lines if not line.isspace()), "")
    if preferred and preferred in first:
        separators = preferred
    elif any(mark in line for line in lines for mark in _SEPARATORS):
        separators = _SEPARATORS
    else:
        separators = _SELDOM
    found = {mark: _fit(lines, Dialect(mark), id_names) for mark in separators}
    return {mark: fit for mark, fit in found.items() if fit is not None}


def _has_spaces(lines: Sequence[str], dialect: Dialect) -> bool:
    """Whether a blank follows nearly each separator, as in `a, b, c`."""
    cells = [cell for row in _sample_rows(lines, dialect) for cell in (row or [])[1:] if cell]
    return sum(cell.startswith(" ") for cell in cells) > _MOST_ROWS * len(cells)


def separator_of_line(line: str) -> str | None:
    """The separator that Excel's own first line names; None of any other line.

    >>> separator_of_line("sep=;\\r\\n")
    ';'
    """
    found = _SEPARATOR_LINE.fullmatch(line)
    if found is None:
        return None
    return found[1].replace("\\t", "\t")


def _fit(lines: Sequence[str], dialect: Dialect, id_names: Collection[str]) -> _Fit | None:
    """None if the dialect separates nothing in the first rows."""
    rows = [row for row in _sample_rows(lines, dialect) if row is None or any(row)]
    place = next((at for at, row in enumerate(rows[:_HEADER_ROWS]) if row and len(row) > 1), None)
    if place is None:
        return None
    header = rows[place] or []
    following = rows[place + 1 :]
    while header and not header[-1].strip():
        header = header[:-1]
    names = {normal_name(name) for name in header}
    equal = sum(row is not None and _width(row, len(header)) == len(header) for row in following)
    share = equal / len(following) if following else 1.0
    return _Fit(not names.isdisjoint(id_names), round(share, 2), -place, len(header))


def _width(row: Sequence[str], wanted: int) -> int:
    """Cells of a row; empty ones at its end do not count beyond those of the header."""
    width = len(row)
    while width > wanted and not row[width - 1].strip():
        width -= 1
    return width


def _sample_rows(lines: Sequence[str], dialect: Dialect) -> Iterator[list[str] | None]:
    """Rows of the sample; None for one that cannot be read. The last may be cut, and is left out
    of a full sample."""
    numbered: Iterator[tuple[int, str | BadInput]] = iter(enumerate(lines, 1))
    rows = [None if isinstance(row, BadInput) else row for row in CsvRows(numbered, dialect)]
    yield from rows[:-1] if len(lines) >= SAMPLE_LINES else rows
