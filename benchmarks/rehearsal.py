"""Rehearses the way from nothing to an answer, with models of the true shapes and random weights.

A hub on loopback (hub.py) serves the models of preset `laptop`. Through it the program pulls them,
with all that goes wrong on the way; then it builds, searches, asks and serves a museum of 200
objects without a network. Knows the steps and what is measured. Does not know checkpoints
(rehearsal_models.py, rehearsal_tokenizers.py), downloads (rehearsal_downloads.py), nor how a
process is watched (rehearsal_process.py).

    pip install --no-deps open-clip-torch dashscope      # vocabularies of CLIP and Qwen
    python benchmarks/rehearsal.py --work DIR --json benchmarks/results/rehearsal.json
    python benchmarks/rehearsal.py --work DIR --small    # tiny models, the same steps, two minutes

Answers of random weights mean nothing: bytes, seconds and memory do. Needs 24 GB of disk and 8 GB
of memory. Every step's figures are in the file of --json as soon as it ends; the same command goes
on with the others, and --only runs named ones again. DIR must be new, or of an earlier rehearsal.
"""

import argparse
import base64
import datetime
import json
import os
import platform
import re
import shutil
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from museum import draw_object, write_museum
from rehearsal_downloads import Downloads, check
from rehearsal_models import SMALL, TRUE
from rehearsal_process import MemoryWatch, measure, read_in_thread, started

PRESET = "laptop"
MARK = "of-a-rehearsal"  # file that marks a folder as ours
DISK = 24e9
LONGEST = (
    24  # documents: more than fit into the context, so that the prompt is as long as it can be
)
QUESTION = "Who made this, and what was it used for?"
OBJECT = "cer-01"


@dataclass
class Use:
    """Steps that need the models and no network.

    Attributes:
        rag_vqa: the command line of the program.
        objects: number of museum objects to build.
        tokens: longest answer.
    """

    work: Path
    rag_vqa: list[str]
    objects: int
    tokens: int

    @property
    def variables(self) -> dict[str, str]:
        home = self.work / "home"
        return {"HF_HOME": str(home), "HF_HUB_CACHE": str(home / "hub"), "HF_HUB_OFFLINE": "1"}

    @property
    def kb(self) -> Path:
        return self.work / "museum.kb"

    @property
    def photo(self) -> Path:
        return self.work / "museum" / "photo.png"

    def museum(self) -> dict[str, Any]:
        """The objects, and a visitor's photo of one of them."""
        path = write_museum(self.work / "museum")
        draw_object(OBJECT, photo=1).save(self.photo)
        lines = path.read_text("utf-8").splitlines(keepends=True)[: self.objects]
        path.write_text("".join(lines), "utf-8")
        return {"objects": len(lines), "pictures": len(lines)}

    def fit(self) -> dict[str, Any]:
        """What `doctor --fit` says that asking needs."""
        cost = measure([*self.rag_vqa, "--json", "doctor", "--fit", PRESET], self.variables)
        found = json.loads(cost.out)
        parts = {name: round(count) for name, count in found["needs"].items()}
        return {"parts": parts, "total_bytes": round(found["total"])}

    def build(self) -> dict[str, Any]:
        """The museum as a knowledge base."""
        shutil.rmtree(self.kb, ignore_errors=True)
        source = str(self.work / "museum" / "museum.jsonl")
        command = ["kb", "build", source, "--out", str(self.kb), "--preset", PRESET]
        cost = check(measure([*self.rag_vqa, *command], self.variables), 0)
        size = sum(path.stat().st_size for path in self.kb.rglob("*") if path.is_file())
        return cost.figures() | {
            "seconds_a_document": round(cost.seconds / self.objects, 2),
            "cpu_seconds_a_document": round(cost.cpu_seconds / self.objects, 2),
            "bytes_of_the_knowledge_base": size,
        }  # fmt: skip

    def search(self) -> dict[str, Any]:
        """The photo and a question. Its picture was encoded with another background."""
        command = [
            "--json",
            "search",
            str(self.kb),
            QUESTION,
            "--image",
            str(self.photo),
            "-k",
            "3",
        ]
        cost = check(measure([*self.rag_vqa, *command], self.variables), 0)
        return cost.figures() | {"hits": len(json.loads(cost.out))}

    def ask(self) -> dict[str, Any]:
        """One question as a person asks it; the models load for it."""
        return self._ask()

    def ask_longest(self) -> dict[str, Any]:
        """One question with more documents than fit: the longest prompt, as --fit reckons."""
        return self._ask("-k", str(LONGEST))

    def _ask(self, *more: str) -> dict[str, Any]:
        command = ["--json", "ask", str(self.kb), QUESTION, "--image", str(self.photo), "--preset",
                   PRESET, "--max-new-tokens", str(self.tokens), *more]  # fmt: skip
        cost = check(measure([*self.rag_vqa, *command], self.variables), 0)
        answer = json.loads(cost.out)
        stages = {name: round(value, 1) for name, value in answer["seconds"].items()}
        return cost.figures() | {"tokens": answer["tokens"], "stages": stages}

    def serve(self) -> dict[str, Any]:
        """A server: seconds until it is ready, and to the first and the whole answer over HTTP."""
        command = ["serve", str(self.kb), "--preset", PRESET, "--port", "0",
                   "--max-new-tokens", str(self.tokens)]  # fmt: skip
        begun = time.monotonic()
        with started([*self.rag_vqa, *command], self.variables) as process:
            watch = MemoryWatch(process.pid)
            address = find_address(process)
            wait_until_ready(address, process)
            ready = time.monotonic() - begun
            answers = [ask_over_http(address, self.photo) for _ in range(2)]
            cost = watch.stop()
        return {"seconds_to_ready": round(ready, 1), "answers": answers, "peak_bytes": cost.peak,
                "mapped_bytes": cost.mapped}  # fmt: skip


