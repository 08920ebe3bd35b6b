"""Batches of a mixture, step after step, made ahead by other processes; the same whatever their
number.

It knows steps, ranks, worker processes, and what becomes of a pair whose picture cannot be opened.
It does not know losses or models. Batch i is a function of the seed and i alone, so that a run
that goes on at step i gets what the straight run got.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from rag_vqa.errors import BadInput, RagVqaError
from rag_vqa.retriever.processor import RetProcessor
from rag_vqa.retriever.training.batch import Batch, Pair
from rag_vqa.retriever.training.collate import Opened, collate, opened
from rag_vqa.retriever.training.mixture import Mixture, places

AHEAD = 2  # batches that each process has ready
GRACE = 10  # seconds from being told to end: what a stopped run has to save its state
# Rows in a row that may be left out: more are no accident, but a folder that is not there.
MOST_SKIPPED = 20


def batches(
    mixture: Mixture,
    processor: RetProcessor,
    *,
    seed: int,
    first_step: int,
    steps: int,
    batch: int,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
) -> Iterator[Batch]:
    """This rank's batches of the steps first_step … steps - 1.

    Args:
        batch: pairs of all ranks together.
        workers: processes that read, open and tokenise; 0: this one. They are started afresh, so
            a script that gives some guards its start by `if __name__ == "__main__":`.

    Raises:
        UsageError: the batch does not split over the ranks.
        BadInput: a pair whose picture cannot be opened, unless its source says on_bad: skip; then
            the next place that is good stands in for it, and `Batch.skipped` says why.
        RagVqaError: a worker has died.
    """
    places(0, batch, rank, world)  # refused before any process starts
    steps_of = _Steps(mixture, processor, seed, batch, rank, world)
    loader = DataLoader(
        steps_of,
        batch_size=None,
        sampler=range(first_step, steps),
        num_workers=workers,
        collate_fn=_same,
        prefetch_factor=AHEAD if workers else None,
        # Fork would copy threads and CUDA; and torch's own generator stays as dropout needs it.
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_begin,
        generator=torch.Generator(),
    )
    yield from _unwrapped(loader)


def _unwrapped(loader: DataLoader[Batch | RagVqaError]) -> Iterator[Batch]:
    made = iter(loader)
    try:
        while (one := next(made, None)) is not None:
            if isinstance(one, RagVqaError):
                raise one
            yield one
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise RagVqaError(
            "a process that prepares batches has ended. If memory ran out, give fewer: data.workers"
        ) from error
    finally:
        del made  # ends the processes now, not when somebody lets go of the traceback


@dataclass(frozen=True)
class _Steps(Dataset[Batch | RagVqaError]):
    """Step → this rank's batch. Errors travel as values: raised in a worker they would come with
    its traceback as their text."""

    mixture: Mixture
    processor: RetProcessor
    seed: int
    batch: int
    rank: int
    world: int

    def __getitem__(self, step: int) -> Batch | RagVqaError:
        seen: Opened = {}
        skipped: list[str] = []
        own = places(step, self.batch, self.rank, self.world)
        try:
            drawn = self.mixture.draw(self.seed, own)
            pairs = [
                self._good(place, pair, seen, skipped)
                for place, pair in zip(own, drawn, strict=True)
            ]
            return collate(pairs, self.processor, skipped)
        except RagVqaError as error:
            return error

    def _good(self, place: int, pair: Pair, seen: Opened, skipped: list[str]) -> Pair:
        """The pair with its pictures, or that of the next place that can be opened."""
        for _ in range(MOST_SKIPPED):
            try:
                return opened(pair, self.processor, seen)
            except BadInput as error:
                if not self.mixture.skips(self.seed, place):
                    raise
                skipped.append(str(error))
            place += 1
            (pair,) = self.mixture.draw(self.seed, [place])
        raise BadInput(f"{MOST_SKIPPED} rows in a row cannot be used, at last {skipped[-1]}")


def _same(made: Any) -> Any:
    """In place of torch's own collating, which would look into a batch."""
    return made


def _begin(worker: int) -> None:
    """One thread each. Signals to the whole group are the parent's to answer: it saves its work,
    and is not to lose a process meanwhile. One that is told to end does so a little later."""
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "SIGALRM"):  # not on Windows
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))
