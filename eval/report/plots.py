"""Plots of a run's figures, as SVG for the page.

Knows matplotlib and what is drawn. Does not know the page. Text takes the page's colour. Labels
come from benchmarks: formulas in them are not evaluated; characters without a glyph become a box.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rag_vqa.errors import Missing
from rag_vqa.eval.report.result_tables import by_depth
from rag_vqa.eval.results.result_files import STAGES, Seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which most colour-blind people can distinguish, slightly darkened or
# lightened where they are faint on white or on black.
COLOURS = ("#2f86c5", "#e08a00", "#12a078", "#c765a1", "#7f8c9a", "#d1603d", "#5aa9d6", "#b59a2b")
MOST_CELLS = 6  # cells in one plot
_INK = "#010203"  # stands for the colour of the page's text
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: selectable, and in the page's font
    "svg.hashsalt": "rag-vqa",  # the same bytes each time
    "text.parse_math": False,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
Draw = Callable[["Axes"], None]


def draw_plots(results: Mapping[str, Any], seconds: Seconds) -> list[tuple[str, str]]:
    """Title and SVG of each plot that has data.

    Raises:
        Missing: matplotlib is not installed.
    """
    cells = [cell for cell in results["cells"] if cell["n"] and not cell["repeat"]]
    plots: list[tuple[str, str]] = []

    if results["recall"]:
        plots.append(("Recall over K", _svg(_recall_plot(results["recall"]))))
    kinds = sorted({kind for cell in cells for kind in cell["by_kind"]})
    if kinds:
        title = f"Accuracy by question type{_first_rows_note(cells)}"
        plots.append((title, _svg(_kind_plot(cells[:MOST_CELLS], kinds), len(kinds) * 0.32 + 1.3)))
    ranked = [cell for cell in cells if cell["condition"] in ("retrieved", "filtered")]
    if ranked:
        title = f"Accuracy against the rank of the first gold document{_first_rows_note(ranked)}"
        plots.append((title, _svg(_rank_plot(ranked[:MOST_CELLS]))))
    timed = {cell["cell"]: seconds[cell["cell"]] for cell in cells if seconds.get(cell["cell"])}
    if timed:
        plots.append(("Seconds per question", _svg(_latency_plot(timed), len(timed) * 0.3 + 1.2)))
    return plots


def _first_rows_note(cells: Sequence[Mapping[str, Any]]) -> str:
    return f" · the first {MOST_CELLS} of {len(cells)} rows" if len(cells) > MOST_CELLS else ""


def _svg(draw: Draw, height: float = 0) -> str:
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise Missing("Plots need matplotlib: pip install 'rag-vqa[report]'") from error
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.2, max(2.9, height)), facecolor="none")
        FigureCanvasSVG(figure)  # opens no window, whatever the machine's settings are
        axes = figure.add_subplot(facecolor="none")
        draw(axes)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata=nothing)
    svg = written.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")


def label(text: str, most: int = 34) -> str:
    """A text as a label: one line of at most `most` characters; a box for those without a glyph."""
    line = " ".join(text.split())
    line = line if len(line) <= most else f"{line[: most - 1]}…"
    return "".join(c if (c.isprintable() and ord(c) < 0x530) or c in "…–" else "□" for c in line)


def _percent_axis(axes: Axes, direction: str) -> None:
    from matplotlib.ticker import PercentFormatter

    axis = axes.yaxis if direction == "y" else axes.xaxis
    axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=None))
    axes.grid(axis="y" if direction == "y" else "x", color=_INK, alpha=0.12, linewidth=0.8)
    axes.set_axisbelow(True)


def _recall_plot(recall: Mapping[str, Any]) -> Draw:
    def draw(axes: Axes) -> None:
        names = {
            "recall": "recall (any gold document)",
            "pseudo": "pseudo-recall (answer in text)",
        }
        ticks: set[int] = set()
        for (name, text), colour in zip(names.items(), COLOURS, strict=False):
            if not recall[name]:
                continue
            depths, values = zip(*by_depth(recall[name]), strict=True)
            ticks |= set(depths)
            axes.plot(depths, [v["value"] for v in values], "o-", color=colour, label=text,
                      markersize=4)  # fmt: skip
            if all(v["ci95"] for v in values):
                low, high = zip(*(v["ci95"] for v in values), strict=True)
                axes.fill_between(depths, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.set_xscale("log")
        axes.set_xticks(sorted(ticks), [str(k) for k in sorted(ticks)])
        axes.minorticks_off()
        axes.set(xlabel="K", ylabel="%", ylim=(0, 1.03))
        _percent_axis(axes, "y")
        axes.legend(loc="lower right")

    return draw


def _kind_plot(cells: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> Draw:
    def draw(axes: Axes) -> None:
        wide = 0.8 / len(cells)
        for row, (cell, colour) in enumerate(zip(cells, COLOURS, strict=False)):
            bars = [(i, cell["by_kind"][k]) for i, k in enumerate(kinds) if k in cell["by_kind"]]
            places = [i - 0.4 + wide * (row + 0.5) for i, _ in bars]
            values = [value["accuracy"] for _, value in bars]
            ranges = [value["ci95"] or [value["accuracy"]] * 2 for _, value in bars]
            errors = [[v - b[0] for v, b in zip(values, ranges, strict=True)],
                      [b[1] - v for v, b in zip(values, ranges, strict=True)]]  # fmt: skip
            axes.barh(places, values, wide * 0.9, color=colour, label=label(cell["cell"]))
            axes.errorbar(values, places, xerr=errors, fmt="none", ecolor=_INK, elinewidth=0.8)
        counts = {k: max(c["by_kind"].get(k, {"n": 0})["n"] for c in cells) for k in kinds}
        axes.set_yticks(range(len(kinds)), [f"{label(k, 24)}  n={counts[k]:,}" for k in kinds])
        axes.invert_yaxis()
        axes.set(xlim=(0, 1.0), xlabel="accuracy, %, with 95% interval")
        _percent_axis(axes, "x")
        _legend(axes)

    return draw


def _rank_plot(cells: Sequence[Mapping[str, Any]]) -> Draw:
    def draw(axes: Axes) -> None:
        ranks = sorted(cells[0]["by_rank"], key=_first_number)
        for cell, colour in zip(cells, COLOURS, strict=False):
            ranked = [(i, cell["by_rank"][rank]) for i, rank in enumerate(ranks)]
            points = [(i, value) for i, value in ranked if value["n"]]
            axes.plot([i for i, _ in points], [value["accuracy"] for _, value in points], "o-",
                      color=colour, label=label(cell["cell"]), markersize=4)  # fmt: skip
        counts = [cells[0]["by_rank"][rank]["n"] for rank in ranks]
        axes.set_xticks(range(len(ranks)),
                        [f"{r}\nn={n:,}" for r, n in zip(ranks, counts, strict=True)])  # fmt: skip
        axes.set(ylim=(-0.03, 1.03), ylabel="accuracy, %")
        _percent_axis(axes, "y")
        _legend(axes)

    return draw


def _first_number(rank: str) -> float:
    """The first number of "4-5" or "11+"; infinity for "not found", which comes last."""
    digits = re.match(r"\d+", rank)
    return float(digits[0]) if digits else math.inf


def _latency_plot(timed: Mapping[str, Mapping[str, float]]) -> Draw:
    def draw(axes: Axes) -> None:
        left = [0.0] * len(timed)
        for stage, colour in zip(STAGES, COLOURS, strict=False):
            values = [stages.get(stage, 0.0) for stages in timed.values()]
            if any(values):
                axes.barh(range(len(timed)), values, 0.62, left, color=colour, label=stage)
            left = [a + b for a, b in zip(left, values, strict=True)]
        axes.set_yticks(range(len(timed)), [label(name) for name in timed])
        axes.invert_yaxis()
        axes.set(xlabel="seconds")
        axes.grid(axis="x", color=_INK, alpha=0.12, linewidth=0.8)
        axes.set_axisbelow(True)
        _legend(axes, len(STAGES))

    return draw


def _legend(axes: Axes, columns: int = 2) -> None:
    """Put the legend above the plot, where it hides nothing."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2)
