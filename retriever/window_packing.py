"""Packing: pieces of a text into as few windows as fit, and pieces that are too long cut to fit.

Knows that a window within a table begins with the table's header, and where a long sentence is cut:
behind a clause, else between words; a word that is longer than a window, or a script without
blanks, between characters as readers see them (grapheme clusters). Does not know how a text becomes
pieces (text_pieces.py), nor the tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from rag_vqa.formats.text_pieces import Piece

# No tokenizer packs more characters into a token on average, so longer texts need no counting.
# Counting a word of a megabyte would take minutes.
WIDEST_TOKEN = 24

_CLAUSE_ENDS = ",;:،؛、，；：・|)）」』"
_NEVER_FIRST = frozenset(
    "、。，．；：？！・ー」』）］】〕》〉”’ゝ々ぁぃぅぇぉっゃゅょァィゥェォッャュョๆฯ"
)
_MOST_CLOSERS = 4  # of these in a row
_LONGEST_CLUSTER = 16  # characters; a base with more marks than this is cut

Fits = Callable[[str], bool]


def pack_pieces(pieces: Sequence[Piece], fits: Fits, window: int) -> list[str]:
    """The texts of windows that fit, in order.

    Args:
        window: number of tokens that fit; each word and character is at least one.
    """
    waiting, windows = [*pieces], list[str]()
    start, size = 0, 1
    while start < len(waiting):
        header, size = _fill_window(waiting, start, fits, size)
        if not size:
            parts = _cut_piece(waiting[start], fits, window)
            waiting[start : start + 1] = parts
            size = len(parts) == 1  # it cannot be cut, so it is a window as it stands
        if size:
            windows.append(_join(header, waiting[start : start + size]))
            start += size
    return windows


def _fill_window(pieces: Sequence[Piece], start: int, fits: Fits, guess: int) -> tuple[str, int]:
    """How many pieces from `start` on fit together, and the header they are read with."""
    header = pieces[start].header
    for repeated in [header, ""] if header and fits(f"{header}\n{header}") else [""]:
        size = largest_fit(
            lambda n: fits(_join(repeated, pieces[start : start + n])),  # noqa: B023
            guess,
            len(pieces) - start,
        )
        if size:
            return repeated, size
    return "", 0


def _join(header: str, pieces: Sequence[Piece]) -> str:
    first, *others = pieces
    text = first.text + "".join(piece.gap + piece.text for piece in others)
    return f"{header}\n{text}" if header else text


def largest_fit(fit: Callable[[int], bool], guess: int, most: int) -> int:
    """The largest size up to `most` that fits, 0 if not even one does.

    Counting tokens takes the time. So the search starts from a guess, the size of the run before,
    and counts only two or three times if runs are alike.
    """
    low, high, step = 0, most + 1, 1  # low fits, high does not
    size = min(max(1, guess), most)
    while low + 1 < high:
        if fit(size):
            low = size
            step, size = (2 * step, low + step) if high > most else (step, (low + high) // 2)
        else:
            high = size
            step, size = (2 * step, high - step) if low == 0 else (step, (low + high) // 2)
        size = min(max(size, low + 1), high - 1)
    return low


def _cut_piece(piece: Piece, fits: Fits, window: int) -> list[Piece]:
    """What a piece that does not fit is cut into: its parts, or runs of its words that fit."""
    if piece.parts:
        first, *others = piece.parts
        return [replace(first, gap=piece.gap, header=piece.header), *others]
    words = re.findall(r"\s*\S+", piece.text) if piece.verbatim else re.split(r"(?= )", piece.text)
    runs = [*_cut_to_fit(words, fits, window, window)]
    gaps = [piece.gap, *(run[: len(run) - len(run.lstrip())] for run in runs[1:])]
    texts = [runs[0], *(run.lstrip() for run in runs[1:])]
    return [
        replace(piece, text=text, gap=gap) for text, gap in zip(texts, gaps, strict=True) if text
    ]


def _cut_to_fit(units: Sequence[str], fits: Fits, limit: int, window: int) -> Iterator[str]:
    """The longest runs of words (or characters) that fit, each with the blanks before it."""
    start, size = 0, 1
    while start < len(units):

        def fit(n: int, start: int = start) -> bool:
            return fits("".join(units[start : start + n]).lstrip() if start else "".join(units[:n]))

        size = largest_fit(fit, size, min(limit, len(units) - start))
        size = size and _good_end(units, start, size)
        run = "".join(units[start : start + max(1, size)])
        start += max(1, size)
        clusters = [run] if size else split_clusters(run)
        if len(clusters) == 1:
            yield run
        else:
            yield from _cut_to_fit(clusters, fits, window * WIDEST_TOKEN, window)


def _good_end(units: Sequence[str], start: int, size: int) -> int:
    """Where to cut, given how much fits: behind a clause, unless that wastes half of the window."""
    if start + size == len(units):
        return size
    for shorter in range(size, size // 2, -1):
        if units[start + shorter - 1][-1] in _CLAUSE_ENDS:
            return shorter
    for shorter in range(size, max(0, size - _MOST_CLOSERS), -1):
        if units[start + shorter][0] not in _NEVER_FIRST:
            return shorter
    return size


def split_clusters(text: str) -> list[str]:
    """Characters as readers see them: letters with their marks, emoji with their joiners.

    >>> split_clusters("ก\u0e33e\u0301!") == ["ก\u0e33", "e\u0301", "!"]
    True
    """
    import regex

    clusters = regex.findall(r"\X", text)
    return [
        cluster[start : start + _LONGEST_CLUSTER]
        for cluster in clusters
        for start in range(0, len(cluster), _LONGEST_CLUSTER)
    ]
