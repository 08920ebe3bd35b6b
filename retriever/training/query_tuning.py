"""Fine-tune the query side alone on a few hundred pairs; existing knowledge bases stay valid.

The passages are encoded once, and each query chooses among all of them. Knows how pairs are split,
fixed settings, and what must not change. Does not know intervals, or which of two checkpoints to
keep: it measures both on pairs that neither saw.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rag_vqa.errors import BadInput, RagVqaError, UsageError
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.retriever.modeling.processor import RetProcessor
from rag_vqa.retriever.training.initialisation import InitialModel, initialise
from rag_vqa.retriever.training.objective import contrastive_objective
from rag_vqa.retriever.training.packed_source import PackedSource
from rag_vqa.retriever.training.source_mixture import open_source
from rag_vqa.retriever.training.training_loop import (
    NO_CALLBACKS,
    FitResult,
    Note,
    StepOutcome,
    TrainingCallbacks,
    Validation,
    fit,
    whole_step,
)
from rag_vqa.retriever.training.training_pairs import Item, Pair
from rag_vqa.retriever.training.training_run import DATA_FOLDER, check_output_folder
from rag_vqa.retriever.training.training_settings import (
    VALIDATION_SEED,
    DataSettings,
    SourceSettings,
    TrainingPlan,
    TrainSettings,
)
from rag_vqa.retriever.training.validation import ValidationSet, usable_pairs
from rag_vqa.storage.atomic import recover_folder

TUNED_FOLDER, BEST_FOLDER = "tuned", "best"  # the new checkpoint, and its name if it is better
MIN_QUESTIONS = 20  # a fifth of fewer is too few to compare two checkpoints
JUDGING_SHARE = 5  # one pair in 5 compares the two checkpoints
WATCHING_SHARE = 10  # one pair in 10 chooses the best step
EPOCHS, BATCH, VALIDATIONS, PATIENCE = 20, 16, 10, 3
PLAN = TrainingPlan(steps=1, warmup=10, optimizer="adamw", rate=1e-3, log_every=10, save_every=50)


@dataclass(frozen=True)
class TuningResult:
    """The outcome of tuning.

    Attributes:
        fitted: the result of the loop; if it was stopped, `after` equals `before`.
        folder: the tuned checkpoint.
        before, after: (Q) ranks of the judging pairs, with the original checkpoint and with the
            tuned one.
        passages: (Q) ids of their passages.
        searched: how many passages were searched.
    """

    fitted: FitResult
    folder: Path
    before: NDArray[np.int64]
    after: NDArray[np.int64]
    passages: tuple[str, ...] = ()
    searched: int = 0


def tune_query_side(
    start: str,
    source: SourceSettings,
    out: Path,
    accelerator: Accelerator,
    callbacks: TrainingCallbacks = NO_CALLBACKS,
    seed: int = 0,
) -> TuningResult:
    """Tune the query side of `start`, or resume. Writes `out/tuned`.

    A fifth of the pairs compares the checkpoints, a tenth chooses the step, and the rest trains.

    Raises:
        BadInput: too few pairs.
        UsageError: one model encodes both sides, or there are several processes.
        Missing, RagVqaError: a checkpoint or file does not exist.
    """
    if accelerator.num_processes > 1:
        raise UsageError("Tuning uses one process: start it without the launcher.")
    data = DataSettings(train=(source,))
    settings = TrainSettings(out=out, start=start, side="query", data=data, steps=1, seed=seed)
    settings.check_consistency()
    recover_folder(out / TUNED_FOLDER)
    recover_folder(out / BEST_FOLDER)
    check_output_folder(out, (TUNED_FOLDER, BEST_FOLDER))
    found = initialise(settings)
    fingerprint = Encoder(found.model, found.processor).fingerprint
    pairs, digest = _draw_pairs(source, found, out, callbacks.note)
    judging, watching, training = split_pairs(pairs, callbacks.note)
    searched = list({pair.passage.id: pair.passage for pair in pairs}.values())
    judge = ValidationSet(judging, found.model, found.processor, searched)
    before = judge.ranks()
    parts = _PairSplit(watching, training, searched, digest)
    fitted = _fit(settings, found, parts, accelerator, callbacks)
    if fitted.stopped:
        return TuningResult(fitted, out / TUNED_FOLDER, before, before)
    encoder = Encoder.load(out / TUNED_FOLDER, device=str(accelerator.device))
    if encoder.fingerprint != fingerprint:
        raise RagVqaError(
            f"{out / TUNED_FOLDER}: its document side has changed. This is a bug: please report it."
        )
    assert isinstance(encoder.processor, RetProcessor)  # exported above, as found.processor is one
    tuned = ValidationSet(judging, encoder.model, encoder.processor, searched)
    passages = tuple(pair.passage.id for pair in judging)
    return TuningResult(fitted, out / TUNED_FOLDER, before, tuned.ranks(), passages, len(searched))


def split_pairs(
    pairs: Sequence[Pair], note: Note = NO_CALLBACKS.note
) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """Split pairs into those that compare, that choose the step, and that train.

    Pairs with the same question, by text and picture, stay together, so that no judging question
    was trained on. Raises BadInput if there are too few questions.
    """
    by_question: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        by_question.setdefault((pair.query.text, str(pair.query.image)), []).append(pair)
    questions = list(by_question.values())
    if len(questions) < MIN_QUESTIONS:
        raise BadInput(
            f"{len(questions)} different questions in {len(pairs)} pairs: "
            f"give at least {MIN_QUESTIONS}, as some of them compare the checkpoints."
        )
    if len(questions) < len(pairs):
        note(
            f"{len(pairs):,} pairs have {len(questions):,} different questions; pairs with equal "
            "questions stay together."
        )
    judging, watching = len(questions) // JUDGING_SHARE, max(1, len(questions) // WATCHING_SHARE)
    end = judging + watching
    parts = questions[:judging], questions[judging:end], questions[end:]
    first, second, third = ([pair for same in part for pair in same] for part in parts)
    return first, second, third


def _draw_pairs(
    source: SourceSettings, initial: InitialModel, out: Path, note: Note
) -> tuple[list[Pair], str]:
    """All pairs of a file in random order, with the retriever's instruction; and its digest."""
    packed = open_source(source, folder=out / DATA_FOLDER, instruction=initial.instruction)
    assert isinstance(packed, PackedSource)
    pairs = packed.draw(VALIDATION_SEED, range(len(packed)))
    return usable_pairs(pairs, initial.processor, source.on_bad == "skip", note), packed.digest


