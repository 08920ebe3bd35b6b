"""A training run: from its settings to its checkpoints.

Knows which part does what, and in which order. Does not know how any of them does it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator
from torch import nn

from rag_vqa.errors import RagVqaError, UsageError
from rag_vqa.retriever.model_card import ModelCard
from rag_vqa.retriever.modeling.export import write_card
from rag_vqa.retriever.modeling.processor import RetProcessor
from rag_vqa.retriever.training.batch_loader import load_batches
from rag_vqa.retriever.training.dual_encoder import DualEncoder
from rag_vqa.retriever.training.initialisation import freeze_eval_mode, initialise
from rag_vqa.retriever.training.packed_source import PackedSource
from rag_vqa.retriever.training.source_mixture import (
    Mixture,
    SourceFactories,
    open_mixture,
    open_source,
    step_places,
)
from rag_vqa.retriever.training.step_gradients import check_chunks, compute_gradients
from rag_vqa.retriever.training.training_loop import (
    NO_CALLBACKS,
    STATE_FOLDER,
    FitResult,
    Note,
    StepOutcome,
    TrainingCallbacks,
    Validation,
    fit,
)
from rag_vqa.retriever.training.training_pairs import Batch, PairSource, to_device
from rag_vqa.retriever.training.training_settings import TrainSettings
from rag_vqa.retriever.training.training_state import completed_steps
from rag_vqa.retriever.training.validation import ValidationSet
from rag_vqa.storage.atomic import recover_folder

BEST_FOLDER, LAST_FOLDER, DATA_FOLDER = "best", "last", "data"


def check_output_folder(out: Path, names: Sequence[str]) -> None:
    """Refuse a folder with checkpoints of these names, if no training there wrote them.

    Raises UsageError.
    """
    existing = [str(out / name) for name in names if (out / name).exists()]
    if existing and not completed_steps(out / STATE_FOLDER):
        raise UsageError(
            f"{existing[0]} exists, but no training state belongs to it: it would be replaced. "
            "Give another folder, or move it away."
        )


def train_retriever(
    settings: TrainSettings,
    accelerator: Accelerator,
    callbacks: TrainingCallbacks = NO_CALLBACKS,
    others: SourceFactories | None = None,
) -> FitResult:
    """Start or resume a training. Writes best/, last/, log.jsonl, state/ and data/ in the folder.

    Args:
        others: functions that make sources of formats without files, by format name.

    Raises:
        UsageError, Missing, BadInput, RagVqaError: bad settings, models or data, found before the
            first step; or a step whose loss or gradient is NaN or infinite.
    """
    settings.check_consistency()
    check_chunks(settings.chunks, len(step_places(0, settings.batch, 0, accelerator.num_processes)))
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            recover_folder(settings.out / BEST_FOLDER)
        check_output_folder(settings.out, (BEST_FOLDER, LAST_FOLDER))
    found = initialise(settings)
    data = others, settings.out / DATA_FOLDER, found.instruction
    with accelerator.main_process_first():  # it packs the data for all
        mixture = open_mixture(settings.data.train, *data)
        held_out = settings.data.validation
        source = None if held_out is None else open_source(held_out, *data)
    every = (*mixture.sources, *([] if source is None else [source]))
    for one in every if accelerator.is_main_process else ():
        if isinstance(one, PackedSource):
            callbacks.note(one.summary)
    digests = [one.digest for one in every if isinstance(one, PackedSource)]
    scale = settings.loss.scale or float(found.model.config.logit_scale)
    module = DualEncoder(found.model, scale=scale, learn_scale=settings.loss.learn_scale)
    freeze_eval_mode(found.model, settings)

    card = _describe_training(settings, mixture)

    def keep(name: str) -> None:
        scale = float(module.scale.detach())
        found.export(settings.out / name, scale=scale, dtype=settings.dtype, card=card)

    validation = None
    if source is not None:
        note = callbacks.note if accelerator.is_main_process else NO_CALLBACKS.note
        count = settings.data.validation_pairs
        pool = ValidationSet.from_source(source, count, found.model, found.processor, note)
        validation = Validation(pool.recall, lambda: keep(BEST_FOLDER))
    fitted = fit(
        module,
        _GradientSteps(settings, mixture, found.processor, callbacks.note),
        settings.plan(),
        settings.out,
        accelerator,
        identity=settings.identity() | {"begun with": found.digest, "files": digests},
        validation=validation,
        callbacks=callbacks,
    )
    if accelerator.is_main_process and not fitted.stopped:
        keep(LAST_FOLDER)
    accelerator.wait_for_everyone()
    if fitted.best and not (settings.out / BEST_FOLDER).is_dir():
        raise RagVqaError(
            f"{settings.out / BEST_FOLDER}, the best checkpoint, of step "
            f"{fitted.best['step']:,.0f}, was removed. {LAST_FOLDER} exists; to get "
            f"{BEST_FOLDER} again, train in another folder."
        )
    if fitted.best and source is not None and accelerator.is_main_process:
        write_card(settings.out / BEST_FOLDER, _with_figures(card, fitted.best, settings, source))
    return fitted


def _describe_training(settings: TrainSettings, mixture: Mixture) -> ModelCard:
    """The card of a model in training; folders are named without the paths of this machine."""
    base = settings.start or "scratch"
    data = (
        f"{source.name}: {len(source):,} pairs" if isinstance(source, PackedSource) else source.name
        for source in mixture.sources
    )
    return ModelCard(
        base=Path(base).name if Path(base).is_dir() else base,
        data=tuple(data),
        licence=settings.licence or "",
    )


def _with_figures(
    card: ModelCard, best: Mapping[str, float], settings: TrainSettings, held_out: PairSource
) -> ModelCard:
    figures = {name: value for name, value in best.items() if name != "step"}
    count = settings.data.validation_pairs
    count = min(count, len(held_out)) if isinstance(held_out, PackedSource) else count
    pairs = f"the first {count:,} pairs of {held_out.name}"
    where = f"{pairs}, at step {best['step']:,.0f}, among the passages of those pairs"
    return replace(card, figures=figures, measured_on=where)


class _GradientSteps:
    """Computes the gradients of a step, from a stream of batches that starts with the run."""

    def __init__(
        self, settings: TrainSettings, mixture: Mixture, processor: RetProcessor, note: Note
    ) -> None:
        self.settings, self.mixture, self.processor = settings, mixture, processor
        self.note = note
        self.stream: Iterator[Batch] | None = None

    def __call__(self, module: nn.Module, accelerator: Accelerator, step: int) -> StepOutcome:
        if self.stream is None:
            self.stream = self._load_from(step, accelerator)
        batch = to_device(next(self.stream), accelerator.device)
        for reason in batch.skipped:
            self.note(f"skipped: {reason}")
        loss, figures = compute_gradients(
            module,
            batch,
            chunks=self.settings.chunks,
            symmetric=self.settings.loss.symmetric,
            backward=accelerator.backward,
            no_sync=lambda: accelerator.no_sync(module),
        )
        return StepOutcome(loss, figures, len(batch.names), batch.names)

    def _load_from(self, step: int, accelerator: Accelerator) -> Iterator[Batch]:
        settings = self.settings
        return load_batches(
            self.mixture,
            self.processor,
            seed=settings.seed,
            first_step=step,
            steps=settings.steps,
            batch=settings.batch,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
            workers=settings.data.workers,
        )
