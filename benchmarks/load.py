"""Load-tests `rag-vqa serve`: 200 clients at once, slow clients, endless uploads, many requests.

The server runs in its own process, over a small knowledge base of the embedded retriever. With the
embedded reader it measures answers. With `--reader fake`, which writes three words, it measures
only HTTP. Knows requests and /proc. Does not know the server's code.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import httpx

ASKED = {"messages": [{"role": "user", "content": "What is the capital of Land 2?"}]}
HEAD = b"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"

SERVE = """
import sys
sys.path.insert(0, "tests")
from pathlib import Path
from conftest import FakeEncoder, FakeReader
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.server.app import create_app, open_socket, run_app
from rag_vqa.server.engine.engine import Engine
from rag_vqa.server.service import Service
class Forgetful(FakeReader):
    def generate(self, *given):
        self.prompts, self.batches = [], []
        return super().generate(*given)
folder = Path(sys.argv[1])
with KnowledgeBase.create(folder, FakeEncoder()) as kb:
    kb.add([{"id": str(n), "text": f"The capital of Land {n} is Town {n}."} for n in range(20)])
    listener = open_socket("127.0.0.1", 0)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/", file=sys.stderr, flush=True)
    run_app(create_app(Service(Engine(RagVqa(kb, Forgetful(), k=3)))), listener, quiet=True)
