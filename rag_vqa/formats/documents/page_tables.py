"""Tables on a page: found by their rules, or by cells that stand below one another.

Knows lines and gaps. Does not know columns of running text (page_layout.py). A row of a table is
one row of text, `a | b`: what is wrapped within a cell is joined.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final

from rag_vqa.formats.documents.page_boxes import (
    Box,
    Figure,
    Row,
    Run,
    find_gaps,
    group_lines,
    is_column,
    join_runs,
    line_height,
    surround,
)
from rag_vqa.formats.documents.section_writer import format_row

_TOUCH: Final = 3.0  # points between rules that meet
_MAX_RULES: Final = 1_000  # of a page: more are a drawing
_MAX_CELL_CHARACTERS: Final = 1_500  # more is a frame around text
_ALIGNED_ROWS: Final = 3  # a table without rules has so many rows, or two of three cells
_TIGHT: Final = 0.8  # heights between the lines of one cell
_APART: Final = 2.5  # heights between rows: more, and it is another table


@dataclass(frozen=True, slots=True)
class AlignedTable:
    """A table without rules.

    Attributes:
        lines: lines of the page that it takes.
    """

    rows: list[Row]
    lines: int


def find_ruled_tables(runs: Sequence[Run], rules: Sequence[Box]) -> list[Figure]:
    """The tables between rules: boxes that are thin, lying or standing."""
    if not 3 <= len(rules) <= _MAX_RULES:
        return []
    tables: list[Figure] = []
    for group in [*_rules_that_meet(rules), *_rules_of_one_width(rules)]:
        area = Box(*surround(group))
        if any(table.contains(area) or area.contains(table) for table in tables):
            continue
        inside = [run for run in runs if area.contains(run)]
        lying = _positions([(r.top + r.bottom) / 2 for r in group if r.width >= r.height])
        standing = _positions([(r.left + r.right) / 2 for r in group if r.height > r.width])
        table = _ruled_table(area, inside, lying, standing)
        if table is not None:
            tables.append(table)
    return tables


def find_aligned_table(lines: Sequence[Sequence[Box]]) -> AlignedTable | None:
    """The table that begins with the first of these lines, if its cells are aligned."""
    taken = _lines_of_cells(lines)
    while len(taken) >= 2:
        runs = [run for line in taken for run in line]
        gaps = find_gaps(runs, 0.6 * line_height(runs), 0.0)
        filled = [_fill_cells(line, gaps) for line in taken]
        cells = [sum(map(bool, row)) for row in filled]
        enough = len(taken) >= _ALIGNED_ROWS or (gaps and min(cells) >= 3)
        several = sum(count > 1 for count in cells) > 0.6 * len(cells)
        if gaps and enough and several and not _are_columns(runs, gaps):
            return AlignedTable(_merge_wrapped(taken, filled), len(taken))
        taken = taken[:-1] if len(taken) > 12 else taken[: len(taken) // 2]
    return None


def _are_columns(runs: Sequence[Run], gaps: Sequence[tuple[float, float]]) -> bool:
    """Whether all that is between the gaps is running text."""
    edges = [float("-inf"), *((left + right) / 2 for left, right in gaps), float("inf")]
    return all(
        is_column([run for run in runs if left <= run.left < right])
        for left, right in pairwise(edges)
    )


def _lines_of_cells(lines: Sequence[Sequence[Box]]) -> list[list[Run]]:
    """The first lines, as long as they are near each other and have several cells.

    A line of one piece belongs to them if it goes on with a cell of the line before.
    """
    taken: list[list[Run]] = []
    for line in lines:
        runs = [box for box in line if isinstance(box, Run)]
        if len(runs) < len(line):
            break
        if taken:
            gap = (taken[-1][0].bottom - runs[0].top) / runs[0].height
            aligned = any(
                abs(runs[0].left - run.left) < 2 and abs(runs[0].height - run.height) < 1
                for run in taken[-1]
            )
            if gap > _APART or (len(runs) == 1 and not (aligned and gap < _TIGHT)):
                break
        taken.append(runs)
    return taken


def _fill_cells(line: Sequence[Run], gaps: Sequence[tuple[float, float]]) -> list[str]:
    """The text of a line by column."""
    middles = [(left + right) / 2 for left, right in gaps]
    cells: list[list[Run]] = [[] for _ in range(len(gaps) + 1)]
    for run in line:
        cells[bisect_right(middles, run.left + 1)].append(run)
    return [join_runs(cell) for cell in cells]


def _merge_wrapped(lines: list[list[Run]], filled: list[list[str]]) -> list[Row]:
    """Rows of an aligned table; a line whose first cell is empty goes on with the row before."""
    rows: list[tuple[list[str], list[Run]]] = []
    within = _gap_within_rows(lines, filled)
    for runs, cells in zip(lines, filled, strict=True):
        gap = _line_gap(rows[-1][1], runs) if rows else float("inf")
        goes_on = gap < _TIGHT * runs[0].height and not cells[0]
        if rows and (gap <= within or (goes_on and sum(map(bool, cells)) < len(cells))):
            before = rows[-1][0]
            rows[-1] = (
                [" ".join(filter(None, pair)) for pair in zip(before, cells, strict=True)],
                [*rows[-1][1], *runs],
            )
        else:
            rows.append((cells, list(runs)))
    return [_table_row(cells, Box(*surround(runs)), runs) for cells, runs in rows]


def _gap_within_rows(lines: list[list[Run]], filled: list[list[str]]) -> float:
    """The widest gap between lines of one row; below all gaps if each line is a row.

    Cells are wrapped if lines stand in groups, and most lines within the groups begin in the middle
    of a sentence.
    """
    gaps = [_line_gap(line, following) for line, following in pairwise(lines)]
    low, high = min(gaps), max(gaps)
    middle = (low + high) / 2
    if high - low < 0.25 * lines[0][0].height:
        return float("-inf")
    inside = [cell for gap, cells in zip(gaps, filled[1:], strict=True) if gap <= middle
              for cell in cells if cell]  # fmt: skip
    small = sum(cell[0].islower() for cell in inside)
    return middle if inside and small >= 0.6 * len(inside) else float("-inf")


def _line_gap(line: Sequence[Run], following: Sequence[Run]) -> float:
    return min(run.bottom for run in line) - max(run.top for run in following)


def _table_row(cells: Sequence[str], area: Box, runs: Sequence[Run]) -> Row:
    size = median(run.height for run in runs)
    return Row(area.left, area.bottom, area.right, area.top,
               text=format_row(cells), size=size, is_table=True)  # fmt: skip


def _ruled_table(
    area: Box, runs: Sequence[Run], lying: list[float], standing: list[float]
) -> Figure | None:
    """The table in an area; None if it is a frame, or two columns of text between lines."""
    if len(lying) < 3 and len(standing) < 3:
        return None
    if len(standing) > 2:
        inner = standing[1:-1]
    else:
        gaps = find_gaps(runs, 0.6 * line_height(runs), 0.05)
        inner = [(left + right) / 2 for left, right in gaps]
    bounds = sorted(-y for y in lying[1:-1])
    if not inner or not runs:
        return None
    rows: list[list[Run]] = [[] for _ in range(len(bounds) + 1)]
    for run in runs:
        rows[bisect_right(bounds, -(run.top + run.bottom) / 2)].append(run)
    if len(standing) <= 2 and len(rows) <= 3:  # rules around the head only: each line is a row
        rows = [[run for run in line if isinstance(run, Run)]
                for row in rows for line in group_lines(row)]  # fmt: skip
    found: list[Row] = []
    columns: set[int] = set()
    for row in rows:
        cells: list[list[Run]] = [[] for _ in range(len(inner) + 1)]
        for run in row:
            cells[bisect_right(inner, run.left + 2)].append(run)
        texts = [_cell_text(cell) for cell in cells]
        if any(len(text) > _MAX_CELL_CHARACTERS for text in texts):
            return None
        columns |= {number for number, text in enumerate(texts) if text}
        if row:
            found.append(_table_row(texts, Box(*surround(row)), row))
    if len(found) < 2 or len(columns) < 2:
        return None
    return Figure(area.left, area.bottom, area.right, area.top, lines=found)


def _cell_text(cell: Sequence[Run]) -> str:
    lines = (join_runs([run for run in line if isinstance(run, Run)])
             for line in group_lines(cell))  # fmt: skip
    return " ".join(lines)


def _positions(values: Sequence[float]) -> list[float]:
    """Values in order; those that nearly agree are one."""
    found: list[float] = []
    for value in sorted(values):
        if not found or value - found[-1] > _TOUCH:
            found.append(value)
    return found


def _rules_that_meet(rules: Sequence[Box]) -> list[list[Box]]:
    """Groups of rules that touch one another, directly or by others; the largest first."""
    groups: list[list[Box]] = []
    waiting = sorted(rules, key=lambda rule: -rule.top)
    while waiting:
        group, frontier = [], [waiting.pop()]
        while frontier:
            rule = frontier.pop()
            group.append(rule)
            near = [other for other in waiting if _touch(rule, other)]
            if near:
                frontier += near
                taken = set(map(id, near))
                waiting = [other for other in waiting if id(other) not in taken]
        if len(group) >= 4:
            groups.append(group)
    return sorted(groups, key=len, reverse=True)


def _rules_of_one_width(rules: Sequence[Box]) -> list[list[Box]]:
    """Groups of at least three lying rules, one below the other, that are equally wide."""
    groups: list[list[Box]] = []
    lying = [rule for rule in rules if rule.width > rule.height]
    for rule in sorted(lying, key=lambda each: -each.top):
        for group in groups:
            last = group[-1]
            if abs(last.left - rule.left) < 6 and abs(last.right - rule.right) < 6:
                group.append(rule)
                break
        else:
            groups.append([rule])
    return [group for group in groups if len(group) >= 3]


def _touch(one: Box, other: Box) -> bool:
    return (
        one.left - _TOUCH <= other.right and other.left - _TOUCH <= one.right
        and one.bottom - _TOUCH <= other.top and other.bottom - _TOUCH <= one.top
    )  # fmt: skip
