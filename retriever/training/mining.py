"""Hard negatives: what a search finds for a question, less what is right for it.

It knows rankings, and three ways of being right: by id, by parent, and (if asked) by the text that
holds an answer. It does not know where questions come from, nor what searches: what comes out is a
function of the search and of the question alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeAlias

from rag_vqa.errors import UsageError
from rag_vqa.retriever.metrics import answer_rank
from rag_vqa.types import Document, Example, Hit, Query

Search: TypeAlias = Callable[[Sequence[Query], int], list[list[Hit]]]
AT_ONCE = 64  # questions that are encoded and searched together


def mine(
    search: Search,
    size: int,
    examples: Iterable[Example],
    k: int,
    skip: int = 0,
    answers: bool = False,
) -> Iterator[tuple[str, list[str]]]:
    """For each question its id, and the ids of the k best documents that are wrong, best first.

    Args:
        search: the best documents of each query, as many as are asked for.
        size: documents that it knows.
        k: how many; fewer where there are no more.
        skip: how many of the best that are not known to be right are left out: the nearer to the
            top, the likelier that they are right and nobody said so.
        answers: documents that hold an answer's text count as right too, as for pseudo-recall.

    Raises:
        UsageError: k < 1 or skip < 0.
    """
    if k < 1 or skip < 0:
        raise UsageError(f"k is {k} and skip-top {skip}: at least 1, and at least 0.")
    waiting = iter(examples)
    while some := list(islice(waiting, AT_ONCE)):
        found = _wrong(search, size, some, k + skip, answers)
        for example, ids in zip(some, found, strict=True):
            yield example.id, ids[skip : skip + k]


def _wrong(
    search: Search, size: int, examples: Sequence[Example], count: int, answers: bool
) -> list[list[str]]:
    """The best `count` wrong ones of each. How many right ones are among the best is not known
    before: where they leave too few, twice as many are asked for."""
    depth = min(size, count + max(len(example.relevant) for example in examples))
    waiting = list(range(len(examples)))
    found: list[list[str]] = [[] for _ in examples]
    while waiting and depth:
        hits = search([examples[row].query for row in waiting], depth)
        for row, ranking in zip(waiting, hits, strict=True):
            found[row] = _ids(examples[row], ranking, answers)
        waiting = [row for row in waiting if len(found[row]) < count and depth < size]
        depth = min(size, 2 * depth)
    return found


def _ids(example: Example, ranking: Sequence[Hit], answers: bool) -> list[str]:
    documents = [hit.document for hit in ranking]
    return [one.id for one in documents if not is_right(example, one, answers)]


def is_right(example: Example, document: Document, answers: bool) -> bool:
    """Whether a document may not be a negative of a question."""
    right = {*example.relevant, *example.oracle}
    known = document.id in right or (example.level == "parent" and document.parent in right)
    return known or (answers and answer_rank(example.answers, [document.text]) > 0)
