"""The figures by which a benchmark itself compares systems, one row a cell.

Knows the summaries of the scorers. Does not know how they come about. All are of all questions that
were answered, also where a cell was chosen on some of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rag_vqa.eval.report.tables import Row, percent

_SPLITS = {"question": "unseen question", "entity": "unseen entity"}  # InfoSeek's
_TYPES = {"score_time": "time", "score_num": "numerical", "score_string": "string"}


def official_rows(results: Mapping[str, Any], whole: bool = True) -> list[Row]:
    """InfoSeek: overall (the harmonic mean), both splits; Encyclopedic-VQA: single-hop and all; own
    questions: abstention, where some are unanswerable. In percent; a dash where nothing was asked.

    Args:
        whole: each type of question as well.
    """
    rows = [(cell["cell"], dict(_figures(cell["official"] or {}, whole)))
            for cell in results["cells"] if cell["n"]]  # fmt: skip
    heads = dict.fromkeys(head for _, figures in rows for head in figures)
    return [
        {"official, %": name} | {head: figures.get(head, percent(None)) for head in heads}
        for name, figures in rows
        if heads
    ]


def _figures(official: Mapping[str, Any], whole: bool) -> Iterator[tuple[str, str]]:
    if "final_score" in official:
        yield from _infoseek(official, whole)
    elif "single_hop" in official:
        yield "single-hop", percent(official["single_hop"]["accuracy"])
        yield "all", percent(official["accuracy"])
        if whole:
            for name, mean in official["by_type"].items():
                yield name, percent(mean["accuracy"])
    elif official.get("abstention", {}).get("n"):
        yield "answerable", percent(official["answerable"]["accuracy"])
        yield "abstention precision", percent(official["abstention"]["precision"])
        yield "abstention recall", percent(official["abstention"]["recall"])


def _infoseek(official: Mapping[str, Any], whole: bool) -> Iterator[tuple[str, str]]:
    """In percent already. A split of which nothing was asked is 0 there, and so is the mean."""
    asked = {split: official[f"n_unseen_{split}"] for split in _SPLITS}
    yield "overall", _known(official["final_score"], all(asked.values()))
    for split, said in _SPLITS.items():
        scores = official[f"unseen_{split}_score"]
        yield said, _known(scores["score"], asked[split])
        if whole:
            for name, kind in _TYPES.items():
                yield f"{said}, {kind}", _known(scores[name], asked[split])


def _known(score: float, asked: int) -> str:
    return f"{score:.2f}" if asked else percent(None)
