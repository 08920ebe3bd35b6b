"""Why an answer is wrong: one cause a failure.

Knows what a question needed, what was found, shown and said. Does not know how scores are made.
The first of the causes that holds, in the order of CAUSES, is the cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from rag_vqa.eval.run.cells import Cell
from rag_vqa.eval.run.retrieving import Kept
from rag_vqa.types import Example

Cause: TypeAlias = Literal[
    "scorer-sensitive",  # a laxer reading would count it: look at the form, not at the evidence
    "image missing",  # the question's picture is not there
    "answered though unanswerable",  # nothing is right to say, and something was said
    "no evidence given",  # the condition gives none
    "no gold named",  # the question does not say what would have been right to find
    "gold not in the knowledge base",
    "not retrieved",  # among the first k; `rank` and `gap` say how far off
    "filtered",  # found, and the filter left it out
    "dropped by the budget",  # found, and it did not fit into the prompt
    "misread",  # the reader was shown it
]

_ALL_NEEDED = "2_hop"  # Encyclopedic-VQA's: the answer is on the second page, found by the first


@dataclass(frozen=True, slots=True)
class Found:
    """Where the right documents of a question stand.

    Attributes:
        rank: of the first right one in all that was found, at the question's level, from 1;
            0: it is not among them.
        gap: what it scored below the last document that was shown; None where it was shown, or
            was not found at all.
    """

    rank: int = 0
    gap: float | None = None


def right_ids(example: Example, kept: Kept) -> list[str]:
    """Documents among those found that are right; `kept` is of `levels.at_level`."""
    return [i for i in kept.ids if kept.parents.get(i, i) in example.relevant]


def found(example: Example, cell: Cell, kept: Kept | None) -> Found:
    """Where the first right document stands; of cells that show k documents, how far off."""
    if kept is None or not example.relevant:
        return Found()
    right = right_ids(example, kept)
    if not right:
        return Found()
    place = kept.ids.index(right[0])
    rank = len({kept.parents.get(i, i) for i in kept.ids[: place + 1]})
    gap = None
    if cell.condition in ("retrieved", "filtered") and place >= cell.k:
        gap = kept.scores[cell.k - 1] - kept.scores[place]
    return Found(rank, gap)


def given(example: Example, shown: Iterable[str], parents: Mapping[str, str]) -> bool:
    """Whether any of these documents is right; `parents` are of `levels.at_level`."""
    return any(parents.get(name, name) in example.relevant for name in shown)


def enough(example: Example, shown: Iterable[str], parents: Mapping[str, str]) -> bool:
    """Whether these documents can answer: of two hops both pages are needed, else any right one."""
    if example.kind != _ALL_NEEDED:
        return given(example, shown, parents)
    return set(example.relevant) <= {parents.get(name, name) for name in shown}


def cause_of(
    example: Example,
    cell: Cell,
    answer: dict[str, Any],
    kept: Kept | None,
    *,
    lenient: bool,
    gold_there: bool,
    shown: bool,
) -> Cause:
    """The cause of a failure.

    Args:
        answer: as the ledger has it.
        kept: what was found; None of cells without retrieval.
        lenient: a laxer scorer would count the answer.
        gold_there: the knowledge base holds what is right.
        shown: what is needed was in the prompt, see `enough`.
    """
    if lenient:
        return "scorer-sensitive"
    if example.missing:
        return "image missing"
    if example.unanswerable:
        return "answered though unanswerable"
    if cell.condition == "none":
        return "no evidence given"
    if not example.relevant:
        return "no gold named"
    if not gold_there:
        return "gold not in the knowledge base"
    if shown:
        return "misread"
    if cell.condition != "oracle" and not _among_first(example, cell, kept):
        return "not retrieved"
    return "dropped by the budget" if _dropped(example, answer, kept) else "filtered"


def _among_first(example: Example, cell: Cell, kept: Kept | None) -> bool:
    return kept is not None and enough(example, kept.ids[: cell.k], kept.parents)


def _dropped(example: Example, answer: dict[str, Any], kept: Kept | None) -> bool:
    """Whether what is needed got as far as the prompt's builder (oracle: always)."""
    return kept is None or enough(example, answer["documents"], kept.parents)
