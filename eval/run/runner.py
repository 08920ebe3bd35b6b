"""The runner: go through the batches of a run, keep what is stored, compute what is missing.

Knows the order of batches and cells, when to give up, and how long the whole run will take. Does
not know how one batch is answered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.errors import ReaderError, UsageError
from rag_vqa.eval.run import gold, retrieval_stage, spec
from rag_vqa.eval.run.answer_stage import AnswerStage
from rag_vqa.eval.run.conditions import Cell
from rag_vqa.eval.run.ledger import LEDGER_FILE, UNREADABLE_DIGEST, Ledger, image_digest
from rag_vqa.eval.run.retrieval_stage import RETRIEVAL_STAGE, Batch, RetrievalStage
from rag_vqa.formatting import format_rough_time, format_token_count
from rag_vqa.retriever.store import database
from rag_vqa.storage import lock

if TYPE_CHECKING:
    from rag_vqa.pipeline import RagVqa

RETRIEVAL_DEPTH = 100  # documents retrieved for each question: recall is reported up to there
PROBE_QUESTIONS = 2 * spec.BATCH_SIZE  # questions answered before a plan is told: whole batches
_LOST_BATCHES = (
    2  # batches in a row that fail as a whole: the server is gone, not the questions bad
)
Progress = Callable[[int], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRun:
    """What is to be run.

    Attributes:
        questions: see `spec.QuestionSet`.
        rag: the pipeline; its own k and template are not used. With `cells` empty its reader is
            never loaded; of cells of "none" alone its knowledge base is never opened.
        cells: of `cells_of`.
        instruction: of queries that have none of their own; None: the retriever's.
        hits: a TREC run to take hits from in place of searching.
        shard: (i, n): the i-th, from 1, of n parts of the batches.
    """

    questions: spec.QuestionSet
    rag: RagVqa
    cells: Sequence[Cell]
    where: Mapping[str, Any] | None = None
    instruction: str | None = None
    depth: int = RETRIEVAL_DEPTH
    hits: Path | None = None
    shard: tuple[int, int] = (1, 1)
    batch: int = spec.BATCH_SIZE

    @property
    def searches(self) -> bool:
        """Whether anything but "none" is asked for."""
        return not self.cells or any(cell.condition != "none" for cell in self.cells)


@contextmanager
def open_run(run: EvaluationRun, folder: Path) -> Iterator[Ledger]:
    """The ledger of a run in `folder`, begun now or before, locked for this process.

    Raises:
        UsageError: it was begun as another run.
        RagVqaError: another process runs it.
    """
    kb = run.rag.kb if run.searches else None
    _check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with lock.hold_lock(folder):
        asked = spec.describe_run(
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
            Ledger.create(folder, asked, run.questions.examples(), lambda: run.questions.skipped)
        with Ledger(folder) as ledger:
            if run.cells:
                ledger.check_askable()
            begun = spec.fill_open_fields(ledger.meta("spec"), asked)
            spec.check_same_run(begun, spec.fill_open_fields(asked, begun), folder)
            ledger.set_meta("spec", begun)
            _record_cells(ledger, tuple(run.cells), folder)
            if kb is not None:
                gold.note_gold(ledger, kb)
                if run.hits:
                    retrieval_stage.import_trec(ledger, kb, run.hits, run.depth)
            yield ledger


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_folder(folder: Path) -> None:
    """What is something else is not made a run of: a knowledge base has the same lock."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file. Give a folder: --out RUN")
    if (folder / database.DATABASE_FILE).exists():
        raise UsageError(f"{folder} is a knowledge base. Give the run another folder: --out RUN")


def _record_cells(ledger: Ledger, cells: tuple[Cell, ...], folder: Path) -> None:
    """Add what is new. A template that has changed since then would be another cell."""
    before, now = ledger.meta("templates", {}), spec.template_digests(cells)
    for name in sorted(before.keys() & now.keys()):
        if before[name] != now[name]:
            raise UsageError(
                f"the template {name} has changed since {folder} was begun: save it under another "
                "name, or begin another run with --out."
            )
    there, new = ledger.meta("cells", []), [asdict(cell) for cell in cells]
    ledger.set_meta("templates", {**before, **now})
    ledger.set_meta("cells", there + [cell for cell in new if cell not in there])


