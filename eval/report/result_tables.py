"""Tables of a run, for a terminal and in Markdown for a paper.

Knows columns and number formats, also of the figures by which each benchmark compares systems.
Those are always of all answered questions, even if a cell was chosen on some of them. Does not know
how figures are computed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rag_vqa.eval.results.result_files import Seconds, reported_figures
from rag_vqa.eval.scorers import find_benchmark
from rag_vqa.formats.benchmark import OfficialFigure

Row = dict[str, str]
_RECALLS = {"recall": "recall@", "pseudo": "pseudo-recall@"}
_SHORT_LIST = ("recall@1", "recall@5", "recall@10", "pseudo-recall@5", "MRR")
_MARKDOWN_SIGNS = re.compile(r"([\\`*_\[\]<>|~#$])")


def answer_rows(results: Mapping[str, Any], seconds: Seconds | None = None) -> list[Row]:
    """One row for each cell: condition, number of questions, accuracy and cost."""
    return [_answer_row(results, cell, seconds or {}) for cell in results["cells"]]


def recall_rows(results: Mapping[str, Any], detailed: bool = True) -> list[Row]:
    """One row for each retrieval metric; empty if nothing was searched.

    Args:
        detailed: every metric at every K; else the most common ones.
    """
    recall = results["recall"]
    if not recall:
        return []
    rows = []
    for name, label in _RECALLS.items():
        n = recall["n"] if name == "recall" else recall["pseudo_n"]
        for k, value in by_depth(recall[name] or {}):
            rows.append(_metric_row(f"{label}{k}", n, value))
    rows += [_metric_row(name.upper() if name == "mrr" else "nDCG@10", recall["n"], recall[name])
             for name in ("mrr", "ndcg@10") if recall[name]]  # fmt: skip
    return rows if detailed else [row for row in rows if row["retrieval"] in _SHORT_LIST]


def by_depth(values: Mapping[str, Any]) -> list[tuple[int, Any]]:
    """(K, value) in numerical order; the keys of a JSON file are in alphabetical order."""
    return sorted((int(k), value) for k, value in values.items())


def percent(value: float | None) -> str:
    """A share in percent with one decimal; a dash for None.

    >>> percent(0.4567), percent(None)
    ('45.7', '–')
    """
    return "–" if value is None else f"{100 * value:.1f}"


def interval(ci95: Sequence[float] | None) -> str:
    """An interval of shares in percent; "" for None.

    >>> interval([0.4, 0.5512])
    '[40.0, 55.1]'
    """
    return "" if ci95 is None else f"[{percent(ci95[0])}, {percent(ci95[1])}]"


def results_markdown(
    results: Mapping[str, Any], seconds: Seconds | None = None, official: Sequence[Row] = ()
) -> str:
    """The set-up and the tables of a run, as Markdown."""
    parts = [
        "\n".join(f"- {name}: {escape_markdown(value)}" for name, value in setup_lines(results))
    ]
    for rows in (answer_rows(results, seconds), official, recall_rows(results)):
        if rows:
            parts.append(
                markdown_table([{n: escape_markdown(v) for n, v in row.items()} for row in rows])
            )
    parts += [escape_markdown(note) for note in table_notes(results)]
    return "\n\n".join(parts) + "\n"


def table_notes(results: Mapping[str, Any]) -> Iterator[str]:
    """Notes below the table of answers that a reader needs to understand it."""
    if missing := results.get("missing"):
        yield f"{missing:,} rows are missing: the run is incomplete. Resume it, then report."
    if selection := results["selection"]:
        dev = selection["dev"][selection["best"]]
        yield (
            f"Best cell: {selection['best']}, chosen on {dev['n']:,} questions "
            f"({selection['slice']}). Accuracy and differences are over the other questions."
        )
    for cell in results["cells"]:
        if count := cell.get("closed_book"):
            yield (
                f"{cell['cell']}: {count:,} of {cell['answers']:,} were answered closed-book, for "
                "lack of documents."
            )
        if count := cell.get("bem_truncated"):
            yield f"{cell['cell']}: {count:,} answers were cut for BEM, which reads 512 tokens."


def setup_lines(results: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and values of the set-up, which must agree before two figures are compared."""
    questions = results["questions"]
    yield "questions", f"{questions['name']} · {questions['split']} · n = {questions['n']:,}"
    yield "coverage", _coverage_line(questions)
    if kb := results["knowledge_base"]:
        unit = f"unit: {kb['unit']}, {kb['with_image']:,} with image"
        counts = f"{kb['documents']:,} documents ({unit}) · {kb['passages']:,} passages"
        yield "knowledge base", f"{kb['name']} · {counts} · {kb['digest'][:16]}"
    if retrieval := results["retrieval"]:
        yield "retrieval", _retrieval_line(retrieval)
    if reader := results["reader"]:
        settings = ", ".join(f"{n}={v}" for n, v in sorted(reader["settings"].items()))
        yield "reader", f"{reader['name']} ({settings})"
    if results["scorer"]:
        yield "scorer", results["scorer"]["name"]
    if results["filter"] != "none":
        yield "filter", results["filter"]
    yield "versions", ", ".join(f"{n} {v}" for n, v in sorted(results["versions"].items()))


