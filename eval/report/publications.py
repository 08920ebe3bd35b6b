"""Published figures beside a run's own, where both measured the same.

Knows which facts must agree: knowledge base, split, scorer and number of questions. A fact that was
not published cannot agree, and the table says so. No publication gives a digest of its knowledge
base, so the number of documents must do: a rounded one ("40K") agrees with every number that rounds
to it. Does not know the figures, which the file of each benchmark lists, nor whether they are
right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rag_vqa.eval.report.result_tables import escape_markdown, markdown_table, percent
from rag_vqa.formats.benchmark import BENCHMARKS, Benchmark, PublishedFigure

_NOT_REPORTED = "not published with the figure"


@dataclass(frozen=True, slots=True)
class OwnFigure:
    """A figure of a run beside a published one; `cell` is "" for retrieval."""

    cell: str
    metric: str
    value: float
    n: int
    scorer: str


@dataclass(frozen=True, slots=True)
class FigurePair:
    """A published figure and the run's own.

    Attributes:
        differs: field → what differs, in words; empty if the two are comparable.
    """

    published: PublishedFigure
    own: OwnFigure
    differs: Mapping[str, str]


def published_figures() -> list[PublishedFigure]:
    """The published figures of all benchmarks."""
    return [figure for benchmark in BENCHMARKS.entries() for figure in benchmark.published]


def compare_with_published(
    results: Mapping[str, Any], figures: Sequence[PublishedFigure] | None = None
) -> list[FigurePair]:
    """Pairs of each published figure on the run's benchmark and the run's own of that metric.

    Args:
        figures: use these figures instead of the registered ones.
    """
    questions, kb = results["questions"], results["knowledge_base"]
    benchmark = BENCHMARKS.find(questions["name"].partition("/")[0])
    pairs = []
    for figure in published_figures() if figures is None else figures:
        if figure.benchmark != questions["name"]:
            continue
        for own in _own_figures(results, figure, benchmark):
            documents = kb["documents"] if kb else None
            differs = dict(_differences(figure, own, questions["split"], documents))
            if own.cell and results["selection"] and own.cell == results["selection"]["best"]:
                differs["choice"] = "ours was chosen on a part of these questions"
            pairs.append(FigurePair(figure, own, differs))
    return pairs


def published_markdown(pairs: Sequence[FigurePair]) -> str:
    """Two Markdown tables: comparable pairs, and the others with the field that differs."""
    parts = []
    for title, group in group_by_comparability(pairs):
        parts += [f"\n**{title}**\n", markdown_table([_pair_row(pair) for pair in group]), ""]
    return "\n".join(parts)


def group_by_comparability(pairs: Sequence[FigurePair]) -> list[tuple[str, list[FigurePair]]]:
    """Titles and pairs: comparable ones, then the others; without empty groups."""
    same = [pair for pair in pairs if not pair.differs]
    other = [pair for pair in pairs if pair.differs]
    titled = [("Published, comparable", same), ("Published, not comparable", other)]
    return [(title, group) for title, group in titled if group]


def pairs_as_json(pairs: Sequence[FigurePair]) -> list[dict[str, Any]]:
    """The pairs as JSON objects, with "comparable"."""
    return [{**asdict(pair), "comparable": not pair.differs} for pair in pairs]


def _differences(
    figure: PublishedFigure, own: OwnFigure, split: str, documents: int | None
) -> Iterator[tuple[str, str]]:
    if figure.condition != "none":
        if figure.documents is None:
            yield "knowledge base", _NOT_REPORTED
        elif documents is None or not figure.documents[0] <= documents <= figure.documents[1]:
            ours = "none" if documents is None else f"{documents:,}"
            yield "knowledge base", f"{figure.documents_text} documents, ours {ours}"
    facts: tuple[tuple[str, object, object], ...] = (
        ("split", figure.split, split),
        ("scorer", figure.scorer, own.scorer),
        ("n", figure.n, own.n),
    )
    for field, theirs, mine in facts:
        if theirs is None:
            yield field, _NOT_REPORTED
        elif theirs != mine:
            yield field, f"{theirs}, ours {mine}"


def _own_figures(
    results: Mapping[str, Any], figure: PublishedFigure, benchmark: Benchmark | None
) -> Iterator[OwnFigure]:
    """The run's own figures of that metric: one for retrieval, one for each cell for answers."""
    if figure.condition == "retrieval":
        name, _, k = figure.metric.partition("@")
        recall = results["recall"] or {}
        value = (recall.get(name) or {}).get(k)
        if value:
            n = recall["n"] if name == "recall" else recall["pseudo_n"]
            yield OwnFigure("", figure.metric, value["value"], n, figure.metric)
        return
    for cell in results["cells"]:
        if cell["condition"] == figure.condition and not cell["repeat"]:
            n, value = _reported_accuracy(cell, figure.metric, benchmark)
            if n and value is not None:
                scorer = results["scorer"]["name"]
                yield OwnFigure(cell["cell"], figure.metric, value, n, scorer)


def _reported_accuracy(
    cell: Mapping[str, Any], metric: str, benchmark: Benchmark | None
) -> tuple[int, float | None]:
    """n and accuracy of those questions that a published metric covers."""
    if benchmark is not None and benchmark.reported_accuracy is not None:
        return benchmark.reported_accuracy(cell, metric)
    return (cell["n"], cell["accuracy"]) if metric == "all" else (0, None)


def _pair_row(row: FigurePair) -> dict[str, str]:
    differs = "; ".join(f"{field}: {what}" for field, what in row.differs.items())
    return {
        "system": escape_markdown(row.published.system),
        "metric": row.published.metric,
        "published %": percent(row.published.value),
        "ours": escape_markdown(row.own.cell or "retrieval"),
        "ours %": percent(row.own.value),
        **(
            {"differs": escape_markdown(differs)}
            if differs
            else {"source": escape_markdown(row.published.source)}
        ),
    }