class Runner:
    """Goes through the batches of a run's shard.

    Attributes:
        total: rows to be there in the end: hits and answers of the shard's questions.
        questions: of this shard.
        begun: the last of the ledger's times that are not of this process.
    """

    def __init__(self, run: EvaluationRun, ledger: Ledger) -> None:
        self._run, self._ledger = run, ledger
        [(self.begun,)] = ledger.rows("SELECT coalesce(max(rowid), 0) FROM times")
        said = ledger.meta("spec")
        identity = {name: said[name] for name in ("knowledge_base", "retrieval")}
        reads = {name: said[name] for name in ("reader", "filter")}
        self._retrieving = RetrievalStage(
            ledger, run.rag, run.depth, run.where, run.instruction, identity
        )
        self._answering = AnswerStage(ledger, run.rag, reads)
        self._ranges = list(_batch_ranges(ledger.meta("total"), run.batch, run.shard))
        self.questions = sum(count for _, count in self._ranges)
        self.total = self.questions * (len(run.cells) + run.searches)

    def run(self, on_progress: Progress | None = None, at_most: int | None = None) -> int:
        """Do what is missing; how many rows failed. Stopped at any moment, it goes on from there.

        Args:
            on_progress: is told how many rows are dealt with.
            at_most: questions, rounded up to whole batches.

        Raises:
            ReaderError: nothing could be read twice in a row.
        """
        done = asked = failed = lost = 0
        for first, count in self._ranges:
            if at_most is not None and asked >= at_most:
                break
            asked += count
            batch = list(self._ledger.examples(first, count))
            bad = self._batch(batch)
            whole = len(batch) * len(self._run.cells)
            lost = lost + 1 if whole and bad >= whole else 0
            failed += bad
            done += len(batch) * (len(self._run.cells) + self._run.searches)
            if on_progress is not None:
                on_progress(done)
            if lost >= _LOST_BATCHES:
                raise ReaderError(f"nothing could be read: {self._last_error()}")
        return failed

    def _batch(self, batch: Batch) -> int:
        if self._complete(batch):
            return 0
        self._check_knowledge_base()
        self._check_photos(batch)
        found = self._retrieving.take(batch) if self._run.searches else {}
        return sum(self._answering.answer(cell, batch, found) for cell in self._run.cells)

    def _complete(self, batch: Batch) -> bool:
        """Whether all that is asked of a batch is there."""
        between = (batch[0][0], batch[-1][0])
        names = [cell.name for cell in self._run.cells]
        if self._run.searches:
            query = "SELECT count(*) FROM hits WHERE position BETWEEN ? AND ?"
            if next(self._ledger.rows(query, between))[0] < len(batch):
                return False
        query = f"""SELECT count(*) FROM answers WHERE position BETWEEN ? AND ?
            AND cell IN ({", ".join("?" * len(names))})"""
        [(there,)] = self._ledger.rows(query, (*between, *names))
        return bool(there == len(batch) * len(names))

    def _check_photos(self, batch: Batch) -> None:
        """A picture must be the one that the batch's first answers saw. One that is gone by now is
        no other picture: its question fails."""
        query = "SELECT position, digest FROM photos WHERE position BETWEEN ? AND ?"
        before: dict[int, str] = dict(self._ledger.rows(query, (batch[0][0], batch[-1][0])))
        now = {position: image_digest(example.query.image) for position, example in batch}
        for position, example in batch:
            if now[position] not in (before.get(position, now[position]), UNREADABLE_DIGEST):
                raise UsageError(
                    f"the picture of question {example.id!r} has changed since it was asked about: "
                    "begin another run with --out."
                )
        seen = [
            (p, photo) for p, photo in now.items() if p not in before and photo != UNREADABLE_DIGEST
        ]
        with self._ledger.commit():
            self._ledger.write("INSERT INTO photos VALUES (?, ?)", seen)

    def _check_knowledge_base(self) -> None:
        """What is asked about must stay the same from the first question to the last."""
        if not self._run.searches:
            return
        begun = self._ledger.meta("spec")["knowledge_base"]["digest"]
        kb = self._run.rag.kb
        if kb.store.db.meta("digest") != begun:
            raise UsageError(
                f"{kb.path} has changed since the run began. Ask of a copy that stays as it is: "
                f"rag-vqa kb snapshot {kb.path} OTHER"
            )

    def _last_error(self) -> str:
        query = "SELECT error FROM failed WHERE cell <> ? ORDER BY position DESC LIMIT 1"
        return next((error for (error,) in self._ledger.rows(query, (RETRIEVAL_STAGE,))), "")


def _batch_ranges(total: int, batch: int, shard: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """(first position, questions) of each batch of a shard; shards are cut at batch borders.

    >>> list(_batch_ranges(70, 32, (1, 2))), list(_batch_ranges(70, 32, (2, 2)))
    ([(0, 32)], [(32, 32), (64, 6)])
    """
    number, shards = shard
    batches = -(-total // batch)
    for index in range(batches * (number - 1) // shards, batches * number // shards):
        first = index * batch
        yield first, min(batch, total - first)


def estimate_run(ledger: Ledger, running: Runner) -> str:
    """Questions, tokens and hours, from what was done since this process began."""
    [(probed, seconds)] = ledger.rows(
        "SELECT sum(questions), sum(seconds) FROM (SELECT max(questions) AS questions, "
        "sum(seconds) AS seconds FROM times WHERE rowid > ? GROUP BY first)",
        [running.begun],
    )
    [(answered, tokens)] = ledger.rows(
        "SELECT count(DISTINCT position), sum(json_extract(body, '$.tokens_in') + "
        "json_extract(body, '$.tokens_out')) FROM answers"
    )
    if not probed or not seconds:
        return f"{running.questions:,} questions"
    cells = len(ledger.meta("cells", []))
    shape = f"{running.questions:,} questions"
    if cells:
        each = (tokens or 0) / max(answered, 1)
        shape += f" × {cells} cells · about {format_token_count(each * running.questions)} tokens"
    whole = seconds / probed * running.questions
    return f"{shape} · about {format_rough_time(whole)} in all (from {probed:,} questions)"
