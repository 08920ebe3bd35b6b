"""Benchmarks as the rest of the program sees them: what one consists of, and the registry.

Knows the parts that the file of a benchmark fills in: documents, questions, scorer, template,
official and published figures, tasks. Does not know any benchmark. Each is one file in
eval/benchmarks/ that registers its entry; formats, evaluation, training, report and command line
look it up here by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from rag_vqa.errors import BadInput
from rag_vqa.formats.document_format import DocumentFormat
from rag_vqa.registry import Registry
from rag_vqa.types import Document, Example

Scored: TypeAlias = tuple[Example, str, float]  # question, prediction, score
Use: TypeAlias = Literal["evaluation", "training"]
NO_SCORER = "retrieval"  # instead of a scorer's name: only what was retrieved is measured


class Scorer(Protocol):
    """One way to score answers.

    Attributes:
        name: recorded in results; two scores compare only if their names are equal.
    """

    name: str

    def check(self, example: Example) -> None:
        """Check the reference answers of a question, before a run begins.

        Raises:
            BadInput: no answer to this question could be scored; the message names it.
        """

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> list[float]:
        """0 to 1 for each prediction, in order. A batch of a few hundred suits BEM.

        Raises:
            BadInput: as `check`.
        """

    def lenient(self, example: Example, prediction: str) -> bool:
        """Whether a laxer reading accepts an answer that scored 0: it contains the words of a
        right answer, or a number of the right range."""

    def cut(self, example: Example, prediction: str) -> bool:
        """Whether only the beginning of an answer was read: BEM reads 512 tokens."""

    def summary(self, rows: Iterable[Scored]) -> Mapping[str, Any]:
        """The benchmark's own aggregate, with n and accuracy. Reads the rows once, keeps none."""


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """One question, as a row of the question file describes it.

    Attributes:
        example: the question without its picture.
        picture: names under which its picture may lie in the folder of pictures, the expected
            one first; empty if the question has no picture.
        remark: what is odd about a row that is accepted all the same.
        negatives: ids of documents that the row calls wrong; for training.
        documents: right or wrong documents written in the row itself, not in a file of documents;
            their pictures are names in the folder of pictures.
    """

    example: Example
    picture: tuple[str, ...] = ()
    remark: str = ""
    negatives: tuple[str, ...] = ()
    documents: tuple[Document, ...] = ()


QuestionRows: TypeAlias = Iterator[QuestionRow | BadInput]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionFiles:
    """The files of a question set, and how they are read.

    Attributes:
        name: "infoseek", "m2kr/oven": the benchmark's, and the task's behind a slash.
        split: "val", "test", …
        files: role → each file that is part of the question set.
        home: the folder of the question set.
        images: the folder of the pictures.
        rows: reads the questions from the beginning (see `question_rows.read_question_rows`);
            gets the names that `names` gives, if any.
        names: ids of pictures → names of files, if a file of the data set lists them.
        explain: from the names of missing pictures to lines that say what is probably wrong with
            the download.
        instruction: instruction of all queries; None: that of each row, or the retriever's.
        location: the file or folder to give to find this set again; None: `home`.
        takes_split: whether the split has to be named to find this set again.
    """

    name: str
    split: str
    files: Mapping[str, Path]
    home: Path
    images: Path
    rows: Callable[[Mapping[str, str] | None], QuestionRows]
    names: Callable[[], Mapping[str, str]] | None = None
    explain: Callable[[Path, Iterable[str]], Iterator[str]] = lambda images, names: iter(())
    instruction: str | None = None
    location: Path | None = None
    takes_split: bool = True


class FindQuestions(Protocol):
    """Finds the files of a question set."""

    def __call__(
        self, path: Path, split: str | None, images: Path | None, task: str | None
    ) -> QuestionFiles:
        """
        Args:
            path: the folder of the benchmark; some benchmarks also take a file.
            split: None: the benchmark's default split.
            images: folder of the pictures; None: the folder where the benchmark keeps them.
            task: one of the benchmark's tasks; None if it has none.

        Raises:
            Missing: a file is not there.
            UsageError: the file or folder has no splits.
        """


