"""Mining: find hard negatives for the rows of a training set, in a knowledge base.

Checks everything that is cheap to check before a model loads. Knows options and resume. Does not
know how negatives are found or stored (`rag_vqa.retriever.training`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.progress import progress
from rag_vqa.errors import EXIT_INTERRUPTED, EXIT_PARTIAL, BadInput, UsageError
from rag_vqa.jobs.models import open_knowledge_base, open_pipeline
from rag_vqa.jobs.signals import Stopped, raise_on_signals
from rag_vqa.types import Example

if TYPE_CHECKING:
    from rag_vqa.formats.benchmark import QuestionFiles
    from rag_vqa.pipeline import RagVqa
    from rag_vqa.retriever.modeling.encoder import Encoder
    from rag_vqa.settings_schema import Settings


@dataclass(frozen=True, slots=True)
class MineOptions:
    """What `train mine` was asked for, as its options say it."""

    kb: Path
    questions: Path
    out: Path
    format: str
    split: str | None
    task: str | None
    images: Path | None
    count: int
    skip: int
    answers: bool
    yes: bool


@dataclass
class _TrainingQuestions:
    """The questions of the rows, and why some were left out. It is read from the beginning each
    time."""

    rows: QuestionFiles
    instruction: str | None
    refused: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Example]:
        from rag_vqa.formats.question_set import picture_path

        self.refused.clear()
        for asked in self.rows.rows(None if self.rows.names is None else self.rows.names()):
            if isinstance(asked, BadInput):
                self.refused.append(str(asked))
                continue
            image, example = picture_path(asked, self.rows.images), asked.example
            if asked.picture and image is None:
                self.refused.append(f"{example.id}: its picture {asked.picture[0]} is not there.")
                continue
            said = example.query.instruction if self.instruction is None else self.instruction
            yield replace(example, query=replace(example.query, image=image, instruction=said))

    def digest(self) -> tuple[int, str]:
        """How many there are, and a SHA-256 of all that is asked, in order, in hex."""
        count, said = 0, sha256()
        for example in self:
            count += 1
            said.update(repr(example).encode("utf-8", "surrogatepass"))
        return count, said.hexdigest()


def mine(run: CommandContext, settings: Settings, asked: MineOptions) -> int:
    """Mine, or go on with it; the exit code.

    Raises:
        UsageError, Missing, BadInput: what cannot be meant or is not there, before models load.
    """
    from rag_vqa.retriever.training.source_packing import find_files
    from rag_vqa.retriever.training.training_settings import SourceSettings

    if asked.out.exists():
        raise UsageError(f"{asked.out} exists. Give another name, or delete it.")
    source = SourceSettings(
        format=asked.format,
        questions=asked.questions,
        images=asked.images,
        split=asked.split,
        task=asked.task,
    )
    questions = _TrainingQuestions(find_files(source), settings.retriever.instruction)
    total, digest = questions.digest()
    if not total:
        first = questions.refused[0] if questions.refused else "it is empty."
        raise BadInput(f"{asked.questions} holds no row that can be used: {first}")
    with open_knowledge_base(asked.kb) as kb:
        if asked.skip >= len(kb):
            raise UsageError(
                f"--skip-top {asked.skip} leaves nothing of {asked.kb}, which has {len(kb):,} "
                "documents: give a smaller number."
            )
    settings = settings if settings.k else settings.model_copy(update={"k": 1})
    rag = open_pipeline(settings, asked.kb, run, yes=asked.yes, read=False)
    return _mine_rows(run, rag, questions, total, digest, asked)


def _mine_rows(
    run: CommandContext,
    rag: RagVqa,
    questions: _TrainingQuestions,
    total: int,
    digest: str,
    asked: MineOptions,
) -> int:
    from rag_vqa.retriever.training.hard_negatives import NegativesFile
    from rag_vqa.retriever.training.hard_negatives import mine_negatives as mined

    kept = NegativesFile(asked.out, _fingerprint(rag, digest, asked))
    left = islice(questions, kept.done, None)
    try:
        with raise_on_signals(), progress("mine", total, quiet=run.quiet) as advance:
            found = mined(rag.retrieve, len(rag.kb), left, asked.count, asked.skip, asked.answers)
            for done in kept.take(found):
                advance(done)
    except (Stopped, KeyboardInterrupt) as stop:
        run.note(f"stopped: {kept.done:,} rows are safe. The same command goes on from here.")
        return EXIT_PARTIAL if isinstance(stop, Stopped) else EXIT_INTERRUPTED
    fewer, most = kept.finish(asked.count)
    if not most:
        raise BadInput(
            f"no row has a negative in {asked.out}: all that was found is right, or among the "
            f"{asked.skip} that --skip-top leaves out."
        )
    return _report_counts(run, kept.done, fewer, questions, asked)


def _report_counts(
    run: CommandContext, done: int, fewer: int, questions: _TrainingQuestions, asked: MineOptions
) -> int:
    if fewer:
        run.note(f"{fewer:,} rows have fewer than {asked.count} negatives: no more were found.")
    if questions.refused:
        run.note(f"{len(questions.refused):,} rows left out, the first: {questions.refused[0]}")
    run.note(f"{done:,} rows → {asked.out}")
    return 0


def _fingerprint(rag: RagVqa, questions: str, asked: MineOptions) -> dict[str, object]:
    """All that shapes the lines; `questions`: a digest of them."""
    encoder = cast("Encoder", rag.kb.encoder)  # of the command line, which loads no other
    return {
        "documents": encoder.fingerprint,
        "query side": encoder.query_fingerprint,
        "instruction": encoder.instruction,  # of questions that bring none
        "commits": rag.kb.store.db.number("commits"),
        "questions": questions,
        "search": [rag.kb.retriever.choice.engine, rag.kb.hybrid, rag.kb.sections],
        "k": asked.count,
        "skip": asked.skip,
        "answers": asked.answers,
    }
