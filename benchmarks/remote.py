"""Measures what a remote reader costs beside the model. Writes JSON.

A server in its own process reads each request to its end and always sends the same answer at once.
Knows a clock and the milliseconds of a request. Does not know models.

    python benchmarks/remote.py --out benchmarks/results/remote.json
"""

import argparse
import asyncio
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from openai import OpenAI
from PIL import Image

from rag_vqa.readers.remote.message_encoder import MessageEncoder
from rag_vqa.readers.remote.reader import RemoteReader
from rag_vqa.types import ImagePart, Prompt, TextPart

ANSWER = json.dumps(
    {"id": "1", "object": "chat.completion", "created": 1, "model": "none",
     "choices": [{"index": 0, "finish_reason": "stop",
                  "message": {"role": "assistant", "content": "Kingston"}}],
     "usage": {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}}
).encode()  # fmt: skip
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


async def serve() -> None:
    """Answers every request at once; prints its port first."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _head(reader):
            await reader.readexactly(int(LENGTH.search(head)[1]))
            writer.write(HEAD % len(ANSWER) + ANSWER)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, limit=2**20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return b""


def prompts(count: int, kind: str) -> list[Prompt]:
    """Prompts of 3 documents of 500 characters, without a photo, with a small or a large one."""
    text = "\n".join(f"[{n}] " + "The capital of Jamaica is Kingston. " * 14 for n in (1, 2, 3))
    parts: list[Any] = [TextPart("Answer briefly.", True, "system"), TextPart(text)]
    sizes = {"small photo": (320, 240), "large photo": (1600, 1200)}
    if kind in sizes:
        noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        photo = Image.fromarray(noise).resize(sizes[kind], Image.Resampling.BICUBIC)
        parts.insert(1, ImagePart(photo))
    return [Prompt((*parts, TextPart(f"Question {n}?"))) for n in range(count)]


def measure_kind(address: str, kind: str, count: int, repeats: int) -> dict[str, Any]:
    """Milliseconds a request, in wall time and CPU time of this process: medians and repeats.

    "client alone": the openai client sends the same bodies, made beforehand.
    """
    asked = prompts(count, kind)
    client = OpenAI(base_url=address, api_key="none", max_retries=0)
    wire = MessageEncoder()
    bodies = [wire.encode(prompt) for prompt in asked]

    def client_alone() -> None:
        for messages in bodies:
            client.chat.completions.create(model="none", messages=messages)

    client_alone()
    alone, batch = RemoteReader("none", [address]), RemoteReader("none", [address])
    alone.generate(asked[:1]), batch.generate(asked[:32])
    jobs: dict[str, Callable[[], Any]] = {
        "one after the other": lambda: [alone.generate([prompt]) for prompt in asked],
        "a batch": lambda: batch.generate(asked),
        "client alone": client_alone,
    }
    found: dict[str, Any] = {name: {"wall": [], "cpu": []} for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            job()
            times = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
            for clock, seconds in times.items():
                found[name][clock].append(round(1000 * seconds / count, 3))
    for times in found.values():
        times["median"] = {c: statistics.median(times[c]) for c in ("wall", "cpu")}
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--requests", type=int, default=100)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument(
        "--note", default="", help="Keep this note with the figures: what else was running."
    )
    options.add_argument("--out", type=Path)
    options.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.serve:
        asyncio.run(serve())
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE) as server:
        address = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        kinds = ("text alone", "small photo", "large photo")
        try:
            rows = {k: measure_kind(address, k, given.requests, given.repeats) for k in kinds}
        finally:
            server.terminate()
    found = {
        "date": datetime.date.today().isoformat(),
        "machine": {"cpus": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"},
        "note": given.note, "requests": given.requests, "milliseconds a request": rows,
    }  # fmt: skip
    text = json.dumps(found, indent=1) + "\n"
    given.out.write_text(text, "utf-8") if given.out else print(text, end="")


if __name__ == "__main__":
    main()
