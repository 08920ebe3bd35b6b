"""The runner: go through the batches of a run, keep what is stored, compute what is missing.

Knows the order of batches and cells, when to give up, and how long the whole run will take. Does
not know how one batch is answered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rag_vqa.errors import ReaderError, UsageError
from rag_vqa.eval.run import gold, retrieval_stage, spec
from rag_vqa.eval.run.answer_stage import AnswerStage
from rag_vqa.eval.run.ledger import (
    LEDGER_FILE,
    RETRIEVAL_STAGE,
    UNREADABLE_DIGEST,
    Ledger,
    image_digest,
)
from rag_vqa.eval.run.retrieval_stage import Batch, RetrievalStage
from rag_vqa.eval.run.spec import Cell
from rag_vqa.formatting import format_rough_time, format_token_count
from rag_vqa.retriever.store import database
from rag_vqa.storage import lock
from rag_vqa.types import Where

if TYPE_CHECKING:
    from rag_vqa.pipeline import RagVqa

RETRIEVAL_DEPTH = 100  # documents retrieved for each question: the largest K of recall@K
PROBE_QUESTIONS = 2 * spec.BATCH_SIZE  # questions answered before the estimate: whole batches
_GIVE_UP_AFTER = 2  # batches without one answer in a row: then the server is down
Progress = Callable[[int], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRun:
    """Everything that one run needs: questions, pipeline, cells and options.

    Attributes:
        questions: the question set, see `spec.QuestionSet`.
        rag: the pipeline. Its own k and template are not used. Its reader is never loaded if there
            are no cells; its knowledge base is never opened if all cells are "none".
        cells: as `make_cells` makes them; none: retrieval alone.
        instruction: for queries without one of their own. None: the retriever's.
        hits: a TREC run; its hits are used instead of searching.
        shard: (i, n): run the i-th of n shards, counted from 1.
        batch: number of questions answered together.
    """

    questions: spec.QuestionSet
    rag: RagVqa
    cells: Sequence[Cell]
    where: Where | None = None
    instruction: str | None = None
    depth: int = RETRIEVAL_DEPTH
    hits: Path | None = None
    shard: tuple[int, int] = (1, 1)
    batch: int = spec.BATCH_SIZE

    @property
    def searches(self) -> bool:
        """True if any cell needs a knowledge base."""
        return not self.cells or any(cell.condition != "none" for cell in self.cells)


@contextmanager
def open_run(run: EvaluationRun, folder: Path) -> Iterator[Ledger]:
    """The ledger of a run in `folder`, new or resumed, locked for this process.

    Raises:
        UsageError: the folder holds a different run.
        RagVqaError: another process is running it.
    """
    kb = run.rag.kb if run.searches else None
    _check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with lock.hold_lock(folder):
        requested = spec.describe_run(
            run.questions,
            kb,
            run.rag if run.cells else None,
            depth=run.depth,
            where=run.where,
            instruction=run.instruction,
            hits=_file_digest(run.hits) if run.hits else "",
            batch=run.batch,
        )
        if not (folder / LEDGER_FILE).exists():
            Ledger.create(
                folder, requested, run.questions.examples(), lambda: run.questions.skipped_count
            )
        with Ledger(folder) as ledger:
            if run.cells:
                ledger.check_askable()
            stored = spec.fill_open_fields(ledger.meta("spec"), requested)
            spec.check_same_run(stored, spec.fill_open_fields(requested, stored), folder)
            ledger.set_meta("spec", stored)
            _store_cells(ledger, tuple(run.cells), folder)
            if kb is not None:
                gold.store_gold(ledger, kb)
                if run.hits:
                    retrieval_stage.import_trec(ledger, kb, run.hits, run.depth)
            yield ledger


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_folder(folder: Path) -> None:
    """Refuse files and knowledge bases, which have a lock of the same name."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file. Give a folder: --out RUN")
    if (folder / database.DATABASE_FILE).exists():
        raise UsageError(f"{folder} is a knowledge base. Give the run another folder: --out RUN")


def _store_cells(ledger: Ledger, cells: tuple[Cell, ...], folder: Path) -> None:
    """Add new cells to the ledger; refuse a template that has changed since the run began."""
    before, now = ledger.meta("templates", {}), spec.template_digests(cells)
    for name in sorted(before.keys() & now.keys()):
        if before[name] != now[name]:
            raise UsageError(
                f"The template {name} has changed since the run in {folder} began. Save it under "
                "another name, or start a new run: --out."
            )
    stored, new = ledger.meta("cells", []), [asdict(cell) for cell in cells]
    ledger.set_meta("templates", {**before, **now})
    ledger.set_meta("cells", stored + [cell for cell in new if cell not in stored])


