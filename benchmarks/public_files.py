"""Records the files and JSON that the product writes, by running it on six small flags.

Knows the verbs that write and their command lines. Leaves digests and numbers out of names of files
and keys of JSON. Does not know what is right: public_face.py compares.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
Record = dict[str, Any]
_SOURCE = {"format": "pairs", "questions": "pairs.jsonl", "documents": "documents.jsonl"}
TRAINING = {
    "out": "trained", "start": "demo", "data": {"train": [_SOURCE], "validation": _SOURCE},
    "steps": 4, "batch": 5, "rate": 1e-4, "save_every": 2, "validate_every": 2, "log_every": 2,
}  # fmt: skip


def run_verb(*words: str, folder: Path | None = None, fails: bool = False) -> str:
    """Runs a rag-vqa command in its own process. Returns its stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "rag_vqa", *words],
        cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    if done.returncode and not fails:
        raise SystemExit(f"rag-vqa {' '.join(words)} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def shape_of(value: Any) -> Any:
    """Keys and types of a JSON value; the items of a list are merged into one."""
    if isinstance(value, Mapping):
        return {plain_name(str(key)): shape_of(each) for key, each in value.items()}
    if isinstance(value, list):
        merged: Any = None
        for each in value:
            merged = merge_shapes(merged, shape_of(each))
        return [merged] if value else []
    return type(value).__name__.replace("int", "number").replace("float", "number")


def merge_shapes(one: Any, other: Any) -> Any:
    """The shape of a value that may have either shape."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: merge_shapes(one.get(key), other.get(key)) for key in {**one, **other}}
    return other if one is None or one in ("NoneType", [], {}) else one


def plain_name(name: str) -> str:
    """A file's or key's name without digests and numbers, which differ between runs."""
    name = re.sub(r"(?<![a-z])[0-9a-f]{8,}(?![a-z])", "HASH", name)
    return re.sub(r"\d+", "0", name)


def files_in(folder: Path) -> list[str]:
    """Names of all files in a folder without digests and numbers, each once."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return sorted({plain_name(str(file.relative_to(folder))) for file in files})


def write_world(folder: Path) -> None:
    """Writes documents, questions, training pairs and pictures of six small flags."""
    from PIL import Image

    colours = {"red": "Redland", "green": "Greenland", "blue": "Bluehill", "white": "Whitecap",
               "black": "Blackmoor", "yellow": "Yellowstone"}  # fmt: skip
    documents, questions, pairs = [], [], []
    for number, (colour, name) in enumerate(colours.items()):
        Image.new("RGB", (48, 32), colour).save(folder / f"{colour}.png")
        documents.append({"id": name, "title": name, "text": f"The capital is {name} City.",
                          "image": f"{colour}.png", "metadata": {"number": number}})  # fmt: skip
        question = {"question": "What is the capital of this country?", "image": f"{colour}.png",
                    "document_ids": [name]}  # fmt: skip
        questions.append({"id": f"q{number}", "answers": [f"{name} City"], **question})
        pairs += [{**question, "id": f"p{number}.{n}", "question": f"Capital of {n}?"}
                  for n in range(4)]  # fmt: skip
    for name, rows in (("documents", documents), ("questions", questions), ("pairs", pairs)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, "utf-8")


def record_run(folder: Path) -> Record:
    """Files and JSON keys of a build, a question, an evaluation, a server and a training."""
    write_world(folder)
    shapes: dict[str, Any] = {}
    files: dict[str, list[str]] = {}

    def run(*words: str) -> None:
        print("rag-vqa", *words, file=sys.stderr)
        run_verb(*words, folder=folder)

    def run_json(*words: str) -> None:
        print("rag-vqa", *words, "--json", file=sys.stderr)
        name = " ".join(word for word in words[:3] if not re.search(r"[./ ?]", word))
        shapes[name] = shape_of(json.loads(run_verb(*words, "--json", folder=folder)))

    def run_lines(name: str, file: str) -> None:
        rows = (folder / file).read_text("utf-8").splitlines()
        shapes[name] = shape_of([json.loads(row) for row in rows])

    run_json("kb", "build", "documents.jsonl", "--out", "a.kb")
    files["kb build"] = files_in(folder / "a.kb")
    run("kb", "build", "documents.jsonl", "--out", "part1.kb", "--shard", "1/2")
    run("kb", "build", "documents.jsonl", "--out", "part2.kb", "--shard", "2/2")
    run_json("kb", "merge", "part1.kb", "part2.kb", "--out", "merged.kb")
    files["kb merge"] = files_in(folder / "merged.kb")
    run("kb", "build", "documents.jsonl", "--out", "codes.kb", "--codes-only")
    files["kb build --codes-only"] = files_in(folder / "codes.kb")
    run("kb", "snapshot", "a.kb", "copy.kb")
    files["kb snapshot"] = files_in(folder / "copy.kb")
    for verb in ("list", "stats", "verify"):
        run_json("kb", verb, "a.kb")
    run_json("kb", "show", "a.kb", "Redland")
    run_json("search", "a.kb", "capital", "--image", "red.png")
    run_json("ask", "a.kb", "What is the capital?", "--image", "red.png")
    run_json("prompt", "show", "a.kb", "What is the capital?", "--image", "red.png")
    run_json("doctor")
    run_json("data", "check", "own", "questions.jsonl")
    ask = ("own", "questions.jsonl", "--kb", "a.kb", "--template", "answer")
    run_json("eval", "run", *ask, "--out", "run")
    files["eval run"] = files_in(folder / "run")
    for part in ("1", "2"):
        run("eval", "run", *ask, "--out", f"part{part}", "--shard", f"{part}/2")
    files["eval run --shard"] = files_in(folder / "part1")
    run("eval", "merge", "part1", "part2", "--out", "both")
    files["eval merge"] = files_in(folder / "both")
    results = json.loads((folder / "run" / "results.json").read_text("utf-8"))
    shapes["results.json"] = shape_of(results)
    for name in ("answers.jsonl", "timings.jsonl"):
        run_lines(name, f"run/{name}")
    run("eval", "report", "both")
    run_json("eval", "compare", "run", "both", "--cell", "oracle answer")
    run("train", "mine", "a.kb", "--questions", "pairs.jsonl", "--out", "mined.jsonl", "-k", "2")
    run_lines("mined.jsonl", "mined.jsonl")
    pairs = ("--pairs", "pairs.jsonl", "--documents", "documents.jsonl")
    run("train", "--from", "demo", "--side", "query", *pairs, "--out", "tuned")
    files["train --pairs"] = files_in(folder / "tuned")
    (folder / "train.yaml").write_text(json.dumps(TRAINING), "utf-8")
    run("train", "--config", "train.yaml")
    files["train --config"] = files_in(folder / "trained")
    run_lines("log.jsonl", "trained/log.jsonl")
    shapes |= record_server(folder)
    files["serve --log-questions"] = files_in(folder / "asked")
    files["folder"] = sorted(plain_name(path.name) for path in folder.iterdir())
    return {"files": files, "json": shapes}


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[str]:
    """Runs a server and yields its address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    program = [sys.executable, "-m", "rag_vqa", "serve", *words, "--port", str(port)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(program, cwd=folder, env=env, stderr=subprocess.DEVNULL) as server:
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(240):
                try:
                    urllib.request.urlopen(f"{address}/ready", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.5)
            yield address
        finally:
            server.send_signal(signal.SIGTERM)


def call(address: str, method: str, path: str, body: Any = None) -> tuple[int, str]:
    """Status and text of one request."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def record_server(folder: Path) -> dict[str, Any]:
    """Shapes of the responses of a running server's routes, and names of its metrics."""
    import base64

    picture = base64.b64encode((folder / "red.png").read_bytes()).decode()
    question = {"messages": [{"role": "user", "content": [
        {"type": "text", "text": "What is the capital?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
    ]}]}  # fmt: skip
    asks = {
        "GET /health": None,
        "GET /ready": None,
        "GET /v1/info": None,
        "GET /v1/models": None,
        "POST /v1/search": {"text": "capital"},
        "POST /v1/explain": {"text": "capital", "document": "Redland"},
        "POST /v1/chat/completions": question,
        "POST /v1/prompt": question,
        "GET /v1/documents/Redland": None,
        "GET /v1/documents/Nowhere": None,
        "POST /v1/documents": {"documents": [{"id": "new", "text": "A new one."}]},
        "DELETE /v1/documents/new": None,
        "GET /v1/nothing": None,
    }
    found: dict[str, Any] = {}
    words = ("a.kb", "--log-questions", "asked", "--gallery", "questions.jsonl")
    with serving(folder, *words) as address:
        for route, body in asks.items():
            method, _, path = route.partition(" ")
            status, text = call(address, method, path, body)
            found[route] = {"status": status, "body": shape_of(json.loads(text)) if text else None}
        _, text = call(address, "POST", "/v1/chat/completions", {**question, "stream": True})
        rows = [line.removeprefix("data: ") for line in text.splitlines() if line[:6] == "data: "]
        found["stream"] = shape_of([json.loads(row) for row in rows if row != "[DONE]"])
        _, text = call(address, "GET", "/metrics")
        found["metrics"] = sorted(re.findall(r"^# TYPE (\S+ \S+)", text, re.M))
    return found
