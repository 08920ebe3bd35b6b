"""The job behind `train`: its settings, checked before a model loads; what a person is told.

It knows files, flags, processes and the terminal. It does not know how a model is trained.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.cli.output import print_json
from rag_vqa.cli.progress import progress
from rag_vqa.cli.run import Run
from rag_vqa.cli.stopping import asked_to_stop
from rag_vqa.errors import UsageError

if TYPE_CHECKING:
    from accelerate import Accelerator

    from rag_vqa.retriever.training.loop import Watch
    from rag_vqa.retriever.training.settings import TrainSettings

IN_PART = 4
SEE = "docs/training.md"
SHOWN = ("loss", "recall@1", "items_per_second")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What `train` was asked for, as its options say it."""

    out: Path | None = None
    start: str | None = None
    pairs: Path | None = None
    documents: Path | None = None
    side: str | None = None


def run(run: Run, given: Given) -> int:
    """Train, or go on; the exit code."""
    if given.pairs is not None:
        from rag_vqa.cli import tuning

        return tuning.run(run, given)
    if given.documents is not None:
        raise UsageError("--documents belongs to --pairs; in a file: data.train, documents.")
    replace(run, file=None, assignments=()).settings()  # for --offline: the file is no such tree
    settings = settings_of(run, given)
    from rag_vqa.retriever.training.processes import accelerator

    made = accelerator(settings.precision, run.note)
    try:
        return _trained(run, settings, made)
    finally:
        made.end_training()


def settings_of(run: Run, given: Given) -> TrainSettings:
    """Flags over --set over the file. Raises UsageError."""
    from rag_vqa.retriever.training.settings import TrainSettings
    from rag_vqa.settings import assembled

    if run.flags.get("preset"):
        raise UsageError("train has no presets: name a checkpoint with --from, or in the file.")
    if run.file is None:
        raise UsageError(f"give the settings: rag-vqa train --config train.yaml. See: {SEE}")
    named = {"out": given.out, "start": given.start, "side": given.side}
    named["seed"] = run.flags.get("seed")
    flags: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    return assembled(TrainSettings, run.file, run.assignments, flags, SEE).checked()


def _trained(run: Run, settings: TrainSettings, made: Accelerator) -> int:
    from rag_vqa.retriever.training.running import train

    quiet = run.quiet or not made.is_main_process
    with (
        asked_to_stop(quiet) as stop,
        shown(settings.out, settings.steps, quiet, run, stop, settings.tensorboard) as watch,
    ):
        fitted = train(settings, made, watch, sources())
    if fitted.stopped:
        told = run.note if made.is_main_process else lambda message: None
        told(f"Stopped after {fitted.step:,} steps, saved. The same command goes on.")
        return IN_PART
    if made.is_main_process:
        _tell(run, settings, fitted.step, fitted.best)
    return 0


def sources() -> Mapping[str, Any]:
    """Sources of pairs that are no files."""
    return {"flags": _flags}


def _flags(settings: Any) -> Any:
    from rag_vqa.demo.pairs import flags

    return flags(settings)


@contextmanager
def shown(
    out: Path, steps: int | None, quiet: bool, run: Run, stop: Any, tensorboard: bool = False
) -> Iterator[Watch]:
    """A bar or lines on stderr, with what the last line of the log said."""
    from rag_vqa.retriever.training.checkpoint import done
    from rag_vqa.retriever.training.loop import STATE, Watch

    last: dict[str, float] = {}

    def note() -> str:
        return "  ".join(f"{name} {last[name]:.4g}" for name in SHOWN if name in last)

    def line(figures: Mapping[str, Any]) -> None:
        if figures["kind"] == "train":
            last.update({n: v for n, v in figures.items() if n in SHOWN})
        elif not quiet:
            said = "  ".join(f"{n} {figures[n]:.4f}" for n in figures if n not in ("step", "kind"))
            print(f"held out, step {figures['step']:,}: {said}", file=sys.stderr, flush=True)

    first = done(out / STATE)
    with progress("train", steps, quiet=quiet, first=first, note=note) as advance:
        yield Watch(advance, line, run.note, stop, tensorboard)


def _tell(run: Run, settings: TrainSettings, steps: int, best: Mapping[str, float]) -> None:
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