def find_address(process: Any) -> str:
    """The address that a server prints on stderr; what else it prints is read and dropped."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            for name in ("stdout", "stderr"):
                read_in_thread(process, name, {})
            return found[0]
    raise RuntimeError(f"the server ended: {''.join(lines)[-2000:]}")


def wait_until_ready(address: str, process: Any) -> None:
    while process.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/ready", timeout=60)
            return
        except OSError:  # 503 while models load
            time.sleep(0.2)
    raise RuntimeError(f"the server ended with exit code {process.returncode}")


def ask_over_http(address: str, photo: Path) -> dict[str, Any]:
    """One streamed question: seconds to the first piece of text, and to the end."""
    picture = base64.b64encode(photo.read_bytes()).decode()
    content = [
        {"type": "text", "text": QUESTION},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
    ]
    body = {"messages": [{"role": "user", "content": content}], "stream": True}
    request = urllib.request.Request(
        f"{address}/v1/chat/completions", json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )  # fmt: skip
    begun, first, finish, seconds = time.monotonic(), 0.0, "", {}
    with urllib.request.urlopen(request, timeout=3600) as stream:
        for line in stream:
            event = line.decode().removeprefix("data:").strip()
            if not event.startswith("{"):
                continue
            chunk = json.loads(event)
            (choice,) = chunk["choices"]
            if choice["delta"].get("content") and not first:
                first = time.monotonic() - begun
            finish = choice["finish_reason"] or finish
            seconds |= chunk.get("rag_vqa", {}).get("seconds", {})
    return {"seconds_to_first": round(first, 1), "seconds": round(time.monotonic() - begun, 1),
            "finish": finish, "stages": {k: round(v, 1) for k, v in seconds.items()}}  # fmt: skip


def compare_memory(steps: dict[str, Any]) -> dict[str, Any]:
    """The measured peaks against the prediction of `doctor --fit`."""
    parts = steps["fit"]["parts"]
    predicted = {"build": parts["runtime"] + parts["retriever"]}
    predicted |= dict.fromkeys(("ask", "ask_longest", "serve"), steps["fit"]["total_bytes"])
    found = {}
    for name, count in predicted.items():
        if name in steps:
            peak = steps[name]["peak_bytes"] + steps[name]["mapped_bytes"]
            found[name] = {
                "measured": peak, "predicted": count, "error": round(count / peak - 1, 3),
            }  # fmt: skip
    return found


def machine() -> dict[str, Any]:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "processor": model[1].strip() if model else platform.machine(),
        "cores": os.cpu_count(), "load_before": [round(each, 1) for each in os.getloadavg()],
    }  # fmt: skip


def prepare_folder(work: Path, small: bool) -> None:
    """Make the folder, or check that it is ours; refuse a disk that is too small."""
    work.mkdir(parents=True, exist_ok=True)
    if any(work.iterdir()) and not (work / MARK).exists():
        sys.exit(f"{work} holds other files. Name a new folder with --work.")
    free = shutil.disk_usage(work).free
    if not small and not (work / MARK).exists() and free < DISK:
        sys.exit(f"{work} has {free / 1e9:.0f} GB free; the rehearsal needs {DISK / 1e9:.0f}.")
    (work / MARK).touch()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="Folder for models and all else.")
    parser.add_argument("--json", type=Path, help="File of the figures. [WORK/figures.json]")
    parser.add_argument("--only", nargs="+", metavar="STEP", help="Run these steps, again if done.")
    parser.add_argument(
        "--small", action="store_true", help="Tiny models: the figures mean nothing."
    )
    parser.add_argument("--objects", type=int, default=200, help="Objects to build. [200]")
    parser.add_argument("--tokens", type=int, default=16, help="Longest answer, in tokens. [16]")
    parser.add_argument("--note", default="", help="What else the machine did, for the figures.")
    parser.add_argument("--clean", action="store_true", help="Delete WORK at the end.")
    given = parser.parse_args()
    prepare_folder(given.work, given.small)
    file = given.json or given.work / "figures.json"
    rag_vqa = [sys.executable, "-m", "rag_vqa"]
    sizes, shard, empty = (SMALL, 1e6, 10**6) if given.small else (TRUE, 1e9, 1_710_540_580)
    downloads = Downloads(given.work, sizes, rag_vqa, shard, empty)
    use = Use(given.work, rag_vqa, given.objects, given.tokens)
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        step.__name__: step
        for step in (
            downloads.write, downloads.pull, downloads.mirror, downloads.refusals,
            downloads.full_disk, use.museum, use.fit, use.build, use.search, use.ask,
            use.ask_longest, use.serve,
        )
    }  # fmt: skip
    if unknown := set(given.only or ()) - set(steps):
        parser.error(f"no such step: {', '.join(unknown)}. There are {', '.join(steps)}")
    figures = json.loads(file.read_text()) if file.exists() else {"steps": {}}
    with closing(downloads):
        for name in given.only or [each for each in steps if each not in figures["steps"]]:
            print(name, end=" ", flush=True)
            about = {"small": given.small, "tokens": given.tokens, "note": given.note}
            figures |= about
            figures["steps"][name] = steps[name]() | {"machine": machine()}
            print(json.dumps(figures["steps"][name], ensure_ascii=False), flush=True)
            if {"fit", "build", "ask"} <= figures["steps"].keys():
                figures["memory"] = compare_memory(figures["steps"])
            file.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    if given.clean:
        shutil.rmtree(given.work)


if __name__ == "__main__":
    main()
