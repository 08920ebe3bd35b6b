"""Boxes on a page: pieces of text, rows and figures, and the lines and gaps that they form.

Knows geometry. Places are in points, y grows upwards, and text runs from left to right. Does not
know columns (page_layout.py) or tables (page_tables.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Final

from rag_vqa.formats.documents.writing_direction import is_leftward, reading_order

COLUMN_ROWS: Final = 3  # a column of running text has so many lines
_COLUMN_CHARACTERS: Final = 22  # on an average line: shorter ones are cells of a table
_SPACE: Final = 0.13  # of a line's height: a narrower gap is none between words
_CLOSING: Final = frozenset(".,;:!?،؛؟")
RAISED: Final = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(slots=True)
class Box:
    """A rectangle on a page."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.top - self.bottom

    def contains(self, other: Box, slack: float = 2.0) -> bool:
        """Whether the middle of another box lies in this one."""
        x, y = (other.left + other.right) / 2, (other.bottom + other.top) / 2
        return (
            self.left - slack <= x <= self.right + slack
            and self.bottom - slack <= y <= self.top + slack
        )


@dataclass(slots=True)
class Run(Box):
    """A piece of a line without wide gaps.

    Attributes:
        tag: identifies the tagged content that it belongs to; -1 if there is none.
        is_fixed: its letters are equally wide.
    """

    text: str = ""
    tag: int = -1
    is_fixed: bool = False


@dataclass(slots=True)
class Row(Box):
    """A line of text, a row of a table, or a picture.

    Attributes:
        size: height of its letters, in points.
        block: number of the column, table or paragraph that it belongs to.
        level: of a heading, from 1, if the file says so.
        image: number of the picture on this page.
        starts: it begins a paragraph, if the file says so.
        goes_on: it goes on with the paragraph of the row before, if the file says so.
        is_fixed: its letters are equally wide.
    """

    text: str = ""
    size: float = 0.0
    block: int = 0
    is_table: bool = False
    level: int | None = None
    image: int | None = None
    starts: bool = False
    goes_on: bool = False
    is_fixed: bool = False


@dataclass(slots=True)
class Figure(Box):
    """Something that is read as a whole: a picture, or a table with its rows.

    Attributes:
        image: number of the picture; None of a table.
        lines: rows of a table.
    """

    image: int | None = None
    lines: list[Row] = field(default_factory=list)


def group_lines(boxes: Iterable[Box]) -> list[list[Box]]:
    """Boxes that stand on one line, from the top; each line from left to right."""
    lines: list[list[Box]] = []
    for box in sorted(boxes, key=lambda each: -(each.top + each.bottom)):
        line = lines[-1] if lines else None
        if line is not None and _on_one_line(line[0], box):
            line.append(box)
        else:
            lines.append([box])
    for line in lines:
        line.sort(key=lambda each: each.left)
    return lines


def join_runs(runs: Sequence[Run]) -> str:
    """The text of pieces on one line; those of scripts that run leftwards come in their order."""
    if any(is_leftward(letter) for run in runs for letter in run.text):
        runs = [runs[at] for at in reading_order([run.text for run in runs])]
    text, before = "", None
    for run in runs:
        if before is not None:
            gap = max(run.left - before.right, before.left - run.right)
            touching = gap < _SPACE * min(run.height, before.height)
            touching = touching or run.text[:1] in _CLOSING
            text += "" if touching or text.endswith(" ") or run.text.startswith(" ") else " "
            is_small = run.height < 0.85 * before.height
            is_raised = is_small and touching and run.bottom > before.bottom + 0.2 * before.height
            text += run.text.translate(RAISED) if is_raised and run.text.isdecimal() else run.text
        else:
            text = run.text
        before = run
    return text.strip()


def find_gaps(boxes: Sequence[Box], least: float, crossing: float) -> list[tuple[float, float]]:
    """Vertical strips inside that at most a share `crossing` of the boxes' height crosses.

    Args:
        least: the narrowest strip, in points.
    """
    if len(boxes) < 2:
        return []
    edges = sorted({x for box in boxes for x in (box.left, box.right)})
    allowed = crossing * sum(box.height for box in boxes) / 2
    changes = sorted(
        [(box.left, box.height) for box in boxes] + [(box.right, -box.height) for box in boxes]
    )
    gaps: list[tuple[float, float]] = []
    covered, at = 0.0, 0
    for left, right in pairwise(edges):
        while at < len(changes) and changes[at][0] <= left:
            covered += changes[at][1]
            at += 1
        if covered > allowed:
            continue
        if gaps and gaps[-1][1] == left:
            gaps[-1] = (gaps[-1][0], right)
        else:
            gaps.append((left, right))
    return [gap for gap in gaps if gap[1] - gap[0] >= least and edges[0] < gap[0]
            and gap[1] < edges[-1]]  # fmt: skip


def line_height(boxes: Sequence[Box]) -> float:
    """The usual height of the pieces of text; 10 points if there are none."""
    heights = [box.height for box in boxes if isinstance(box, Run)]
    return median(heights) if heights else 10.0


def is_column(boxes: Sequence[Box]) -> bool:
    """Whether boxes below one another are running text or pictures, not cells."""
    lines = group_lines(box for box in boxes if isinstance(box, Run))
    if not lines:
        return any(isinstance(box, Figure) for box in boxes)
    characters = sum(len(run.text) for line in lines for run in line if isinstance(run, Run))
    return len(lines) >= COLUMN_ROWS and characters >= _COLUMN_CHARACTERS * len(lines)


def text_row(runs: Sequence[Run]) -> Row:
    """One row of pieces that stand on one line."""
    size = max(runs, key=lambda run: len(run.text)).height
    is_fixed = all(run.is_fixed for run in runs)
    return Row(*surround(runs), text=join_runs(runs), size=size, is_fixed=is_fixed)


def surround(boxes: Sequence[Box]) -> tuple[float, float, float, float]:
    """The edges of the smallest box around some: left, bottom, right, top."""
    return (
        min(box.left for box in boxes), min(box.bottom for box in boxes),
        max(box.right for box in boxes), max(box.top for box in boxes),
    )  # fmt: skip


def _on_one_line(first: Box, box: Box) -> bool:
    if isinstance(first, Figure) or isinstance(box, Figure):
        return False
    shared = min(first.top, box.top) - max(first.bottom, box.bottom)
    return shared > 0.5 * min(first.height, box.height)
