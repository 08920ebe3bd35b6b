"""Compares answers from documents that the critic keeps with answers from the best unfiltered k.

    python benchmarks/critic.py dev
    python benchmarks/critic.py test --threshold 0.1 --top 3 --json benchmarks/results/critic.json

On the development half it tries every choice of threshold, top and order; on the test half it tries
one. Each choice is paired with each k; intervals are bootstrapped over countries. Knows the demo's
questions. Does not know a clock: other work on the machine changes nothing here.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from rag_vqa.critic import Critic, filter_hits
from rag_vqa.demo.evaluation import load_demo_reader
from rag_vqa.demo.gallery import build_knowledge_base, embedded_models_dir, example_questions
from rag_vqa.eval.answers import exact_match
from rag_vqa.eval.intervals import bootstrap, paired_bootstrap
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.types import Example, Hit

DEPTHS = (1, 3, 5, 10)  # documents read unfiltered; the critic judges the last of these
THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.5)
TOPS = (1, 3, None)
BATCH = 32
Rows = list[list[Hit]]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("half", choices=("dev", "test"))
    parser.add_argument("--threshold", type=float, default=0.1)
    parser.add_argument("--top", type=int)
    parser.add_argument("--reader", type=Path, default=embedded_models_dir() / "reader")
    parser.add_argument("--quantization", default="nf4", choices=("nf4", "none"))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    asked = example_questions(given.half)
    reader = load_demo_reader(given.reader, given.quantization)
    with tempfile.TemporaryDirectory() as scratch:
        encoder = Encoder.load(embedded_models_dir() / "retriever")
        with build_knowledge_base(Path(scratch) / "flags.kb", encoder) as kb:
            hits = kb.search([example.query for example in asked], max(DEPTHS))
            rag = RagVqa(kb, reader=reader)
            judged = judge(Critic(reader), asked, hits)
            if given.half == "dev":
                choices = all_choices(hits, judged)
            else:
                name = f"critic, threshold {given.threshold:g}, top {given.top}"
                choices = {name: filter_rows(hits, judged, given.threshold, given.top)}
            result = measure_accuracy(rag, asked, hits, choices)
    result["critic"] = separation(asked, hits, judged)
    result |= {"half": given.half, "quantization": given.quantization, "date": str(date.today())}
    print(json.dumps(result, indent=2))
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def judge(critic: Critic, asked: Sequence[Example], hits: Rows) -> list[list[float]]:
    """P(yes) of every hit, a row for each question."""
    rows: list[list[float]] = []
    for example, found in zip(asked, hits, strict=True):
        rows.append(critic.judge([example.query], [found]))
    return rows


def filter_rows(hits: Rows, judged: list[list[float]], threshold: float, top: int | None) -> Rows:
    """The hits that the critic keeps, in the order of retrieval."""
    return [filter_hits(row, p, threshold, top) for row, p in zip(hits, judged, strict=True)]


def all_choices(hits: Rows, judged: list[list[float]]) -> dict[str, Rows]:
    """Rows of every threshold and top, in the order of retrieval and by P(yes)."""
    found: dict[str, Rows] = {}
    for threshold, top in (*product(THRESHOLDS, TOPS), (0.0, 1), (0.0, 3)):
        rows = filter_rows(hits, judged, threshold, top)
        found[f"threshold {threshold:g}, top {top}"] = rows
        if top != 1:
            by_p = [sorted(row, key=lambda hit: -hit.score) for row in rows]
            found[f"threshold {threshold:g}, top {top}, by P(yes)"] = by_p
    return found


def measure_accuracy(
    rag: RagVqa, asked: Sequence[Example], hits: Rows, choices: dict[str, Rows]
) -> dict[str, Any]:
    """Accuracy of each k and each choice, and their paired differences."""
    right = Marks(rag, asked)
    plain = {f"k={k}": right([row[:k] for row in hits]) for k in DEPTHS}
    clusters = [example.id.partition("/")[0] for example in asked]
    best = max(plain, key=lambda name: float(np.mean(plain[name])))
    result: dict[str, Any] = {"n": len(asked), "best k": best}
    result["unfiltered"] = {
        name: {"accuracy": mean(values), "ci95": round_interval(bootstrap(values, clusters))}
        for name, values in plain.items()
    }
    result["filtered"] = {}
    for name, rows in choices.items():
        values = right(rows)
        result["filtered"][name] = {
            "accuracy": mean(values),
            "ci95": round_interval(bootstrap(values, clusters)),
            "minus best k": mean(values) - mean(plain[best]),
            "paired ci95": {
                k: round_interval(paired_bootstrap(values, other, clusters))
                for k, other in plain.items()
            },
            "documents": mean([len(row) for row in rows]),
            "none left": mean([not row for row in rows]),
        }
    return result


class Marks:
    """Marks answers as right or wrong; asks no question twice with the same documents."""

    def __init__(self, rag: RagVqa, asked: Sequence[Example]) -> None:
        self.rag, self.asked = rag, asked
        self.known: dict[tuple[str, ...], float] = {}

    def __call__(self, hits: Rows) -> list[float]:
        """1 or 0 for each question, answered from its own hits."""
        keys = [self._key(e, row) for e, row in zip(self.asked, hits, strict=True)]
        new = [place for place, key in enumerate(keys) if key not in self.known]
        for start in range(0, len(new), BATCH):
            places = new[start : start + BATCH]
            queries = [self.asked[place].query for place in places]
            answers = self.rag.answer(queries, [hits[place] for place in places])
            for place, answer in zip(places, answers, strict=True):
                right = exact_match(answer.text, self.asked[place].answers)
                self.known[keys[place]] = float(right)
        return [self.known[key] for key in keys]

    def _key(self, example: Example, row: list[Hit]) -> tuple[str, ...]:
        return example.id, *(hit.document.id for hit in row)


def separation(asked: Sequence[Example], hits: Rows, judged: list[list[float]]) -> dict[str, float]:
    """How well P(yes) separates the right document from the others."""
    relevant = [[h.document.id in e.relevant for h in r] for e, r in zip(asked, hits, strict=True)]
    gold, p = np.array(relevant), np.array(judged)  # (N, documents)
    found = gold.any(axis=1)
    first = gold[np.arange(len(p)), p.argmax(axis=1)]
    above = p[gold][:, None] > p[~gold][None]
    same = p[gold][:, None] == p[~gold][None]
    return {
        "recall@1 as found": mean(gold[:, 0]),
        "recall@1 by P(yes)": mean(first),
        f"recall@{p.shape[1]}": mean(found),
        "AUC": mean(above + same / 2),
        "P(yes) of right ones": mean(p[gold]),
        "P(yes) of others": mean(p[~gold]),
    }


def mean(values: Any) -> float:
    """The mean of numbers or booleans, rounded to four digits."""
    return round(float(np.mean(values)), 4)


def round_interval(interval: tuple[float, float]) -> list[float]:
    """The bounds, rounded to four digits."""
    return [round(bound, 4) for bound in interval]


if __name__ == "__main__":
    main()
