"""Training: train a retriever from a file of settings, or resume.

Knows settings, flags, processes and what is reported. Does not know how a model is trained
(`rag_vqa.retriever.training`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import print_json
from rag_vqa.cli.progress import progress
from rag_vqa.errors import EXIT_PARTIAL, UsageError
from rag_vqa.jobs.signals import defer_signals

if TYPE_CHECKING:
    from accelerate import Accelerator

    from rag_vqa.retriever.training.training_loop import TrainingCallbacks
    from rag_vqa.retriever.training.training_settings import TrainSettings

TRAINING_GUIDE = "docs/training.md"
SHOWN_FIGURES = ("loss", "recall@1", "items_per_second")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What `train` was asked for, as its options say it."""

    out: Path | None = None
    start: str | None = None
    pairs: Path | None = None
    documents: Path | None = None
    side: str | None = None


def run(run: CommandContext, given: TrainOptions) -> int:
    """Train, or go on; the exit code."""
    if given.pairs is not None:
        from rag_vqa.jobs import tune

        return tune.run(run, given)
    if given.documents is not None:
        raise UsageError("--documents belongs to --pairs; in a file: data.train, documents.")
    replace(run, file=None, assignments=()).settings()  # for --offline: the file is no such tree
    settings = train_settings(run, given)
    from rag_vqa.retriever.training.training_loop import make_accelerator

    made = make_accelerator(settings.precision, run.note)
    try:
        return _train(run, settings, made)
    finally:
        made.end_training()


def train_settings(run: CommandContext, given: TrainOptions) -> TrainSettings:
    """Flags over --set over the file. Raises UsageError."""
    from rag_vqa.retriever.training.training_settings import TrainSettings
    from rag_vqa.settings import load_tree

    if run.flags.get("preset"):
        raise UsageError("train has no presets: name a checkpoint with --from, or in the file.")
    if run.file is None:
        raise UsageError(
            f"give the settings: rag-vqa train --config train.yaml. See: {TRAINING_GUIDE}"
        )
    named = {"out": given.out, "start": given.start, "side": given.side}
    named["seed"] = run.flags.get("seed")
    flags: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    return load_tree(TrainSettings, run.file, run.assignments, flags, TRAINING_GUIDE).checked()


def _train(run: CommandContext, settings: TrainSettings, made: Accelerator) -> int:
    from rag_vqa.retriever.training.training_run import train_retriever

    quiet = run.quiet or not made.is_main_process
    with (
        defer_signals(quiet) as stop,
        watch_training(
            settings.out, settings.steps, quiet, run, stop, settings.tensorboard
        ) as watch,
    ):
        fitted = train_retriever(settings, made, watch, extra_sources())
    if fitted.stopped:
        told = run.note if made.is_main_process else lambda message: None
        told(f"Stopped after {fitted.step:,} steps, saved. The same command goes on.")
        return EXIT_PARTIAL
    if made.is_main_process:
        _print_result(run, settings, fitted.step, fitted.best)
    return 0


def extra_sources() -> Mapping[str, Any]:
    """Sources of pairs that are no files."""
    return {"flags": _flag_pairs}


def _flag_pairs(settings: Any) -> Any:
    from rag_vqa.demo.training.flag_pairs import flag_source

    return flag_source(settings)


@contextmanager
def watch_training(
    out: Path,
    steps: int | None,
    quiet: bool,
    run: CommandContext,
    stop: Any,
    tensorboard: bool = False,
) -> Iterator[TrainingCallbacks]:
    """A bar or lines on stderr, with what the last line of the log said."""
    from rag_vqa.retriever.training.training_loop import STATE_FOLDER, TrainingCallbacks
    from rag_vqa.retriever.training.training_state import completed_steps

    last: dict[str, float] = {}

    def note() -> str:
        return "  ".join(f"{name} {last[name]:.4g}" for name in SHOWN_FIGURES if name in last)

    def line(figures: Mapping[str, Any]) -> None:
        if figures["kind"] == "train":
            last.update({n: v for n, v in figures.items() if n in SHOWN_FIGURES})
        elif not quiet:
            said = "  ".join(f"{n} {figures[n]:.4f}" for n in figures if n not in ("step", "kind"))
            print(f"held out, step {figures['step']:,}: {said}", file=sys.stderr, flush=True)

    first = completed_steps(out / STATE_FOLDER)
    with progress("train", steps, quiet=quiet, first=first, note=note) as advance:
        yield TrainingCallbacks(advance, line, run.note, stop, tensorboard)


def _print_result(
    run: CommandContext, settings: TrainSettings, steps: int, best: Mapping[str, float]
) -> None:
    out = settings.out
    folder = out / ("best" if best else "last")
    if run.json:
        print_json({"out": str(folder), "steps": steps, "best": dict(best)})
        return
    if best:
        said = ", ".join(f"{n} {v:.4f}" for n, v in best.items() if n != "step")
        print(f"Best at step {best['step']:,.0f} ({said}): {folder}")
    else:
        print(f"{steps:,} steps: {folder}")
