"""A training from its settings to its checkpoints.

Knows which part does what, and in which order. Does not know how any of them does it.
"""

from collections.abc import Iterator

from accelerate import Accelerator
from torch import nn

from rag_vqa.errors import RagVqaError
from rag_vqa.retriever.processor import RetProcessor
from rag_vqa.retriever.training.batch import Batch, moved
from rag_vqa.retriever.training.caching import check_chunks, gradients
from rag_vqa.retriever.training.exporting import export, mend, refuse_strange
from rag_vqa.retriever.training.held_out import HeldOut
from rag_vqa.retriever.training.loading import batches
from rag_vqa.retriever.training.loop import NOBODY, Fitted, Note, Outcome, Validation, Watch, fit
from rag_vqa.retriever.training.mixture import Mixture, places
from rag_vqa.retriever.training.settings import TrainSettings
from rag_vqa.retriever.training.sources.files import FileSource
from rag_vqa.retriever.training.sources.opening import Others, open_mixture, open_source
from rag_vqa.retriever.training.starting import hold, started
from rag_vqa.retriever.training.two_sides import TwoSides

BEST, LAST, DATA = "best", "last", "data"


def train(
    settings: TrainSettings,
    accelerator: Accelerator,
    watch: Watch = NOBODY,
    others: Others | None = None,
) -> Fitted:
    """Train, or go on. Writes best/, last/, log.jsonl, state/ and data/ into `settings.out`.

    Args:
        others: sources that are no files, by the name of their format.

    Raises:
        UsageError, Missing, BadInput, RagVqaError: settings, models or data that cannot be, before
            anything is trained; or a step that is no number.
    """
    settings.checked()
    check_chunks(settings.chunks, len(places(0, settings.batch, 0, accelerator.num_processes)))
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            mend(settings.out / BEST)
        refuse_strange(settings.out, (BEST, LAST))
    found = started(settings)
    data = others, settings.out / DATA, found.instruction
    with accelerator.main_process_first():  # it packs the data, the others find it packed
        mixture = open_mixture(settings.data.train, *data)
        held_out = settings.data.validation
        source = None if held_out is None else open_source(held_out, *data)
    every = (*mixture.sources, *([] if source is None else [source]))
    for one in every if accelerator.is_main_process else ():
        if isinstance(one, FileSource):
            watch.note(one.told)
    digests = [one.digest for one in every if isinstance(one, FileSource)]
    begun = settings.loss.scale or float(found.model.config.logit_scale)
    module = TwoSides(found.model, scale=begun, learn_scale=settings.loss.learn_scale)
    hold(found.model, settings)

    def keep(name: str) -> None:
        scale = float(module.scale.detach())
        export(found, settings.out / name, scale=scale, dtype=settings.dtype)

    validation = None
    if source is not None:
        note = watch.note if accelerator.is_main_process else NOBODY.note
        count = settings.data.validation_pairs
        pool = HeldOut.of(source, count, found.model, found.processor, note)
        validation = Validation(pool.recall, lambda: keep(BEST))
    fitted = fit(
        module,
        _Steps(settings, mixture, found.processor, watch.note),
        settings.plan(),
        settings.out,
        accelerator,
        identity=settings.identity() | {"begun with": found.digest, "files": digests},
        validation=validation,
        watch=watch,
    )
    if accelerator.is_main_process and not fitted.stopped:
        keep(LAST)
    accelerator.wait_for_everyone()
    if fitted.best and not (settings.out / BEST).is_dir():
        raise RagVqaError(
            f"{settings.out / BEST} is gone: it was the best, of step {fitted.best['step']:,.0f}. "
            f"{LAST} is there; to make {BEST} again, train anew in another folder."
        )
    return fitted


class _Steps:
    """Gradients of step i, from a stream of batches that begins where the run does."""

    def __init__(
        self, settings: TrainSettings, mixture: Mixture, processor: RetProcessor, note: Note
    ) -> None:
        self.settings, self.mixture, self.processor = settings, mixture, processor
        self.note = note
        self.stream: Iterator[Batch] | None = None

    def __call__(self, module: nn.Module, accelerator: Accelerator, step: int) -> Outcome:
        if self.stream is None:
            self.stream = self._from(step, accelerator)
        batch = moved(next(self.stream), accelerator.device)
        for reason in batch.skipped:
            self.note(f"left out: {reason}")
        loss, figures = gradients(
            module,
            batch,
            chunks=self.settings.chunks,
            symmetric=self.settings.loss.symmetric,
            backward=accelerator.backward,
            no_sync=lambda: accelerator.no_sync(module),
        )
        return Outcome(loss, figures, len(batch.names), batch.names)

    def _from(self, step: int, accelerator: Accelerator) -> Iterator[Batch]:
        settings = self.settings
        return batches(
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
