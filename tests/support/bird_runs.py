"""Files of questions on the birds of tests/conftest.py, and what `eval run` makes of them."""

import json
from pathlib import Path
from typing import Any

from rag_vqa.eval.run.ledger import Ledger

BIRDS = {"puffin": "burrows", "stork": "roofs", "swift": "fly"}
RESULTS, ANSWERS, FAILURES = "results.json", "answers.jsonl", "failures.jsonl"


def write_questions(path: Path, n: int, **more: Any) -> Path:
    rows = [
        {"id": f"q{i}", "question": f"where does the {bird} live, question {i}?",
         "answers": [BIRDS[bird]], "document_ids": [bird], **more}
        for i, bird in enumerate([list(BIRDS)[i % 3] for i in range(n)])
    ]  # fmt: skip
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def result_files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (RESULTS, ANSWERS, FAILURES)}


def count_answers(folder: Path) -> int:
    with Ledger(folder) as ledger:
        [(count,)] = ledger.rows("SELECT count(*) FROM answers")
    return int(count)
