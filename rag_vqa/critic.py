"""The critic: keeps the documents that the reader itself judges useful for the question.

It knows a reader's P(yes), a threshold and a number. It does not know how documents were found,
how the answer is written, or how a reader weighs choices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from rag_vqa.errors import UsageError
from rag_vqa.types import Hit, Prompt, Query

if TYPE_CHECKING:
    from rag_vqa.readers.base import Reader

STAGE = "critic"  # key of its P(yes) in `Hit.scores`
THRESHOLD = 0.1
CHOICES = ("yes", "no")


class Filter(Protocol):
    """Chooses among hits; what it leaves out is what went in and did not come out."""

    @property
    def name(self) -> str:
        """For records: what it is and what its choice depends on."""
        ...

    def __call__(self, queries: Sequence[Query], hits: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """For each query those of its own hits that are worth reading, in the order to read."""
        ...


class Critic:
    """Asks the reader of each document whether it helps to answer, and keeps those where it does.

    Yes or no is weighed by `Reader.choice_probability`, one prompt a document; all prompts of a
    question begin alike (picture and question), so that a reader can read that once.

    Args:
        reader: who judges; a function that gives it is called when it is first needed.
        threshold: P(yes) that a document must have; 0 keeps all.
        top: at most so many for each question, those of the highest P(yes); None: all.
    Raises:
        UsageError: a threshold outside 0 … 1, or a `top` below 1.
    """

    def __init__(
        self,
        reader: Reader | Callable[[], Reader],
        *,
        threshold: float = THRESHOLD,
        top: int | None = None,
    ) -> None:
        if not 0 <= threshold <= 1:
            raise UsageError(f"filter.threshold = {threshold}: give a probability, 0 to 1")
        if top is not None and top < 1:
            raise UsageError(f"filter.top = {top}: give 1 or more; -k 0 reads no document")
        self._reader = reader
        self.threshold = threshold
        self.top = top

    @property
    def reader(self) -> Reader:
        """Who judges, loaded if it was not yet."""
        if callable(self._reader):
            self._reader = self._reader()
        return self._reader

    @property
    def name(self) -> str:
        """For records."""
        top = "" if self.top is None else f", best {self.top}"
        return f"critic {self.reader.name}, P(yes) >= {self.threshold:g}{top}"

    def __call__(self, queries: Sequence[Query], hits: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """The documents kept, in the order in which they were found; `rank` from 1.

        Each has its P(yes) as `score` and in `scores["critic"]`, the score before that in
        `scores["retrieve"]`. None may be left.

        Raises:
            ReaderError: as `Reader.choice_probability`; a server without log probabilities too.
        """
        rows = iter(self.judge(queries, hits))
        return [
            filter_hits(found, [next(rows) for _ in found], self.threshold, self.top)
            for found in hits
        ]

    def judge(self, queries: Sequence[Query], hits: Sequence[Sequence[Hit]]) -> list[float]:
        """P(yes) of every hit, query after query; all are judged in one call of the reader.

        A document of which the reader can be shown nothing helps with nothing: 0.
        """
        asked = [(query, hit) for query, row in zip(queries, hits, strict=True) for hit in row]
        prompts = [self.prompt(query, hit) for query, hit in asked]
        shown = [prompt for prompt in prompts if prompt.kept]
        if not shown:
            return [0.0 for _ in prompts]
        judged = iter(self.reader.choice_probability(shown, CHOICES))
        return [next(judged)[0] if prompt.kept else 0.0 for prompt in prompts]

    def prompt(self, query: Query, hit: Hit) -> Prompt:
        """The yes-or-no prompt for one document, within the reader's limits.

        Raises:
            UsageError: as `build`; it puts the question twice, so one that is read may be too long.
        """
        from rag_vqa.prompts.builder import build_prompt
        from rag_vqa.prompts.template import CRITIC_TEMPLATE

        try:
            return build_prompt(
                query, [hit], self.reader.limits, self.reader.count, CRITIC_TEMPLATE
            )
        except UsageError as error:
            message = f"the critic, which puts the question twice: {error}, or leave out --filter"
            raise UsageError(message) from error


def filter_hits(
    hits: Sequence[Hit], probabilities: Sequence[float], threshold: float, top: int | None
) -> list[Hit]:
    """Those of one question's hits that the critic keeps; `probabilities` (hits) are P(yes)."""
    passed = [place for place, p in enumerate(probabilities) if p >= threshold]
    # Stable: of equal ones those found first. Then as they were found: see benchmarks/critic.py.
    kept = sorted(sorted(passed, key=lambda place: -probabilities[place])[:top])
    return [
        _with_probability(hits[place], rank, probabilities[place])
        for rank, place in enumerate(kept, 1)
    ]


def _with_probability(hit: Hit, rank: int, p: float) -> Hit:
    scores = {"retrieve": hit.score, **hit.scores, STAGE: p}
    return replace(hit, rank=rank, score=p, scores=scores)
