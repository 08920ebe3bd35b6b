"""The critic: keeps the documents that the reader itself judges useful for the question.

Knows a reader's P(yes), a threshold and a number. Does not know how documents were retrieved, how
the answer is generated, or how a reader computes P(yes).
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
    """Chooses which hits the reader reads."""

    @property
    def name(self) -> str:
        """Name for records: what the filter is, and what its choice depends on."""
        ...

    def __call__(self, queries: Sequence[Query], hits: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """For each query, the hits worth reading, in reading order."""
        ...


class Critic:
    """Asks the reader for each document whether it helps to answer, and keeps those that do.

    P(yes) comes from `Reader.choice_probability`, with one prompt for each document. All prompts
    of a question share a prefix (image and question), which a reader can read once.

    Args:
        reader: the reader that judges, or a function that returns it when it is first needed.
        threshold: lowest P(yes) of a document that is kept; 0 keeps all.
        top: most documents kept for a question, by P(yes); None means no limit.

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
        """The reader that judges; loaded when it is first needed."""
        if callable(self._reader):
            self._reader = self._reader()
        return self._reader

    @property
    def name(self) -> str:
        """Name for records."""
        top = "" if self.top is None else f", best {self.top}"
        return f"critic {self.reader.name}, P(yes) >= {self.threshold:g}{top}"

    def __call__(self, queries: Sequence[Query], hits: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """The documents kept for each query, in the order of retrieval, with `rank` from 1.

        P(yes) is their `score` and `scores["critic"]`; the previous score is in
        `scores["retrieve"]`. A query may end up without documents.

        Raises:
            ReaderError: as `Reader.choice_probability`; also for servers without log probabilities.
        """
        rows = iter(self.judge(queries, hits))
        return [
            filter_hits(found, [next(rows) for _ in found], self.threshold, self.top)
            for found in hits
        ]

    def judge(self, queries: Sequence[Query], hits: Sequence[Sequence[Hit]]) -> list[float]:
        """P(yes) of every hit, query after query, in one call of the reader.

        0 for a document of which nothing fits into the prompt.
        """
        pairs = [(query, hit) for query, row in zip(queries, hits, strict=True) for hit in row]
        prompts = [self.prompt(query, hit) for query, hit in pairs]
        readable = [prompt for prompt in prompts if prompt.kept]
        if not readable:
            return [0.0 for _ in prompts]
        rows = iter(self.reader.choice_probability(readable, CHOICES))
        return [next(rows)[0] if prompt.kept else 0.0 for prompt in prompts]

    def prompt(self, query: Query, hit: Hit) -> Prompt:
        """The yes-or-no prompt for one document, within the reader's limits.

        Raises:
            UsageError: as `build_prompt`. The critic's prompt repeats the question, so a question
                that fits the answer's prompt may be too long here.
        """
        from rag_vqa.prompts.builder import build_prompt
        from rag_vqa.prompts.template import CRITIC_TEMPLATE

        try:
            return build_prompt(
                query, [hit], self.reader.limits, self.reader.count, CRITIC_TEMPLATE
            )
        except UsageError as error:
            message = (
                f"the critic, whose prompt repeats the question: {error}, or leave out --filter"
            )
            raise UsageError(message) from error


def filter_hits(
    hits: Sequence[Hit], probabilities: Sequence[float], threshold: float, top: int | None
) -> list[Hit]:
    """The hits of one question that the critic keeps; `probabilities` (hits) are P(yes)."""
    passed = [place for place, p in enumerate(probabilities) if p >= threshold]
    # Stable: of equal ones, those retrieved first. Order of retrieval: see benchmarks/critic.py.
    kept = sorted(sorted(passed, key=lambda place: -probabilities[place])[:top])
    return [
        _with_probability(hits[place], rank, probabilities[place])
        for rank, place in enumerate(kept, 1)
    ]


def _with_probability(hit: Hit, rank: int, p: float) -> Hit:
    scores = {"retrieve": hit.score, **hit.scores, STAGE: p}
    return replace(hit, rank=rank, score=p, scores=scores)
