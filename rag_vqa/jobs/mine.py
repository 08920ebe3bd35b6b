"""Mining: find hard negatives for the rows of a training set, in a knowledge base.

Checks everything that is cheap to check before a model loads. Knows options and resume. Does not
know how negatives are found or stored (`rag_vqa.retriever.training`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.jobs.models import (
    open_knowledge_base,
    open_pipeline,
    without_automatic_words,
)
from rag_vqa.jobs.signals import JobStopped
from rag_vqa.progress import LOG, Reporter
from rag_vqa.types import Example

if TYPE_CHECKING:
    from rag_vqa.formats.benchmark import QuestionFiles
    from rag_vqa.pipeline import RagVqa
    from rag_vqa.retriever.modeling.encoder import Encoder
    from rag_vqa.settings_schema import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningOptions:
    """Options of mining: knowledge base, rows, and which negatives to take.

    Attributes:
        kb: the knowledge base that is searched.
        questions: rows to train on: a file or a folder.
        out: the file of negatives, one line for each row; it must not exist.
        format: pairs, m2kr, mbeir, infoseek or evqa.
        split, task: which split and task of a benchmark's folder.
        images: folder of the rows' pictures.
        count: number of negatives for each row.
        skip: number of nearest negatives to leave out.
        answers: treat documents that contain an answer's text as right.
        yes: download models without asking.
    """

    kb: Path
    questions: Path
    out: Path
    format: str = "pairs"
    split: str | None = None
    task: str | None = None
    images: Path | None = None
    count: int = 50
    skip: int = 0
    answers: bool = False
    yes: bool = False


@dataclass(frozen=True, slots=True)
class MiningReport:
    """The result of mining.

    Attributes:
        rows: number of lines in the file.
        fewer: number of rows with fewer negatives than `count`.
        refused: the reason for each row that was left out.
    """

    rows: int
    fewer: int
    refused: Sequence[str]


def run_mining(
    options: MiningOptions, settings: Settings | None = None, reporter: Reporter = LOG
) -> MiningReport:
    """Find hard negatives for all rows and write them to a file, or resume.

    Raises:
        UsageError, Missing, BadInput: invalid options or missing files, before a model loads; no
            row has a negative.
        JobStopped: a signal or ^C; the same call resumes.
    """
    from rag_vqa.retriever.training.source_packing import find_files
    from rag_vqa.retriever.training.training_settings import SourceSettings
    from rag_vqa.settings import load_settings

    settings = settings or load_settings()
    if options.out.exists():
        raise UsageError(f"{options.out} exists. Give another name, or delete it.")
    source = SourceSettings(
        format=options.format,
        questions=options.questions,
        images=options.images,
        split=options.split,
        task=options.task,
    )
    questions = _TrainingQuestions(find_files(source), settings.retriever.instruction)
    total, digest = questions.digest()
    if not total:
        reason = questions.refused[0] if questions.refused else "it is empty."
        raise BadInput(f"{options.questions} holds no usable row: {reason}")
    with open_knowledge_base(options.kb) as kb:
        if options.skip >= len(kb):
            raise UsageError(
                f"--skip-top {options.skip} leaves out all {len(kb):,} documents of {options.kb}. "
                "Give a smaller number."
            )
    settings = without_automatic_words(settings)
    settings = settings if settings.k else settings.model_copy(update={"k": 1})
    rag = open_pipeline(settings, options.kb, reporter, yes=options.yes, read=False)
    return _mine_rows(rag, questions, total, digest, options, reporter)


def _mine_rows(
    rag: RagVqa,
    questions: _TrainingQuestions,
    total: int,
    digest: str,
    options: MiningOptions,
    reporter: Reporter,
) -> MiningReport:
    from rag_vqa.retriever.training import hard_negatives

    file = hard_negatives.NegativesFile(options.out, _fingerprint(rag, digest, options))
    remaining = islice(questions, file.done, None)
    try:
        with reporter.progress("mine", total) as advance:
            mined = hard_negatives.mine_negatives(
                rag.retrieve, len(rag.kb), remaining, options.count, options.skip, options.answers
            )
            for done in file.append(mined):
                advance(done)
    except (JobStopped, KeyboardInterrupt) as stop:
        message = f"{file.done:,} rows are safe. The same command goes on from here."
        raise JobStopped.after(stop, message) from None
    fewer, most = file.finish(options.count)
    if not most:
        raise BadInput(
            f"no row has a negative in {options.out}: all documents found are right, or among the "
            f"{options.skip} that --skip-top leaves out."
        )
    return MiningReport(file.done, fewer, tuple(questions.refused))


@dataclass
class _TrainingQuestions:
    """The questions of the rows, read from the beginning each time.

    Attributes:
        refused: why rows were left out, in the last reading.
    """

    rows: QuestionFiles
    instruction: str | None
    refused: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Example]:
        from rag_vqa.formats.question_set import picture_path

        self.refused.clear()
        for row in self.rows.rows(None if self.rows.names is None else self.rows.names()):
            if isinstance(row, BadInput):
                self.refused.append(str(row))
                continue
            image, example = picture_path(row, self.rows.images), row.example
            if row.picture and image is None:
                self.refused.append(f"{example.id}: its picture {row.picture[0]} is missing.")
                continue
            own = example.query.instruction
            instruction = own if self.instruction is None else self.instruction
            query = replace(example.query, image=image, instruction=instruction)
            yield replace(example, query=query)

    def digest(self) -> tuple[int, str]:
        """The number of questions, and a SHA-256 of all of them, in order, in hex."""
        count, digest = 0, sha256()
        for example in self:
            count += 1
            digest.update(repr(example).encode("utf-8", "surrogatepass"))
        return count, digest.hexdigest()


def _fingerprint(rag: RagVqa, questions: str, options: MiningOptions) -> dict[str, object]:
    """Everything that the lines depend on; `questions`: a digest of them."""
    encoder = cast("Encoder", rag.kb.encoder)  # the one that open_pipeline has loaded
    return {
        "documents": encoder.fingerprint,
        "query side": encoder.query_fingerprint,
        "instruction": encoder.instruction,  # of questions without an instruction of their own
        "commits": rag.kb.store.db.number("commits"),
        "questions": questions,
        "search": [rag.kb.retriever.choice.engine, rag.kb.hybrid, rag.kb.sections],
        "k": options.count,
        "skip": options.skip,
        "answers": options.answers,
    }
