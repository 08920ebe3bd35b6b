"""`eval run --devices`: one process a device, each runs a shard; then the shards are merged.

It knows processes of this machine. They exchange nothing, and each can be interrupted like a run of
its own: the same command goes on with all of them.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rag_vqa.cli.devices import named, stop_all
from rag_vqa.cli.evaluating import (
    IN_PART,
    INTERRUPTED,
    Evaluation,
    conclude,
    evaluate,
    scorer_of,
)
from rag_vqa.cli.run import Run
from rag_vqa.cli.stopping import Stopped, stopping
from rag_vqa.errors import RagVqaError, UsageError

if TYPE_CHECKING:
    from rag_vqa.settings import Settings

_POLL = 0.2  # seconds


def on_devices(
    line: Run, settings: Settings, asked: Evaluation, limits: Mapping[str, float]
) -> int:
    """Run all shards and merge them; the exit code."""
    from rag_vqa.eval.run.ledger import FILE

    devices = named(asked.devices or "")
    folder = asked.out.with_name(f"{asked.out.name}.parts")
    parts = [folder / f"{n}-of-{len(devices)}" for n in range(1, len(devices) + 1)]
    if (asked.out / FILE).exists() and not folder.exists():
        raise UsageError(f"{asked.out} was run without --devices: go on without, or give --out.")
    context = multiprocessing.get_context("spawn")
    shards = [
        replace(asked, devices=None, out=part, shard=f"{n}/{len(devices)}", minimum=())
        for n, part in enumerate(parts, 1)
    ]
    processes = [
        context.Process(target=_shard, args=(_quiet(line), on(settings, device), shard))
        for device, shard in zip(devices, shards, strict=True)
    ]
    line.note(f"{len(devices)} shards: {', '.join(devices)}")
    try:
        try:
            with stopping():
                for process in processes:
                    process.start()
                while any(process.is_alive() for process in processes):
                    time.sleep(_POLL)
                    if any(process.exitcode for process in processes):
                        break
        finally:
            stop_all(processes)
    except (KeyboardInterrupt, Stopped) as stop:
        print("Stopped: what was committed is safe. The same command goes on.", file=sys.stderr)
        return INTERRUPTED if isinstance(stop, KeyboardInterrupt) else IN_PART
    bad = [process.exitcode for process in processes if process.exitcode]
    if bad:  # below 0: killed by a signal
        return max(bad[0], 0) or 1
    return _merged(line, settings, asked, parts, limits)


def on(settings: Settings, device: str) -> Settings:
    """The settings with retriever and reader on a device."""
    retriever = settings.retriever.model_copy(update={"device": device})
    reader = settings.reader.model_copy(update={"device": device})
    return settings.model_copy(update={"retriever": retriever, "reader": reader})


def _quiet(line: Run) -> Run:
    return replace(line, quiet=True)


def _shard(line: Run, settings: Settings, asked: Evaluation) -> None:
    code = IN_PART
    with suppress(Stopped, KeyboardInterrupt):
        try:
            code = evaluate(line, settings, asked)
            code = 0 if code == IN_PART else code  # failed rows are told once all are together
        except (RagVqaError, OSError) as error:
            print(f"shard {asked.shard}: {error}", file=sys.stderr)
            code = error.exit_code if isinstance(error, RagVqaError) else 1
    sys.exit(code)


def _merged(
    line: Run, settings: Settings, asked: Evaluation, parts: list[Path], limits: Mapping[str, float]
) -> int:
    from rag_vqa.eval.run.ledger import FILE, Ledger
    from rag_vqa.eval.run.merging import merge

    (asked.out / FILE).unlink(missing_ok=True)  # made of the parts: it is made anew
    merge(asked.out, parts)
    with Ledger(asked.out) as ledger:
        scorer = None
        if ledger.meta("cells"):
            kind = ledger.meta("spec")["questions"]["scorer"]
            scorer = scorer_of(settings, kind, asked.bem, asked.yes)
        return conclude(line, ledger, scorer, limits)
