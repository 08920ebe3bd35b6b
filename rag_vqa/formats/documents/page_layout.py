"""Page layout: pieces of text at places on a page become rows in the order in which people read.

Knows columns and gutters, by geometry alone. Does not know any format of files.

A page is cut into slabs at wide gaps between lines. Slabs with the same gutter, a strip that no
text crosses, are columns: the left one is read before the right one. What is as wide as the page
divides them, and so does a short line, such as a heading, with nothing beside it. A gutter between
short pieces is one between the cells of a table, and divides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from rag_vqa.formats.documents.page_boxes import (
    COLUMN_ROWS,
    Box,
    Figure,
    Row,
    Run,
    find_gaps,
    group_lines,
    is_column,
    line_height,
    text_row,
)
from rag_vqa.formats.documents.page_tables import find_aligned_table

_MAX_DEPTH: Final = 12  # of columns within columns
_CROSSING: Final = 0.12  # of the text may cross a gutter
_SLAB_GAP: Final = 0.5  # of a line's height

Gap: TypeAlias = tuple[float, float]  # left and right edge of a strip


def order_rows(runs: Sequence[Run], figures: Sequence[Figure]) -> list[Row]:
    """The rows of a page in reading order.

    Args:
        figures: what is placed as a whole between the rows.
    """
    blocks: list[list[Row]] = []
    _split([*runs, *figures], blocks, _MAX_DEPTH)
    return [replace(row, block=number) for number, block in enumerate(blocks) for row in block]


def _split(boxes: Sequence[Box], blocks: list[list[Row]], depth: int) -> None:
    """Append the blocks of a region in reading order."""
    for slabs in _group_slabs(boxes) if depth else [_SlabGroup(list(boxes), None)]:
        if slabs.gutter is None:
            _append_beside_heads(slabs.boxes, blocks)
        else:
            _split_columns(slabs.boxes, slabs.gutter, blocks, depth)


def _split_columns(boxes: list[Box], gutter: Gap, blocks: list[list[Row]], depth: int) -> None:
    """Append two columns; what crosses the gutter divides them into bands."""
    middle = (gutter[0] + gutter[1]) / 2
    crossing = [box for box in boxes if _crosses(box, gutter)]
    crossing.sort(key=lambda box: -box.top)
    others = [box for box in boxes if not _crosses(box, gutter)]
    for divider in [*crossing, None]:
        bottom = float("-inf") if divider is None else (divider.top + divider.bottom) / 2
        band = [box for box in others if (box.top + box.bottom) / 2 > bottom]
        others = [box for box in others if (box.top + box.bottom) / 2 <= bottom]
        for side in (
            [box for box in band if (box.left + box.right) / 2 <= middle],
            [box for box in band if (box.left + box.right) / 2 > middle],
        ):
            if side:
                _split(side, blocks, depth - 1)
        if divider is not None:
            _append_rows([divider], blocks, joined=not band)


def _append_beside_heads(boxes: Sequence[Box], blocks: list[list[Row]]) -> None:
    """Append a region without columns; a heading in the margin comes before the text beside it."""
    waiting: list[Box] = []
    for slab in _cut_slabs(boxes):
        margin = _find_margin(slab)
        if margin is None:
            waiting += slab
            continue
        if waiting:
            _append_rows(waiting, blocks)
            waiting = []
        _append_rows([box for box in slab if box.right <= margin], blocks)
        _append_rows([box for box in slab if box.right > margin], blocks)
    if waiting:
        _append_rows(waiting, blocks)


def _find_margin(slab: Sequence[Box]) -> float | None:
    """The right edge of a few words in the margin of running text; None if there are none."""
    runs = [box for box in slab if isinstance(box, Run)]
    gaps = find_gaps(runs, 0.6 * line_height(runs), 0.0)
    if len(gaps) != 1 or len(runs) < len(slab):
        return None
    left = [run for run in runs if run.right <= gaps[0][0] + 1]
    right = [run for run in runs if run.left >= gaps[0][1] - 1]
    few = len(group_lines(left)) * 2 <= len(group_lines(right))
    return gaps[0][0] + 1 if few and is_column(right) and not is_column(left) else None


@dataclass(slots=True)
class _SlabGroup:
    """Slabs that are read together, in columns if there is a gutter."""

    boxes: list[Box]
    gutter: Gap | None


def _group_slabs(boxes: Sequence[Box]) -> list[_SlabGroup]:
    whole = _find_gutter(boxes)
    groups: list[_SlabGroup] = []
    for slab in _cut_slabs(boxes):
        last = groups[-1] if groups else None
        gutter = _find_gutter(slab)
        if gutter is None and whole is not None and _is_beside(slab, whole):
            gutter = whole
        before = None if last is None else last.gutter
        if gutter is not None and before is not None:
            shared = max(gutter[0], before[0]), min(gutter[1], before[1])
            gutter = shared if shared[0] < shared[1] else gutter
            if gutter != shared:
                last = None
        elif before is not None and _fills_column(slab, before):
            gutter = before
        if last is not None and (gutter is None) == (before is None):
            last.boxes += slab
            last.gutter = gutter
        else:
            groups.append(_SlabGroup(slab, gutter))
    return groups


def _cut_slabs(boxes: Sequence[Box]) -> list[list[Box]]:
    """Cut a region where nothing is for half a line's height, from the top."""
    slabs: list[list[Box]] = []
    least = _SLAB_GAP * line_height(boxes)
    bottom = 0.0
    for box in sorted(boxes, key=lambda each: -each.top):
        if slabs and bottom - box.top < least:
            slabs[-1].append(box)
            bottom = min(bottom, box.bottom)
        else:
            slabs.append([box])
            bottom = box.bottom
    return slabs


