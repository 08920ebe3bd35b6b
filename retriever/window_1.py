"""Splitting "window-1": how texts were cut before tables, lists and more scripts were known.

Knows its rules, which never change: a knowledge base that was built with them keeps them, so that
its documents stay unchanged when they are added again. Does not know titles and pictures
(passages.py). New knowledge bases are cut by window_packing.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rag_vqa.retriever.window_packing import WIDEST_TOKEN, Fits, largest_fit

SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[.!?…][\"'”’)\]])\s+|(?<=[。！？])|\n+")


def pack_text(text: str, fits: Fits, window: int) -> list[str]:
    """Sentences packed greedily into as few windows as fit, in order."""
    sentences = [" ".join(words) for words in map(str.split, SENTENCE_END.split(text)) if words]
    return _pack_pieces(sentences, fits, window)


def _pack_pieces(pieces: list[str], fits: Fits, window: int) -> list[str]:
    """Pieces joined into windows; a piece that does not fit is cut. Changes `pieces`."""
    windows: list[str] = []
    start, size = 0, 1
    while start < len(pieces):
        size = _largest_fit(pieces, start, " ", fits, size, len(pieces))
        if size:
            windows.append(" ".join(pieces[start : start + size]))
            start += size
        else:  # the next pieces may fill up its last part
            parts = [*cut_to_fit(pieces[start].split(), " ", fits, window)]
            *full, pieces[start] = _pack_pieces(parts, fits, window)
            windows += full
    return windows


def cut_to_fit(units: Sequence[str], joiner: str, fits: Fits, limit: int) -> Iterator[str]:
    """The longest runs of words (or characters) that fit; each unit is at least one token."""
    start, size = 0, 1
    while start < len(units):
        size = _largest_fit(units, start, joiner, fits, size, limit)
        run = joiner.join(units[start : start + max(1, size)])
        start += max(1, size)
        if size or len(run) == 1:
            yield run
        else:
            yield from cut_to_fit(run, "", fits, limit * WIDEST_TOKEN)


def _largest_fit(
    units: Sequence[str], start: int, joiner: str, fits: Fits, guess: int, limit: int
) -> int:
    """How many units from `start` on fit together, 0 if not even one does."""
    return largest_fit(
        lambda size: fits(joiner.join(units[start : start + size])),
        guess,
        min(limit, len(units) - start),
    )