@dataclass(frozen=True, slots=True)
class ScorerOptions:
    """Options for opening a scorer.

    Attributes:
        bem: folder or hub id of a BERT classifier, see `Bem.load`; None: score without one.
    """

    bem: str | None = None
    device: str = "auto"
    offline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionFiles:
    """Files for `eval score`.

    Attributes:
        cell: which cell to score, if the predictions are the answers.jsonl of a run.
        qtypes: file with the types of the questions, for benchmarks that keep them apart.
        scorer: which way of scoring to use, for benchmarks that have several.
    """

    predictions: Path
    references: Path
    cell: str | None = None
    qtypes: Path | None = None
    scorer: str | None = None


@dataclass(frozen=True, slots=True)
class OfficialFigure:
    """One of the figures by which a benchmark compares systems.

    Attributes:
        percent: None if no question counts.
        is_detail: whether a short table leaves it out.
    """

    name: str
    percent: float | None
    decimals: int = 1
    is_detail: bool = False


@dataclass(frozen=True, slots=True)
class PublishedFigure:
    """A figure from a publication, to compare a run with.

    Attributes:
        condition: "retrieval", or the condition of the cells to compare it with.
        metric: "recall@5", "pseudo@5", or the part of the questions whose accuracy this is.
        value: from 0 to 1.
        documents: smallest and largest number of documents that the published one may mean; None
            if not published.
        documents_text: the number of documents as published, for instance "40K".
        scorer, n: None if not published.
    """

    benchmark: str
    split: str
    n: int | None
    system: str
    condition: str
    metric: str
    value: float
    scorer: str | None
    documents: tuple[int, int] | None
    documents_text: str
    source: str


def published_accuracies(
    benchmark: str, split: str, metrics: Sequence[str], rows: Iterable[Sequence[Any]]
) -> tuple[PublishedFigure, ...]:
    """Published accuracies whose scorer, knowledge base and n were not published.

    Args:
        rows: system, condition, the percent of each metric (None if not published), source.
    """
    return tuple(
        PublishedFigure(
            benchmark=benchmark,
            split=split,
            n=None,
            system=system,
            condition=condition,
            metric=metric,
            value=round(percent / 100, 4),
            scorer=None,
            documents=None,
            documents_text="",
            source=source,
        )
        for system, condition, *percents, source in rows
        for metric, percent in zip(metrics, percents, strict=True)
        if percent is not None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A benchmark.

    Attributes:
        name: what commands take.
        find_questions: finds the files of a split.
        documents: formats of its documents, for `kb build` and training.
        scorer: name of its scorer in results; NO_SCORER if answers are not scored.
        make_scorer: opens the scorer; None under NO_SCORER.
        takes_bem: whether the scorer can use a BERT classifier.
        score_file: scores a file of predictions as the official script does; the scorer is only
            opened once the files are checked. None: `eval score` does not know this benchmark.
        score_options: fields of PredictionFiles that are this benchmark's: "qtypes", "scorer".
        template: prompt template that asks for an answer in the form that the scorer expects;
            None: the default template.
        official_figures: from the scorer's summary to the figures that papers show, in their order.
        published: figures from publications.
        reported_accuracy: from a cell of results.json and a published metric to the n and the
            accuracy that compare with it; None: those of all questions.
        tasks: the user must name one of them; empty: the benchmark has no tasks.
        training_tasks: more tasks that can only be trained on.
        uses: whether the questions serve evaluation, training, or both.
    """

    name: str
    find_questions: FindQuestions
    documents: tuple[DocumentFormat, ...] = ()
    scorer: str = NO_SCORER
    make_scorer: Callable[[ScorerOptions], Scorer] | None = None
    takes_bem: bool = False
    score_file: Callable[[PredictionFiles, Callable[[], Scorer]], Mapping[str, Any]] | None = None
    score_options: frozenset[str] = frozenset()
    template: str | None = None
    official_figures: Callable[[Mapping[str, Any]], Iterable[OfficialFigure]] | None = None
    published: tuple[PublishedFigure, ...] = ()
    reported_accuracy: Callable[[Mapping[str, Any], str], tuple[int, float | None]] | None = None
    tasks: tuple[str, ...] = ()
    training_tasks: tuple[str, ...] = ()
    uses: frozenset[Use] = frozenset({"evaluation", "training"})


BENCHMARKS: Registry[Benchmark] = Registry("benchmark")


def benchmarks_for(use: Use) -> tuple[Benchmark, ...]:
    """The benchmarks whose questions serve this use."""
    return tuple(benchmark for benchmark in BENCHMARKS.entries() if use in benchmark.uses)
