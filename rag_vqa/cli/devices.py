"""`kb build --devices`: one process a device, each builds a part; then the parts are merged.

It knows processes of this machine and signals. The processes exchange nothing: no collective, no
port, and a slow device delays no other.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from contextlib import suppress
from typing import Any

from rag_vqa.cli.building import IN_PART, INTERRUPTED
from rag_vqa.cli.parts import Parts, failed
from rag_vqa.cli.progress import progress
from rag_vqa.cli.stopping import Stopped, stopping
from rag_vqa.errors import RagVqaError, UsageError

_POLL = 0.2  # seconds


def named(text: str) -> list[str]:
    """`"all"`: every GPU; else a list, `"cuda:0,cuda:2"`. A device named twice runs two processes.

    Raises:
        UsageError: one is not there, or there is no GPU.
    """
    import torch

    from rag_vqa.retriever.encoder import checked_device

    if text != "all":
        names = [name.strip() for name in text.split(",")]
        for name in names:
            checked_device(name)
        return names
    count = torch.cuda.device_count()
    if not count:
        raise UsageError("--devices all: this machine has no GPU. Leave it out, or: rag-vqa doctor")
    return [f"cuda:{number}" for number in range(count)]


def build(parts: Parts, devices: list[str]) -> int:
    """Build all parts and merge them; the exit code. Stopped, the same command goes on."""
    parts.begin()
    context = multiprocessing.get_context("spawn")
    done = context.RawArray("q", parts.count)  # no lock that a killed process could keep
    processes = [
        context.Process(target=_build, args=(parts, number, device, done))
        for number, device in enumerate(devices, 1)
    ]
    try:
        try:
            for process in processes:
                process.start()
            with progress("encode", parts.total, quiet=parts.run.quiet) as advance:
                while any(process.is_alive() for process in processes):
                    time.sleep(_POLL)
                    advance(sum(done[:]))
                    if any(process.exitcode for process in processes):
                        break  # the others have to stop: their parts are safe, and go on later
        finally:
            stop_all(processes)
    except (KeyboardInterrupt, Stopped) as stop:
        print(f"Stopped: {sum(done[:]):,} documents are safe. The same command goes on from here.",
              file=sys.stderr)  # fmt: skip
        return INTERRUPTED if isinstance(stop, KeyboardInterrupt) else IN_PART
    codes = {number: process.exitcode or 0 for number, process in enumerate(processes, 1)}
    return failed(codes, parts.folder) or parts.merge()


def stop_all(processes: list[multiprocessing.context.SpawnProcess]) -> None:
    """Ask those that still run to stop, as a cluster would, and wait for their last commit."""
    for process in processes:
        if process.is_alive():
            process.terminate()
    for process in processes:
        if process.pid is not None:
            process.join()


def _build(parts: Parts, number: int, device: str, done: Any) -> None:
    def tell(count: int) -> None:
        done[number - 1] = count

    code = IN_PART
    with suppress(Stopped, KeyboardInterrupt), stopping():
        try:
            encoder = parts.encoder(device, parts.count)
            code = parts.build(number, encoder, parts.path(number), tell)
        except (RagVqaError, OSError) as error:
            print(f"part {number} on {device}: {error}", file=sys.stderr)
            code = error.exit_code if isinstance(error, RagVqaError) else 1
    sys.exit(code)
