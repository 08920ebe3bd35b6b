"""Why an answer is wrong: one cause a failure.

Knows what a question needed, what was found, shown and said. Does not know how scores are made.
The first of the causes that holds, in the order of CAUSES, is the cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from rag_vqa.eval.run.cells import Cell
from rag_vqa.eval.run.gold import level_ids
from rag_vqa.eval.run.retrieving import Kept
from rag_vqa.types import Example

Cause: TypeAlias = Literal[
    "scorer-sensitive",  # a laxer reading would count it: look at the form, not at the evidence
    "image missing",  # the question's picture is not there
    "no evidence given",  # the condition gives none
    "no gold named",  # the question does not say what would have been right to find
    "gold not in the knowledge base",
    "not retrieved",  # among the first k; `rank` and `gap` say how far off
    "filtered",  # found, and the filter left it out
    "dropped by the budget",  # found, and it did not fit into the prompt
    "misread",  # the reader was shown it
]


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
    """Documents among those found that are right at the question's level."""
    relevant = set(example.relevant)
    if example.level == "parent":
        return [i for i in kept.ids if kept.parents.get(i, i) in relevant]
    return [i for i in kept.ids if i in relevant]


def found(example: Example, cell: Cell, kept: Kept | None) -> Found:
    """Where the first right document stands; of cells that show k documents, how far off."""
    if kept is None or not example.relevant:
        return Found()
    right = right_ids(example, kept)
    if not right:
        return Found()
    place = kept.ids.index(right[0])
    named = level_ids(kept.ids[: place + 1], kept.parents, example.level)
    gap = None
    if cell.condition in ("retrieved", "filtered") and place >= cell.k:
        gap = kept.scores[cell.k - 1] - kept.scores[place]
    return Found(len(named), gap)


def given(example: Example, shown: list[str], parents: dict[str, str]) -> bool:
    """Whether any of these documents is right."""
    relevant = set(example.relevant)
    if example.level == "parent":
        return any(parents.get(name, name) in relevant for name in shown)
    return any(name in relevant for name in shown)


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
        shown: what is right was in the prompt.
    """
    if lenient:
        return "scorer-sensitive"
    if example.missing:
        return "image missing"
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
    return kept is not None and bool(set(right_ids(example, kept)) & set(kept.ids[: cell.k]))


def _dropped(example: Example, answer: dict[str, Any], kept: Kept | None) -> bool:
    """Whether what is right got as far as the prompt's builder (oracle: always)."""
    if kept is None:
        return True
    right = set(right_ids(example, kept))
    return bool(right & set(answer["documents"])) or not right