@dataclass(frozen=True)
class _PairSplit:
    """Pairs that choose the step, pairs that train, all passages, the file's digest."""

    watching: Sequence[Pair]
    training: Sequence[Pair]
    searched: Sequence[Item]
    digest: str


def _fit(
    settings: TrainSettings,
    initial: InitialModel,
    parts: _PairSplit,
    accelerator: Accelerator,
    callbacks: TrainingCallbacks,
) -> FitResult:
    steps = -(-len(parts.training) * EPOCHS // BATCH)
    plan = replace(
        PLAN,
        steps=steps,
        warmup=min(PLAN.warmup, steps // 10),
        validate_every=max(1, steps // VALIDATIONS),
        seed=settings.seed,
    )
    folder = settings.out / TUNED_FOLDER
    chooser = ValidationSet(parts.watching, initial.model, initial.processor, parts.searched)

    def measure() -> dict[str, float]:
        ranks = chooser.ranks()
        return {
            "reciprocal rank": float((1 / ranks).mean()),
            "recall@1": float((ranks <= 1).mean()),
        }

    module = initial.model.get_query_model()
    module.to(accelerator.device)
    passages = chooser.encode_pool().to(accelerator.device)
    choices = _QueryStep(
        module, initial.processor, parts.training, passages, list(chooser.pool), settings.seed
    )
    scale = float(initial.model.config.logit_scale)
    return fit(
        module,
        whole_step(lambda step: choices.loss(step, scale)),
        plan,
        settings.out,
        accelerator,
        identity={
            "start": settings.start,
            "begun with": initial.digest,
            "source": settings.data.model_dump(mode="json"),
            "files": parts.digest,
            "steps": steps,
            "seed": settings.seed,
        },
        validation=Validation(measure, lambda: initial.export(folder, scale=scale), PATIENCE),
        callbacks=callbacks,
    )


@dataclass(frozen=True)
class _QueryStep:
    """Computes the loss of a step's queries against all passages, (N, K, D) with these ids."""

    module: nn.Module
    processor: RetProcessor
    pairs: Sequence[Pair]
    passages: Tensor
    ids: Sequence[str]
    seed: int

    def loss(self, step: int, scale: float) -> StepOutcome:
        pairs = [self.pairs[place] for place in self._places(step)]
        inputs = self.processor([p.query.text for p in pairs], [p.query.image for p in pairs])
        device = self.passages.device
        features = self.module(**inputs.to_device(device, torch.float32)).ret_features
        places = {identity: place for place, identity in enumerate(self.ids)}
        right = [[places[one] for one in p.positives if one in places] for p in pairs]
        most = max(map(len, right))
        loss, figures = contrastive_objective(
            F.normalize(features, dim=-1).view(len(pairs), *self.passages.shape[1:]),
            self.passages,
            torch.tensor(scale, device=device),
            torch.arange(len(self.ids), device=device),
            torch.tensor([row + row[:1] * (most - len(row)) for row in right], device=device),
            symmetric=False,
        )
        return StepOutcome(loss, figures, len(pairs), tuple(pair.name for pair in pairs))

    def _places(self, step: int) -> list[int]:
        """The pairs of a step; each epoch has another order."""
        size, found = len(self.pairs), []
        for place in range(step * BATCH, (step + 1) * BATCH):
            order = np.random.default_rng([self.seed, place // size]).permutation(size)
            found.append(int(order[place % size]))
        return found
