"""Tables of a run: for a terminal, and in Markdown for a paper.

Knows columns and how numbers are written. Does not know how they were computed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rag_vqa.eval.report.reading import Seconds
from rag_vqa.eval.results.gate import reported

Row = dict[str, str]
_RECALLS = {"recall": "recall@", "pseudo": "pseudo-recall@"}
_FIRST = ("recall@1", "recall@5", "recall@10", "pseudo-recall@5", "MRR")
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~#$])")


def answer_rows(results: Mapping[str, Any], seconds: Seconds | None = None) -> list[Row]:
    """A row a cell: what was asked how, of how many, how well, and at what cost."""
    return [_answers(results, cell, seconds or {}) for cell in results["cells"]]


def recall_rows(results: Mapping[str, Any], whole: bool = True) -> list[Row]:
    """A row a metric of retrieval; empty where nothing was searched.

    Args:
        whole: at every K; else those that people ask for first.
    """
    recall = results["recall"]
    if not recall:
        return []
    rows = []
    for name, label in _RECALLS.items():
        n = recall["n"] if name == "recall" else recall["pseudo_n"]
        for k, value in by_depth(recall[name] or {}):
            rows.append(_row(f"{label}{k}", n, value))
    rows += [_row(name.upper() if name == "mrr" else "nDCG@10", recall["n"], recall[name])
             for name in ("mrr", "ndcg@10") if recall[name]]  # fmt: skip
    return rows if whole else [row for row in rows if row["retrieval"] in _FIRST]


def by_depth(values: Mapping[str, Any]) -> list[tuple[int, Any]]:
    """Values by K in the order of numbers, which the names in a file are not."""
    return sorted((int(k), value) for k, value in values.items())


def percent(value: float | None) -> str:
    """A share as percent, one decimal; a dash where there is none.

    >>> percent(0.4567), percent(None)
    ('45.7', '–')
    """
    return "–" if value is None else f"{100 * value:.1f}"


def interval(ci95: Sequence[float] | None) -> str:
    """An interval of shares as percent; "" where there is none.

    >>> interval([0.4, 0.5512])
    '[40.0, 55.1]'
    """
    return "" if ci95 is None else f"[{percent(ci95[0])}, {percent(ci95[1])}]"


def markdown(
    results: Mapping[str, Any], seconds: Seconds | None = None, official: Sequence[Row] = ()
) -> str:
    """Tables of a run and what they were measured on, as Markdown."""
    parts = ["\n".join(f"- {name}: {escaped(value)}" for name, value in said(results))]
    for rows in (answer_rows(results, seconds), official, recall_rows(results)):
        if rows:
            parts.append(markdown_table([{n: escaped(v) for n, v in row.items()} for row in rows]))
    parts += [escaped(note) for note in notes(results)]
    return "\n\n".join(parts) + "\n"


def notes(results: Mapping[str, Any]) -> Iterator[str]:
    """What must be known to read the table of answers; it stands below it."""
    if missing := results.get("missing"):
        yield f"{missing:,} rows are missing: the run is not whole. Go on with it, then report."
    if chosen := results["selection"]:
        dev = chosen["dev"][chosen["best"]]
        yield (
            f"Chosen: {chosen['best']}, on {dev['n']:,} questions ({chosen['slice']}). Accuracy "
            "and differences are of the others, which it was not chosen on."
        )
    for cell in results["cells"]:
        if count := cell.get("closed_book"):
            yield f"{cell['cell']}: {count:,} of {cell['answers']:,} had no document: closed-book."
        if count := cell.get("bem_truncated"):
            yield f"{cell['cell']}: {count:,} answers were cut for BEM, which reads 512 tokens."


def said(results: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What was asked of what: without it no figure can be compared with another."""
    questions = results["questions"]
    yield "questions", f"{questions['name']} · {questions['split']} · n = {questions['n']:,}"
    yield "coverage", _coverage(questions)
    if kb := results["knowledge_base"]:
        unit = f"unit: {kb['unit']}, {kb['with_image']:,} with image"
        counts = f"{kb['documents']:,} documents ({unit}) · {kb['passages']:,} passages"
        yield "knowledge base", f"{kb['name']} · {counts} · {kb['digest'][:16]}"
    if retrieval := results["retrieval"]:
        yield "retrieval", _retrieval(retrieval)
    if reader := results["reader"]:
        settings = ", ".join(f"{n}={v}" for n, v in sorted(reader["settings"].items()))
        yield "reader", f"{reader['name']} ({settings})"
    if results["scorer"]:
        yield "scorer", results["scorer"]["name"]
    if results["filter"] != "none":
        yield "filter", results["filter"]
    yield "versions", ", ".join(f"{n} {v}" for n, v in sorted(results["versions"].items()))


def _coverage(questions: Mapping[str, Any]) -> str:
    parts = [
        f"{questions['n']:,} questions",
        f"{questions['with_image']:,} with their image",
        f"images missing: {questions['missing_images']:,} ({questions['missing']})",
        f"skipped: {questions.get('skipped') or 0:,}",
    ]
    if questions["unanswerable"]:
        parts.append(f"{questions['unanswerable']:,} unanswerable")
    return " · ".join(parts)


def _retrieval(retrieval: Mapping[str, Any]) -> str:
    if retrieval.get("hits"):
        return f"hits of a file ({retrieval['hits'][:16]}) · depth {retrieval['depth']}"
    named = f"{retrieval['retriever']}@{retrieval['revision'] or retrieval['fingerprint'][:16]}"
    parts = [named, f"engine {retrieval['engine']}", f"depth {retrieval['depth']}"]
    if retrieval["instruction"]:
        parts.append(f"instruction: {retrieval['instruction']}")
    if retrieval["where"]:
        parts.append(f"where {retrieval['where']}")
    return " · ".join(parts)


def _answers(results: Mapping[str, Any], cell: Mapping[str, Any], seconds: Seconds) -> Row:
    took, figures = seconds.get(cell["cell"]), reported(results, cell)
    again = f" #{cell['repeat'] + 1}" if cell["repeat"] else ""
    row = {
        "condition": f"{cell['condition']}{again}",
        "k": str(cell["k"]) if cell["condition"] in ("retrieved", "filtered") else "",
        "prompt": cell["template"],
        "filter": results["filter"] if cell["condition"] == "filtered" else "",
        "n": f"{figures['n']:,}",
        "failed": f"{cell['failed']:,}",
        "accuracy %": percent(figures["accuracy"]),
        "95% interval": interval(figures["ci95"]),
        "cites right %": percent(cell["citations"]["correct"]),
        "s/question": f"{sum(took.values()):.3f}" if took else "",
        "tokens in/out": _tokens(cell),
    }
    if results["filter"] == "none":
        del row["filter"]
    if not any(one["citations"]["n"] for one in results["cells"]):
        del row["cites right %"]
    return row


def _tokens(cell: Mapping[str, Any]) -> str:
    """Mean tokens of an answer, also of those that are not scored."""
    n = cell["answers"]
    return f"{cell['tokens_in'] / n:,.0f}/{cell['tokens_out'] / n:,.0f}" if n else ""


def _row(name: str, n: int, value: Mapping[str, Any]) -> Row:
    return {
        "retrieval": name,
        "n": f"{n:,}",
        "%": percent(value["value"]),
        "95% interval": interval(value["ci95"]),
    }


def markdown_table(rows: Sequence[Row]) -> str:
    """Rows under their keys; cells are Markdown already."""
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads)]
    lines += [[row[head] for head in heads] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(text: str) -> str:
    """Text that Markdown, and HTML within it, take for text alone."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))
