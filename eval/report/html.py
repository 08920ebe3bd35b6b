"""report.html of a run: one file that needs no other, and no network.

Knows which parts the page has and how they become text. Does not know figures or pictures. All
text of others goes through the template's escaping; the page's one script is named by its hash,
so that a browser would run no other.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rag_vqa.errors import Missing
from rag_vqa.eval.report import failures, published, tables
from rag_vqa.eval.report.official import official_rows
from rag_vqa.eval.report.plots import plots
from rag_vqa.eval.report.reading import Seconds, read_results, scorer_of, seconds_of
from rag_vqa.eval.results.causes import Cause
from rag_vqa.eval.results.gate import reported
from rag_vqa.eval.run.ledger import Ledger

FILE = "report.html"
_HERE = Path(__file__).parent


def write_report(folder: Path) -> Path:
    """Write report.html of a finished run anew; its path.

    Raises:
        Missing: the run is not finished.
    """
    results = read_results(folder)
    with Ledger(folder) as ledger:
        page = _page(folder, results, ledger)
    path = folder / FILE
    begun = path.with_name(f"{FILE}.begun")
    begun.write_bytes(page.encode("utf-8", "backslashreplace"))
    begun.replace(path)
    return path


def _page(folder: Path, results: dict[str, Any], ledger: Ledger) -> str:
    seconds = seconds_of(ledger)
    shown = list(failures.failures(ledger, scorer_of(ledger))) if results["cells"] else []
    first = [cell for cell in results["cells"] if not cell["repeat"]]
    pictures, no_pictures = _plots(results, seconds)
    script = (_HERE / "report.js").read_text("utf-8")
    return _environment().get_template("report.jinja").render(
        run=folder.resolve().name,
        results=results,
        said=list(tables.said(results)),
        cells=[
            (reported(results, cell), row)
            for cell, row in zip(
                results["cells"], tables.answer_rows(results, seconds), strict=True
            )
        ],
        notes=list(tables.notes(results)),
        official=official_rows(results),
        recall=tables.recall_rows(results),
        plots=[(title, Markup(svg)) for title, svg in pictures],
        no_plots=no_pictures,
        causes=_causes(first),
        first=first,
        published=published.split(published.beside(results)),
        not_answered=failures.not_answered(ledger),
        failures=shown,
        wrong=sum(sum(cell["causes"].values()) for cell in first),
        style=Markup((_HERE / "report.css").read_text("utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )  # fmt: skip


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"percent": tables.percent, "interval": tables.interval, "quoted": shlex.quote}
    return made


def _plots(results: Mapping[str, Any], seconds: Seconds) -> tuple[list[tuple[str, str]], str]:
    """The pictures; or none, and what to install."""
    try:
        return plots(results, seconds), ""
    except Missing as error:
        return [], str(error)


def _causes(cells: list[Any]) -> list[str]:
    """Causes that any cell has, in the order in which they are looked for."""
    return [cause for cause in get_args(Cause) if any(cause in cell["causes"] for cell in cells)]
