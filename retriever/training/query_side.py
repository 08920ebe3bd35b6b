"""The query side alone, tuned on a few hundred pairs: documents, and so knowledge bases, stay.

Knows how pairs are divided, fixed settings, and what must not move. Does not know intervals, or
which of two checkpoints is to be kept: it measures both on pairs that neither saw.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from rag_vqa.errors import BadInput, RagVqaError
from rag_vqa.retriever.encoder import Encoder
from rag_vqa.retriever.training.batch import Pair
from rag_vqa.retriever.training.exporting import export, mend
from rag_vqa.retriever.training.held_out import SEED, HeldOut
from rag_vqa.retriever.training.loop import NOBODY, Fitted, Validation, Watch, fit
from rag_vqa.retriever.training.mixture import Mixture
from rag_vqa.retriever.training.running import DATA, Steps
from rag_vqa.retriever.training.settings import DataSettings, TrainSettings
from rag_vqa.retriever.training.sources.files import FileSource
from rag_vqa.retriever.training.sources.opening import open_source
from rag_vqa.retriever.training.sources.settings import SourceSettings
from rag_vqa.retriever.training.starting import hold, started
from rag_vqa.retriever.training.two_sides import TwoSides

TUNED = "tuned"
LEAST = 20  # pairs: of fewer, a fifth says nothing
JUDGED, WATCHED = 5, 10  # one pair of so many judges, one of so many chooses the step
EPOCHS, BATCH, RATE, PATIENCE, VALIDATIONS = 20, 16, 1e-4, 4, 20


@dataclass(frozen=True)
class Tuned:
    """What came of it.

    Attributes:
        fitted: how far it came; where it was stopped, there is nothing else.
        folder: the tuned checkpoint.
        before, after: (Q) ranks of the judging pairs, by the checkpoint that it began with and
            by the tuned one. passages: (Q) ids of their passages.
        searched: passages among which they were found.
    """

    fitted: Fitted
    folder: Path
    before: NDArray[np.int64]
    after: NDArray[np.int64]
    passages: tuple[str, ...] = ()
    searched: int = 0


@dataclass(frozen=True)
class Listed:
    """Pairs in memory as a `Source`: each epoch in another order."""

    pairs: tuple[Pair, ...]
    name: str = "pairs"

    def draw(self, seed: int, rows: Sequence[int]) -> list[Pair]:
        """Pairs of these places."""
        size = len(self.pairs)
        orders = {
            epoch: np.random.default_rng([seed, epoch]).permutation(size)
            for epoch in {row // size for row in rows}
        }
        return [self.pairs[orders[row // size][row % size]] for row in rows]


def tune(
    start: str,
    source: SourceSettings,
    out: Path,
    accelerator: Accelerator,
    watch: Watch = NOBODY,
    seed: int = 0,
) -> Tuned:
    """Tune the query side of `start`, or go on. Writes `out/tuned`.

    A fifth of the pairs judges and a tenth chooses the step; the rest is trained on.

    Raises:
        BadInput: too few pairs. UsageError: one model for both sides. Missing, RagVqaError: as
            `train`.
    """
    settings = _settings(start, source, out, seed)
    found = started(settings)
    if found.instruction:  # as use will put it before each question
        source = source.model_copy(update={"instructions": (found.instruction,)})
    fingerprint = Encoder(found.model, found.processor).fingerprint
    with accelerator.main_process_first():
        opened = open_source(source, folder=out / DATA)
    assert isinstance(opened, FileSource)
    judging, watching, training = divided(opened.draw(SEED, range(len(opened))))
    settings = settings.model_copy(update={"steps": -(-len(training) * EPOCHS // BATCH)})
    settings = settings.model_copy(update={"validate_every": max(1, settings.steps // VALIDATIONS)})
    module = TwoSides(found.model, scale=found.model.config.logit_scale)
    found.model.train()
    hold(found.model, settings)
    mend(out / TUNED)
    searched = [pair.passage for pair in (*judging, *watching, *training)]
    judge = HeldOut(judging, found.model, found.processor, searched)
    chooser = HeldOut(watching, found.model, found.processor, searched)
    before = judge.ranks()

    def measure() -> dict[str, float]:
        ranks = chooser.ranks()
        return {
            "reciprocal rank": float((1 / ranks).mean()),
            "recall@1": float((ranks <= 1).mean()),
        }

    fitted = fit(
        module,
        Steps(settings, Mixture([Listed(tuple(training))], [1.0]), found.processor),
        settings.plan(),
        out,
        accelerator,
        identity=settings.identity(),
        validation=Validation(measure, lambda: export(found, out / TUNED), PATIENCE),
        watch=watch,
    )
    accelerator.wait_for_everyone()
    if fitted.stopped:
        return Tuned(fitted, out / TUNED, before, before)
    encoder = Encoder.load(out / TUNED, device=str(accelerator.device))
    if encoder.fingerprint != fingerprint:
        raise RagVqaError(f"{out / TUNED}: its document side has moved. This is a fault of ours.")
    tuned = HeldOut(judging, encoder.model, encoder.processor, searched)
    passages = tuple(pair.passage.id for pair in judging)
    return Tuned(fitted, out / TUNED, before, tuned.ranks(), passages, len(judge.pool))


def divided(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """Pairs that judge, that choose the step, that are trained on. Raises BadInput."""
    if len(pairs) < LEAST:
        raise BadInput(f"{len(pairs)} pairs: give at least {LEAST}, some of them judge the rest.")
    judging, watching = len(pairs) // JUDGED, max(1, len(pairs) // WATCHED)
    end = judging + watching
    return [*pairs[:judging]], [*pairs[judging:end]], [*pairs[end:]]


def _settings(start: str, source: SourceSettings, out: Path, seed: int) -> TrainSettings:
    return TrainSettings(
        out=out,
        start=start,
        side="query",
        data=DataSettings(train=(source,)),
        steps=1,
        batch=BATCH,
        rate=RATE,
        warmup=10,
        save_every=50,
        log_every=10,
        seed=seed,
    )