def _crosses(box: Box, gutter: Gap) -> bool:
    return box.left < gutter[0] - 1 and box.right > gutter[1] + 1


def _is_beside(slab: Sequence[Box], gutter: Gap) -> bool:
    """Whether something stands on both sides of a gutter, and nothing in it."""
    left = any(box.right <= gutter[0] + 1 for box in slab)
    right = any(box.left >= gutter[1] - 1 for box in slab)
    return left and right and not any(_crosses(box, gutter) for box in slab)


def _fills_column(slab: Sequence[Box], gutter: Gap) -> bool:
    """Whether a slab goes on with one column: its lines are on one side, and most reach its end."""
    lines = group_lines(slab)
    left = all(box.right <= gutter[0] + 1 for box in slab)
    right = all(box.left >= gutter[1] - 1 for box in slab)
    if not left and not right:
        return False
    start = min(box.left for box in slab)
    end = gutter[0] if left else max(box.right for box in slab)
    full = sum(line[-1].right > end - 0.15 * (end - start) for line in lines)
    return len(lines) > 1 and full * 2 >= len(lines)


def _find_gutter(boxes: Sequence[Box]) -> Gap | None:
    """The gutter between two columns of running text, the clearest one first."""
    if len(boxes) < 2 * COLUMN_ROWS:
        return None
    best, found = 0.0, None
    runs = [box for box in boxes if isinstance(box, Run)]
    for gap in find_gaps(runs, max(5.0, 0.6 * line_height(boxes)), _CROSSING):
        left = [box for box in boxes if box.right <= gap[0] + 1]
        right = [box for box in boxes if box.left >= gap[1] - 1]
        if not left or not right or not (is_column(left) and is_column(right)):
            continue
        beside = min(max(b.top for b in left), max(b.top for b in right)) - max(
            min(b.bottom for b in left), min(b.bottom for b in right)
        )
        clearness = beside * (gap[1] - gap[0])
        if clearness > best:
            best, found = clearness, gap
    return found


def _append_rows(boxes: Sequence[Box], blocks: list[list[Row]], joined: bool = False) -> None:
    """Append a region without columns.

    Args:
        joined: it goes on with the block before.
    """
    if not joined or not blocks or _is_figure(blocks[-1]):
        blocks.append([])
    lines = group_lines(boxes)
    at = 0
    while at < len(lines):
        runs = [box for box in lines[at] if isinstance(box, Run)]
        table = find_aligned_table(lines[at:]) if len(runs) > 1 else None
        if table is not None:
            blocks += [table.rows, []]
            at += table.lines
            continue
        if runs:
            blocks[-1].append(text_row(runs))
        for box in lines[at]:
            if isinstance(box, Figure):
                blocks += [_figure_rows(box), []]
        at += 1


def _is_figure(block: list[Row]) -> bool:
    return bool(block) and (block[-1].is_table or block[-1].image is not None)


def _figure_rows(figure: Figure) -> list[Row]:
    if figure.image is None:
        return figure.lines
    return [Row(figure.left, figure.bottom, figure.right, figure.top, image=figure.image)]