"""


def memory(pid: int) -> float:
    """Resident megabytes of a process."""
    text = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def start_server(reader: str, folder: Path) -> tuple[subprocess.Popen[str], str]:
    """Starts a server. Returns it and its address as soon as it is ready."""
    if reader == "fake":
        program = [sys.executable, "-c", SERVE, str(folder / "kb")]
    else:
        source = folder / "docs.jsonl"
        rows = [{"id": str(n), "text": f"The capital of Land {n} is Town {n}."} for n in range(20)]
        source.write_text("\n".join(map(json.dumps, rows)), "utf-8")
        build = ["kb", "build", str(source), "--out", str(folder / "kb"), "--quiet"]
        subprocess.run([sys.executable, "-m", "rag_vqa", *build], check=True)
        program = [sys.executable, "-m", "rag_vqa", "serve", str(folder / "kb"), "--port", "0"]
    log = (folder / "log").open("w+", encoding="utf-8")
    server = subprocess.Popen(program, stderr=log, text=True)
    while True:
        time.sleep(0.2)
        line = next((x for x in (folder / "log").read_text("utf-8").split() if "http://" in x), "")
        if server.poll() is not None:
            raise SystemExit((folder / "log").read_text("utf-8"))
        try:
            if line and httpx.get(f"{line}ready").status_code == 200:
                return server, line.rstrip("/")
        except httpx.TransportError:
            continue


def watch_health(address: str, done: Any, health: Any) -> None:
    """Asks /health 50 times while the server is idle, then until `done` is set."""
    with httpx.Client(base_url=address, timeout=60) as asking:

        def once() -> float:
            start = time.perf_counter()
            asking.get("/health").raise_for_status()
            time.sleep(0.02)
            return time.perf_counter() - start - 0.02

        health.put([once() for _ in range(50)])
        during = []
        while not done.is_set():
            during.append(once())
        health.put(during)


def summarize_seconds(seconds: list[float]) -> dict[str, float]:
    """Median, maximum and count, in milliseconds."""
    taken = sorted(1000 * each for each in seconds)
    return {"median": round(statistics.median(taken), 1), "max": round(taken[-1], 1),
            "n": len(taken)}  # fmt: skip


async def ask_at_once(address: str, clients: int) -> dict[str, Any]:
    """Sends all questions at once, half of them streaming.

    Another process asks /health at the same time: this one is busy with its clients.
    """

    async def ask(asking: httpx.AsyncClient, number: int) -> tuple[int, bool]:
        body = {**ASKED, "stream": bool(number % 2)}
        sent = await asking.post("/v1/chat/completions", json=body)
        return sent.status_code, sent.status_code != 429 or "retry-after" in sent.headers

    limits = httpx.Limits(max_connections=None)
    context = multiprocessing.get_context("spawn")
    done, health = context.Event(), context.Queue()
    watch = context.Process(target=watch_health, args=(address, done, health))
    watch.start()
    before = health.get()
    async with httpx.AsyncClient(base_url=address, timeout=600, limits=limits) as asking:
        start = time.perf_counter()
        answers = await asyncio.gather(*(ask(asking, n) for n in range(clients)))
        seconds = time.perf_counter() - start
    done.set()
    during = health.get()
    watch.join()
    return {
        "clients": clients,
        "statuses": dict(Counter(str(code) for code, _ in answers)),
        "every_429_has_retry_after": all(told for _, told in answers),
        "seconds": round(seconds, 3),
        "health_ms": {"before": summarize_seconds(before), "during": summarize_seconds(during)},
    }  # fmt: skip


async def send_slowly(address: str, clients: int) -> dict[str, Any]:
    """Clients send a byte a second: half never end their headers, half their body."""
    host, _, port = address.removeprefix("http://").partition(":")

    async def one(number: int) -> float:
        reader, writer = await asyncio.open_connection(host, int(port))
        start = time.perf_counter()
        writer.write(HEAD + (b"" if number % 2 else b"Content-Length: 100000\r\n\r\n"))
        try:
            while not reader.at_eof() and time.perf_counter() - start < 60:
                writer.write(b"X")
                await writer.drain()
                try:
                    async with asyncio.timeout(1):
                        if not await reader.read(100):
                            break
                except TimeoutError:
                    continue
        except ConnectionError:
            pass
        writer.close()
        return time.perf_counter() - start

    taken = await asyncio.gather(*(one(n) for n in range(clients)))
    return {
        "clients": clients,
        "cut_after_s": {"min": round(min(taken), 1), "max": round(max(taken), 1)},
    }


async def send_endlessly(address: str, pid: int, megabytes: int) -> dict[str, Any]:
    """Sends several bodies at once, without length and without end."""
    host, _, port = address.removeprefix("http://").partition(":")
    before, peak = memory(pid), [memory(pid)]

    async def one() -> str:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        piece = b"100000\r\n" + b" " * 2**20 + b"\r\n"
        answer = asyncio.create_task(reader.read(15))
        try:
            for _ in range(megabytes):
                if answer.done():
                    break
                writer.write(piece)
                await writer.drain()
                peak.append(memory(pid))
        except ConnectionError:
            pass
        try:
            return (await answer).decode().partition(" ")[2][:3] or "cut"
        except ConnectionError:
            return "cut"

    told = await asyncio.gather(*(one() for _ in range(3)))
    return {"bodies": 3, "each_mb": megabytes, "told": dict(Counter(told)),
            "memory_mb": {"before": round(before, 1), "peak": round(max(peak), 1)}}  # fmt: skip


async def ask_many(address: str, pid: int, requests: int) -> dict[str, Any]:
    """Sends questions, 8 at a time. Returns how memory grows; the first tenth warms up."""
    taken: list[tuple[int, float]] = []
    left = iter(range(requests))

    async def work(asking: httpx.AsyncClient) -> None:
        for number in left:
            body = {**ASKED, "stream": bool(number % 2)}
            (await asking.post("/v1/chat/completions", json=body)).raise_for_status()
            if number % 250 == 0:
                taken.append((number, memory(pid)))

    start = time.perf_counter()
    async with httpx.AsyncClient(base_url=address, timeout=600) as asking:
        await asyncio.gather(*(work(asking) for _ in range(8)))
    seconds = time.perf_counter() - start
    points = [point for point in taken if point[0] >= requests // 10]
    slope = statistics.linear_regression(*zip(*points, strict=True)).slope
    return {"requests": requests, "seconds": round(seconds, 1),
            "memory_mb": {"begin": round(points[0][1], 1), "end": round(points[-1][1], 1)},
            "mb_per_1000": round(1000 * slope, 3)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", choices=["fake", "demo"], default="fake")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.requests < 1000:
        parser.error("--requests must be 1000 or more, to measure the slope of memory")
    with tempfile.TemporaryDirectory() as folder:
        server, address = start_server(given.reader, Path(folder))
        try:
            result = {
                "date": date.today().isoformat(),
                "machine": platform.processor() or platform.machine(),
                "reader": given.reader,
                "load_average": os.getloadavg()[0],
                "crowd": asyncio.run(ask_at_once(address, given.clients)),
                "many": asyncio.run(ask_many(address, server.pid, given.requests)),
                "slow": asyncio.run(send_slowly(address, given.clients)),
                "endless": asyncio.run(send_endlessly(address, server.pid, 200)),
            }
        finally:
            server.send_signal(signal.SIGTERM)
            result_code = server.wait(60)
    result["ended_with"] = result_code
    print(json.dumps(result, indent=2))
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
