"""Times the scoring of 73,620 InfoSeek answers, as many as the validation split has.

    python benchmarks/score.py [--repeats 5] [--json OUT]

Repeats the golden rows under new ids. Times three things: files to result (`eval score infoseek`
without starting Python), the scorer of a run over Examples, and retrieval metrics over rankings of
100 documents. Does not check the scores: the tests do.
"""

import argparse
import json
import os
import platform
import random
import tempfile
import time
from collections.abc import Callable
from datetime import date
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

from rag_vqa.eval.infoseek import score_file
from rag_vqa.eval.scorers import make_scorer
from rag_vqa.retriever.metrics import hit, ndcg, recall, reciprocal_rank
from rag_vqa.types import Example, Query

ROWS = 73_620
GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "evaluators"


def read_rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (GOLDEN / name).read_text("utf-8").splitlines()]


def rows() -> list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """(prediction, reference, type) of each question, with new ids."""
    references = {row["data_id"]: row for row in read_rows("infoseek_references.jsonl")}
    types = {row["data_id"]: row for row in read_rows("infoseek_qtypes.jsonl")}
    known = [row for row in read_rows("infoseek_predictions.jsonl") if row["data_id"] in references]
    made = []
    for number, row in enumerate(islice(cycle(known), ROWS)):
        name = row["data_id"]
        new = {"data_id": f"q{number:08}"}
        made.append((row | new, references[name] | new, types[name] | new))
    return made


def time_calls(work: Callable[[], object], repeats: int) -> list[float]:
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        seconds.append(round(time.perf_counter() - begun, 3))
    return seconds


def score_examples(asked: list[Example], predictions: list[str]) -> object:
    scorer = make_scorer("infoseek")
    scores = scorer.score(asked, predictions)
    return scorer.summary(zip(asked, predictions, scores, strict=True))


def score_rankings(rankings: list[list[str]]) -> float:
    total = 0.0
    for ranked in rankings:
        for k in (1, 5, 10, 100):
            total += hit(ranked, {"d7"}, k) + recall(ranked, {"d7"}, k) + ndcg(ranked, {"d7"}, k)
        total += reciprocal_rank(ranked, {"d7"})
    return total


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    made = rows()
    asked = [
        Example(r["data_id"], Query(r["question"]), kind=t["question_type"], split=r["data_split"],
                references=tuple(a) if isinstance(a := r["answer_eval"], list) else (a,))
        for _, r, t in made
    ]  # fmt: skip
    predictions = [p["prediction"] for p, _, _ in made]
    rng = random.Random(0)
    ids = [f"d{number}" for number in range(1000)]
    rankings = [rng.sample(ids, 100) for _ in range(ROWS // 10)] * 10
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch) / name for name in ("predictions", "references", "types")]
        for place, file in enumerate(files):
            file.write_text("".join(f"{json.dumps(row[place])}\n" for row in made), "utf-8")
        result = {
            "rows": ROWS,
            "seconds": {
                "infoseek, files to result": time_calls(lambda: score_file(*files), given.repeats),
                "infoseek, examples of a run": time_calls(
                    lambda: score_examples(asked, predictions), given.repeats
                ),
                "hit, recall, nDCG at 4 depths, MRR": time_calls(
                    lambda: score_rankings(rankings), given.repeats
                ),
            },
            "date": str(date.today()),
            "machine": {
                "cpus": os.cpu_count(),
                "system": f"{platform.system()} {platform.machine()}",
                "python": platform.python_version(),
                "load": os.getloadavg(),
            },
        }
    for name, seconds in result["seconds"].items():  # type: ignore[attr-defined]
        print(f"{name}: {median(seconds):.2f} s (median of {len(seconds)})")
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
