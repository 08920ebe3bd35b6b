"""Benchmarks as the program sees them: questions, documents and a scorer under one name.

Knows the types that a benchmark's file fills in, and the registry of benchmarks. Does not know any
benchmark: each is one file in eval/benchmarks/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from rag_vqa.errors import BadInput
from rag_vqa.types import Document, Example

Scored: TypeAlias = tuple[Example, str, float]  # what was asked, what was answered, its score
ScorerName: TypeAlias = Literal["infoseek", "evqa", "text", "retrieval"]


class Scorer(Protocol):
    """One way of scoring answers.

    Attributes:
        name: goes into results; two scores compare only where their names are equal.
    """

    name: str

    def check(self, example: Example) -> None:
        """Looks at what is right, before a run begins.

        Raises:
            BadInput: naming the question: nothing could be scored by it.
        """

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> list[float]:
        """0 to 1 for each, in order; a batch of a few hundred suits BEM.

        Raises:
            BadInput: as `check`.
        """

    def lenient(self, example: Example, prediction: str) -> bool:
        """Would a laxer reading count an answer that scored 0? The words of a right one stand in
        it, or a number of the right range."""

    def cut(self, example: Example, prediction: str) -> bool:
        """Was only the beginning of an answer looked at? BEM reads 512 tokens."""

    def summary(self, rows: Iterable[Scored]) -> Mapping[str, Any]:
        """The benchmark's own aggregate, with n and accuracy; rows are read once, none is kept."""


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """One question.

    Attributes:
        example: all but its picture.
        picture: names under which its picture may lie in the folder of pictures, the expected
            one first; none if the question has no picture.
        remark: what is odd about its row, which is taken all the same.
        negatives: ids of documents of which the row says that they are wrong; for training.
        documents: what is right or wrong and stands in the row itself, not in a file of documents;
            their pictures are names in the folder of pictures.
    """

    example: Example
    picture: tuple[str, ...] = ()
    remark: str = ""
    negatives: tuple[str, ...] = ()
    documents: tuple[Document, ...] = ()


QuestionRows: TypeAlias = Iterator[QuestionRow | BadInput]


@dataclass(frozen=True, slots=True)
class QuestionFiles:
    """A question file that was found, and how it is read.

    Attributes:
        name, split, scorer, instruction: see `Questions` of opening.py.
        files: role → each file that is part of the question set.
        home: the folder that the set lies in.
        images: the folder of the pictures.
        rows: reads the questions from the beginning, see `read`; names as `names` gives them, if
            any.
        names: ids of pictures → names of files, where a file of the data set says so.
        explain: what is likely wrong with the download, by the names of missing pictures.
    """

    name: str
    split: str
    scorer: ScorerName
    files: Mapping[str, Path]
    home: Path
    images: Path
    rows: Callable[[Mapping[str, str] | None], QuestionRows]
    names: Callable[[], Mapping[str, str]] | None = None
    explain: Callable[[Path, Iterable[str]], Iterator[str]] = lambda images, names: iter(())
    instruction: str | None = None