class Runner:
    """Goes through the batches of a run's shard.

    Attributes:
        total: number of rows in the end: hits and answers of the shard's questions.
        questions: number of questions in this shard.
    """

    def __init__(self, run: EvaluationRun, ledger: Ledger) -> None:
        self._run, self._ledger = run, ledger
        # Rows of `times` after this one are of this process.
        [(self._last_old_time,)] = ledger.rows("SELECT coalesce(max(rowid), 0) FROM times")
        described = ledger.meta("spec")
        searching = {name: described[name] for name in ("knowledge_base", "retrieval")}
        reading = {name: described[name] for name in ("reader", "filter")}
        self._retrieval = RetrievalStage(
            ledger, run.rag, run.depth, run.where, run.instruction, searching
        )
        self._answers = AnswerStage(ledger, run.rag, reading)
        self._ranges = list(_batch_ranges(ledger.meta("total"), run.batch, run.shard))
        self.questions = sum(count for _, count in self._ranges)
        self.total = self.questions * (len(run.cells) + run.searches)

    def run(self, on_progress: Progress | None = None, at_most: int | None = None) -> int:
        """Compute what is missing; return how many rows failed.

        A run that is stopped at any moment resumes from there.

        Args:
            on_progress: called with the number of rows that are done.
            at_most: maximum number of questions, rounded up to whole batches.

        Raises:
            ReaderError: two batches in a row have no answer at all.
        """
        done = taken = failed = lost = 0
        for first, count in self._ranges:
            if at_most is not None and taken >= at_most:
                break
            taken += count
            batch = list(self._ledger.examples(first, count))
            failed_here = self._run_batch(batch)
            answers = len(batch) * len(self._run.cells)
            lost = lost + 1 if answers and failed_here >= answers else 0
            failed += failed_here
            done += len(batch) * (len(self._run.cells) + self._run.searches)
            if on_progress is not None:
                on_progress(done)
            if lost >= _GIVE_UP_AFTER:
                raise ReaderError(f"The reader gave no answer: {self._last_error()}")
        return failed

    def estimate(self) -> str:
        """Questions, tokens and hours of the whole shard, from what this process has done."""
        [(probed, seconds)] = self._ledger.rows(
            "SELECT sum(questions), sum(seconds) FROM (SELECT max(questions) AS questions, "
            "sum(seconds) AS seconds FROM times WHERE rowid > ? GROUP BY first)",
            [self._last_old_time],
        )
        [(answered, tokens)] = self._ledger.rows(
            "SELECT count(DISTINCT position), sum(json_extract(body, '$.tokens_in') + "
            "json_extract(body, '$.tokens_out')) FROM answers"
        )
        shape = f"{self.questions:,} questions"
        if not probed or not seconds:
            return shape
        if cells := len(self._ledger.meta("cells", [])):
            whole = (tokens or 0) / max(answered, 1) * self.questions
            shape += f" × {cells} cells · about {format_token_count(whole)} tokens"
        needed = format_rough_time(seconds / probed * self.questions)
        return f"{shape} · about {needed} in all (from {probed:,} questions)"

    def _run_batch(self, batch: Batch) -> int:
        if self._is_complete(batch):
            return 0
        self._check_knowledge_base()
        self._check_pictures(batch)
        hits = self._retrieval.hits_for(batch) if self._run.searches else {}
        return sum(self._answers.answer(cell, batch, hits) for cell in self._run.cells)

    def _is_complete(self, batch: Batch) -> bool:
        """True if the ledger holds all hits and answers of a batch."""
        between = (batch[0][0], batch[-1][0])
        names = [cell.name for cell in self._run.cells]
        if self._run.searches:
            query = "SELECT count(*) FROM hits WHERE position BETWEEN ? AND ?"
            if next(self._ledger.rows(query, between))[0] < len(batch):
                return False
        query = f"""SELECT count(*) FROM answers WHERE position BETWEEN ? AND ?
            AND cell IN ({", ".join("?" * len(names))})"""
        [(stored,)] = self._ledger.rows(query, (*between, *names))
        return bool(stored == len(batch) * len(names))

    def _check_pictures(self, batch: Batch) -> None:
        """Refuse a picture that has changed since the batch's first answers.

        A picture that has vanished has not changed: its question fails.
        """
        query = "SELECT position, digest FROM photos WHERE position BETWEEN ? AND ?"
        before: dict[int, str] = dict(self._ledger.rows(query, (batch[0][0], batch[-1][0])))
        now = {position: image_digest(example.query.image) for position, example in batch}
        for position, example in batch:
            if now[position] not in (before.get(position, now[position]), UNREADABLE_DIGEST):
                raise UsageError(
                    f"The picture of question {example.id!r} has changed since the run began. "
                    "Start a new run: --out."
                )
        new = [(position, picture) for position, picture in now.items()
               if position not in before and picture != UNREADABLE_DIGEST]  # fmt: skip
        with self._ledger.commit():
            self._ledger.write("INSERT INTO photos VALUES (?, ?)", new)

    def _check_knowledge_base(self) -> None:
        """Refuse a knowledge base that has changed since the first question."""
        if not self._run.searches:
            return
        before = self._ledger.meta("spec")["knowledge_base"]["digest"]
        kb = self._run.rag.kb
        if kb.store.db.meta("digest") != before:
            raise UsageError(
                f"{kb.path} has changed since the run began. Run on a copy that does not change: "
                f"rag-vqa kb snapshot {kb.path} OTHER"
            )

    def _last_error(self) -> str:
        query = "SELECT error FROM failed WHERE cell <> ? ORDER BY position DESC LIMIT 1"
        return next((error for (error,) in self._ledger.rows(query, (RETRIEVAL_STAGE,))), "")


def _batch_ranges(total: int, batch: int, shard: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """(first position, number of questions) of each batch of a shard; no batch is divided.

    >>> list(_batch_ranges(70, 32, (1, 2))), list(_batch_ranges(70, 32, (2, 2)))
    ([(0, 32)], [(32, 32), (64, 6)])
    """
    number, shards = shard
    batches = -(-total // batch)
    for index in range(batches * (number - 1) // shards, batches * number // shards):
        first = index * batch
        yield first, min(batch, total - first)
