"""Lists the product files that a verb enters: those in which a function runs.

Traces calls on all threads of one process, over a small knowledge base of flags. Code that runs
because a module is imported does not count: neither the module's own lines nor functions that they
call. Does not know what a verb does; VERBS holds the verbs and their command lines.

    python benchmarks/files_entered.py                 prints the counts
    python benchmarks/files_entered.py --list          prints the files, too
    python benchmarks/files_entered.py --out benchmarks/results/files_entered.json
"""

import argparse
import csv
import inspect
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("rag_vqa", "retriever", "prompts", "eval")
QUESTION = "What is the capital of this country?"
COUNTRIES = 6  # in the knowledge base; few, because this counts files and measures no time
VERBS: dict[str, tuple[str, ...]] = {
    "ask": ("ask", "flags.kb", QUESTION, "--image", "flag.png"),
    "eval run": ("eval", "run", "evqa", "flags", "--split", "test", "--kb", "flags.kb", "--out",
                 "run", "--template", "answer", "--grid", "k=1,3", "--limit", "4"),
}  # fmt: skip


def prepare(folder: Path) -> None:
    """Writes flags.kb, flag.png and a benchmark of flags into a folder, by running rag-vqa."""
    run_verb(folder, "data", "demo", "evqa", "flags")
    pages = json.loads((folder / "flags" / "encyclopedic_kb_wiki.json").read_text("utf-8"))
    with (folder / "flags" / "test.csv").open(encoding="utf-8", newline="") as file:
        asked = list(dict.fromkeys(row["wikipedia_url"] for row in csv.DictReader(file)))
    few = {url: pages[url] for url in asked[:COUNTRIES]}
    source = folder / "few" / "encyclopedic_kb_wiki.json"
    source.parent.mkdir()
    source.write_text(json.dumps(few), "utf-8")
    run_verb(folder, "kb", "build", str(source), "--images", "flags/kb_images", "--unit", "section",
             "--out", "flags.kb")  # fmt: skip
    shutil.copy(next((folder / "flags" / "kb_images").iterdir()), folder / "flag.png")


def run_verb(folder: Path, *words: str) -> None:
    """Runs a rag-vqa command in its own process. Raises SystemExit if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "rag_vqa", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"rag-vqa {' '.join(words)} ended with {done.returncode}: {done.stderr}")


def product_file(code: CodeType) -> str | None:
    """Path of the code's file, relative to the repository; None if it is not a product file."""
    path = Path(code.co_filename).resolve()
    if not path.is_relative_to(ROOT):
        return None
    inside = path.relative_to(ROOT)
    is_ours = inside.parts[0] in FOLDERS and inside.suffix == ".py"  # jinja compiles templates
    return inside.as_posix() if is_ours else None


class Tracer:
    """Collects the functions that run in each product file."""

    def __init__(self) -> None:
        self.functions: dict[str, set[str]] = {}
        self._files: dict[CodeType, str | None] = {}

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or code in self._files:
            return
        if not code.co_flags & inspect.CO_OPTIMIZED:  # the body of a module or a class
            self._files[code] = None
            return
        if self._is_import(frame):
            return  # it may be called again, when the import is over
        file = self._files[code] = product_file(code)
        if file is not None:
            self.functions.setdefault(file, set()).add(code.co_qualname)

    def _is_import(self, frame: FrameType) -> bool:
        """True if this runs because a module is imported: a module's body is among the callers."""
        caller = frame.f_back
        while caller is not None:
            code = caller.f_code
            if not code.co_flags & inspect.CO_OPTIMIZED and code.co_filename != __file__:
                return True
            caller = caller.f_back
        return False


def trace(words: tuple[str, ...]) -> dict[str, list[str]]:
    """Runs a rag-vqa command in this process. Returns the functions that ran, by file."""
    from rag_vqa.cli import main  # what the command `rag-vqa` calls

    sys.argv = ["rag-vqa", *words]
    tracer = Tracer()
    threading.setprofile(tracer)
    sys.setprofile(tracer)
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return {file: sorted(names) for file, names in sorted(tracer.functions.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="Also print the files.")
    parser.add_argument("--out", type=Path, help="Write the files of each verb to this JSON file.")
    parser.add_argument("--trace", nargs=2, metavar=("VERB", "OUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.trace:
        verb, out = given.trace
        sys.path.insert(0, str(ROOT))
        os.register_at_fork(after_in_child=lambda: sys.setprofile(None))
        Path(out).write_text(json.dumps(trace(VERBS[verb])), "utf-8")
        return
    record: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(folder)
        for verb in VERBS:
            subprocess.run(
                [sys.executable, str(Path(__file__).resolve()), "--trace", verb, "trace.json"],
                cwd=folder, check=True, stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            found = json.loads((folder / "trace.json").read_text("utf-8"))
            functions = {file: len(names) for file, names in found.items()}
            record[verb] = {"count": len(found), "files": functions}
    for verb, entry in record.items():
        rooms = Counter(str(Path(file).parent) for file in entry["files"])
        where = ", ".join(f"{room} {count}" for room, count in rooms.most_common())
        print(f"rag-vqa {verb}: enters {entry['count']} files ({where})")
        if given.list:
            print(
                "".join(f"    {file}  {functions}\n" for file, functions in entry["files"].items())
            )
    if given.out:
        given.out.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