def _coverage_line(questions: Mapping[str, Any]) -> str:
    parts = [
        f"{questions['n']:,} questions",
        f"{questions['with_image']:,} with their image",
        f"images missing: {questions['missing_images']:,} ({questions['missing']})",
        f"skipped: {questions.get('skipped') or 0:,}",
    ]
    if questions["unanswerable"]:
        parts.append(f"{questions['unanswerable']:,} unanswerable")
    return " · ".join(parts)


def _retrieval_line(retrieval: Mapping[str, Any]) -> str:
    if retrieval.get("hits"):
        return f"hits of a file ({retrieval['hits'][:16]}) · depth {retrieval['depth']}"
    revision = f"{retrieval['retriever']}@{retrieval['revision'] or retrieval['fingerprint'][:16]}"
    parts = [revision, f"engine {retrieval['engine']}", f"depth {retrieval['depth']}"]
    if retrieval["instruction"]:
        parts.append(f"instruction: {retrieval['instruction']}")
    if retrieval["where"]:
        where = retrieval["where"]
        parts.append(f"where {', '.join(where) if isinstance(where, list) else where}")
    return " · ".join(parts)


def _answer_row(results: Mapping[str, Any], cell: Mapping[str, Any], seconds: Seconds) -> Row:
    stages, figures = seconds.get(cell["cell"]), reported_figures(results, cell)
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
        "s/question": f"{sum(stages.values()):.3f}" if stages else "",
        "tokens in/out": _mean_tokens(cell),
    }
    if results["filter"] == "none":
        del row["filter"]
    if not any(one["citations"]["n"] for one in results["cells"]):
        del row["cites right %"]
    return row


def _mean_tokens(cell: Mapping[str, Any]) -> str:
    """Mean tokens of all answers, scored or not."""
    n = cell["answers"]
    return f"{cell['tokens_in'] / n:,.0f}/{cell['tokens_out'] / n:,.0f}" if n else ""


def _metric_row(name: str, n: int, value: Mapping[str, Any]) -> Row:
    return {
        "retrieval": name,
        "n": f"{n:,}",
        "%": percent(value["value"]),
        "95% interval": interval(value["ci95"]),
    }


def markdown_table(rows: Sequence[Row]) -> str:
    """A Markdown table with the keys as its head; the cells hold Markdown already."""
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads)]
    lines += [[row[head] for head in heads] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape_markdown(text: str) -> str:
    """Escape text so that Markdown, and HTML in it, show it as it is."""

    return _MARKDOWN_SIGNS.sub(r"\\\1", " ".join(text.split()))


def official_rows(results: Mapping[str, Any], detailed: bool = True) -> list[Row]:
    """The figures by which the benchmark compares systems, one row a cell; a dash if no question
    counts.

    Args:
        detailed: with the figures of each type of question.
    """
    scorer = results["questions"]["scorer"]
    figures_of = find_benchmark(scorer).official_figures if results["cells"] else None
    if figures_of is None:
        return []
    rows = [
        (
            cell["cell"],
            [one for one in figures_of(cell["official"]) if detailed or not one.is_detail],
        )
        for cell in results["cells"]
        if cell["n"] and cell["official"]
    ]
    heads = dict.fromkeys(figure.name for _, figures in rows for figure in figures)
    missing = dict.fromkeys(heads, percent(None))
    return [
        {"official, %": name} | missing | {one.name: _official_text(one) for one in figures}
        for name, figures in rows
        if heads
    ]


def _official_text(figure: OfficialFigure) -> str:
    return percent(None) if figure.percent is None else f"{figure.percent:.{figure.decimals}f}"
