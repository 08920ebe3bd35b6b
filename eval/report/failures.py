"""The failures that a page shows: some of each cause, always the same ones, with small pictures.

Knows how to choose and how much of each is put on a page. Does not know how a page looks.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag_vqa import images
from rag_vqa.errors import BadInput, Missing
from rag_vqa.eval.report.showing import Told, picture, told
from rag_vqa.eval.results.rows import cells, judged
from rag_vqa.eval.run.cells import Cell
from rag_vqa.eval.run.ledger import Ledger

SHOWN = 200  # failures on a page: about 5 MB of pictures
_SIDE = 320  # pixels
_PROMPT = 6000  # characters: 200 long prompts would make a page that no phone opens
_Chosen = tuple[int, Cell]


@dataclass(frozen=True, slots=True)
class Failure:
    """A wrong answer as a page shows it.

    Attributes:
        picture: a data URI of the picture made small, its metadata left behind; "" of none.
        no_picture: why there is none.
        prompt: the first characters of it; `cut` says how many are left out.
        others: what the same question was answered in the other cells, and whether that is right.
    """

    told: Told
    picture: str
    no_picture: str
    prompt: str
    cut: int
    others: Sequence[tuple[str, str, bool]]


def failures(ledger: Ledger, scorer: str, shown: int = SHOWN) -> Iterator[Failure]:
    """The chosen failures, in the order of the questions."""
    answering = [cell for cell in cells(ledger) if not cell.repeat]
    for position, cell in choose(ledger, scorer, answering, shown):
        yield _failure(ledger, scorer, position, cell, answering)


def choose(ledger: Ledger, scorer: str, answering: Sequence[Cell], shown: int) -> list[_Chosen]:
    """Failures in turn of each cause of each cell, until there are enough; which ones of a cause
    goes by a hash of the question's id, so that a page written again shows the same."""
    strata: dict[tuple[str, str], list[tuple[int, int, Cell]]] = {}
    for cell in answering:
        for row in judged(ledger, cell, scorer):
            if row.cause:
                heap = strata.setdefault((row.cause, cell.name), [])
                draw = -_draw(row.example.id)  # negative: the heap's least is the first to go
                heapq.heappush(heap, (draw, row.position, cell))
                if len(heap) > shown:
                    heapq.heappop(heap)
    queues = [sorted(heap, key=lambda one: -one[0]) for _, heap in sorted(strata.items())]
    taken: list[_Chosen] = []
    for turn in range(max(map(len, queues), default=0)):
        taken += [(queue[turn][1], queue[turn][2]) for queue in queues if turn < len(queue)]
    order = {cell: number for number, cell in enumerate(answering)}
    # Without evidence there is little to learn from: those come last.
    return sorted(
        taken[:shown], key=lambda one: (one[1].condition == "none", one[0], order[one[1]])
    )


def not_answered(ledger: Ledger) -> list[tuple[str, str, int]]:
    """What failed: cell or stage, error and how often, the most frequent first, at most 20."""
    errors: Counter[tuple[str, str]] = Counter()
    for cell, error, count in ledger.rows(
        "SELECT cell, error, count(*) FROM failed GROUP BY cell, error"
    ):
        errors[cell, error] = count
    return [(cell, error, count) for (cell, error), count in errors.most_common(20)]


def thumbnail(path: Path | None, missing: str = "") -> tuple[str, str]:
    """A data URI of a picture of at most 320 pixels a side, or "" and why there is none."""
    if path is None:
        return "", f"{missing} is missing" if missing else "no picture"
    try:
        image = images.load(path)
    except (BadInput, Missing) as error:
        return "", str(error)
    image.thumbnail((_SIDE, _SIDE))
    data = base64.b64encode(images.encode(image, "JPEG")).decode("ascii")
    return f"data:image/jpeg;base64,{data}", ""


def _failure(
    ledger: Ledger, scorer: str, position: int, cell: Cell, answering: Sequence[Cell]
) -> Failure:
    one = told(ledger, cell, position)
    if one.answer is None:
        raise RuntimeError("a failure was chosen that is none")
    small, why = thumbnail(picture(one.answer.example), one.answer.example.missing)
    others = [
        (other.name, row.answer["prediction"], not row.cause)
        for other in answering
        if other != cell
        for row in judged(ledger, other, scorer, position)
    ]
    cut = max(0, len(one.prompt) - _PROMPT)
    return Failure(one, small, why, one.prompt[:_PROMPT], cut, others)


def _draw(identity: str) -> int:
    data = identity.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
