"""Training: train a retriever from a file of settings, or resume.

Knows where the settings come from and what is reported. Does not know how a model is trained
(`rag_vqa.retriever.training`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.errors import UsageError
from rag_vqa.progress import LOG, Reporter

if TYPE_CHECKING:
    from rag_vqa.retriever.training.training_loop import TrainingCallbacks
    from rag_vqa.retriever.training.training_settings import TrainSettings

TRAINING_GUIDE = "docs/training.md"
SHOWN_FIGURES = ("loss", "recall@1", "items_per_second")  # on the progress line
StopRequested = Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """Options of a training; each value given here replaces that of the settings file.

    Attributes:
        file: YAML file with the settings, see docs/training.md.
        assignments: `a.b=c`, as --set takes them.
        out: folder of all that is written; training in it is resumed.
        start: the checkpoint to begin with: a folder, a hub id, or "demo".
        side: "query" or "both".
        sources: sources of pairs that are no files, by their format's name.
    """

    file: Path | None = None
    assignments: tuple[str, ...] = ()
    out: Path | None = None
    start: str | None = None
    side: str | None = None
    seed: int | None = None
    sources: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """The result of a training.

    Attributes:
        folder: the best checkpoint, or the last one without a validation.
        steps: number of steps done so far.
        best: figures of the best validation, with its "step"; empty without a validation.
        stopped: it was asked to stop, and has saved its state.
        is_main: this is the first of several processes, the one that reports.
    """

    folder: Path
    steps: int
    best: Mapping[str, float]
    stopped: bool
    is_main: bool


def run_training(
    options: TrainingOptions,
    reporter: Reporter = LOG,
    stop_requested: StopRequested = lambda: False,
) -> TrainingReport:
    """Train a retriever, or resume.

    Args:
        stop_requested: called once a step; True saves the state and ends the training.

    Raises:
        UsageError: a setting is invalid, or `out` was started with other settings.
    """
    from rag_vqa.retriever.training.training_loop import make_accelerator
    from rag_vqa.retriever.training.training_run import train_retriever

    settings = load_training_settings(options)
    accelerator = make_accelerator(settings.precision, reporter.note)
    is_main = accelerator.is_main_process
    try:
        with watch_training(
            settings.out, settings.steps, reporter, stop_requested, is_main, settings.tensorboard
        ) as callbacks:
            result = train_retriever(settings, accelerator, callbacks, options.sources)
    finally:
        accelerator.end_training()
    folder = settings.out / ("best" if result.best else "last")
    return TrainingReport(folder, result.step, result.best, result.stopped, is_main)


def load_training_settings(options: TrainingOptions) -> TrainSettings:
    """The settings file, under the assignments, under the other options. Raises UsageError."""
    from rag_vqa.retriever.training.training_settings import TrainSettings
    from rag_vqa.settings import load_tree

    if options.file is None:
        raise UsageError(
            f"train needs its settings: rag-vqa train --config train.yaml. See: {TRAINING_GUIDE}"
        )
    given = {name: getattr(options, name) for name in ("out", "start", "side", "seed")}
    flags = {name: value for name, value in given.items() if value is not None}
    settings = load_tree(TrainSettings, options.file, options.assignments, flags, TRAINING_GUIDE)
    return settings.check_consistency()


@contextmanager
def watch_training(
    out: Path,
    steps: int | None,
    reporter: Reporter,
    stop_requested: StopRequested,
    is_main: bool,
    tensorboard: bool = False,
) -> Iterator[TrainingCallbacks]:
    """Callbacks that report steps with the last figures, and each validation.

    Args:
        is_main: False for all but the first process, which report nothing of these.
    """
    from rag_vqa.retriever.training.training_loop import STATE_FOLDER, TrainingCallbacks
    from rag_vqa.retriever.training.training_state import completed_steps

    latest: dict[str, float] = {}
    shown = reporter if is_main else LOG

    def figures_line() -> str:
        return "  ".join(f"{name} {latest[name]:.4g}" for name in SHOWN_FIGURES if name in latest)

    def report_figures(figures: Mapping[str, Any]) -> None:
        if figures["kind"] == "train":
            latest.update({n: v for n, v in figures.items() if n in SHOWN_FIGURES})
        else:
            names = [name for name in figures if name not in ("step", "kind")]
            values = "  ".join(f"{name} {figures[name]:.4f}" for name in names)
            shown.note(f"validation, step {figures['step']:,}: {values}")

    first = completed_steps(out / STATE_FOLDER)
    with shown.progress("train", steps, first=first, note=figures_line) as advance:
        yield TrainingCallbacks(advance, report_figures, reporter.note, stop_requested, tensorboard)
