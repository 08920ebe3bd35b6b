"""report.html of a run: one file that needs no other file and no network.

Knows the parts of the page, and which failures it shows: some of each cause, always the same ones,
with small pictures. Does not know how figures or plots are made. The template escapes all text; a
hash names the page's only script, so that a browser runs no other.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rag_vqa import images
from rag_vqa.errors import BadInput, Missing
from rag_vqa.eval.report import publications, result_tables
from rag_vqa.eval.report.plots import draw_plots
from rag_vqa.eval.report.question_view import AnswerView, answer_view, question_picture
from rag_vqa.eval.report.result_tables import official_rows
from rag_vqa.eval.results.judgement import Cause, judged_answers, stored_cells
from rag_vqa.eval.results.result_files import (
    Seconds,
    read_results,
    reported_figures,
    scorer_name,
    seconds_per_question,
)
from rag_vqa.eval.run.ledger import Ledger
from rag_vqa.eval.run.spec import Cell
from rag_vqa.storage import atomic

FAILURES_SHOWN = 200  # failures on a page: about 5 MB of pictures
_THUMBNAIL_SIDE = 320  # pixels
_PROMPT_CHARACTERS = 6000  # 200 long prompts would make a page that no phone opens
_FailurePlace = tuple[int, Cell]
REPORT_FILE = "report.html"
_TEMPLATES = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Failure:
    """A wrong answer as the page shows it.

    Attributes:
        picture: a data URI of a small copy of the picture, without metadata; "" if there is none.
        no_picture: why there is none.
        prompt: the first characters of the prompt.
        cut: number of characters that are left out.
        others: cell, answer and whether it is right, of the same question in the other cells.
    """

    view: AnswerView
    picture: str
    no_picture: str
    prompt: str
    cut: int
    others: Sequence[tuple[str, str, bool]]


def page_failures(ledger: Ledger, scorer: str, count: int = FAILURES_SHOWN) -> Iterator[Failure]:
    """The failures that the page shows, in the order of the questions."""
    cells = [cell for cell in stored_cells(ledger) if not cell.repeat]
    for position, cell in choose_failures(ledger, scorer, cells, count):
        yield _view_failure(ledger, scorer, position, cell, cells)


def choose_failures(
    ledger: Ledger, scorer: str, cells: Sequence[Cell], count: int
) -> list[_FailurePlace]:
    """Up to `count` failures, evenly from each cause of each cell.

    A hash of the question's id decides which ones of a cause are taken, so that a page that is
    written again shows the same failures.
    """
    strata: dict[tuple[str, str], list[tuple[int, int, Cell]]] = {}
    for cell in cells:
        for row in judged_answers(ledger, cell, scorer):
            if row.cause:
                heap = strata.setdefault((row.cause, cell.name), [])
                # Negative: the heap drops its smallest item first.
                heapq.heappush(heap, (-_draw_number(row.example.id), row.position, cell))
                if len(heap) > count:
                    heapq.heappop(heap)
    queues = [sorted(heap, key=lambda item: -item[0]) for _, heap in sorted(strata.items())]
    taken: list[_FailurePlace] = []
    for turn in range(max(map(len, queues), default=0)):
        taken += [(queue[turn][1], queue[turn][2]) for queue in queues if turn < len(queue)]
    order = {cell: number for number, cell in enumerate(cells)}
    # Failures without evidence come last: there is little to learn from them.
    return sorted(
        taken[:count], key=lambda place: (place[1].condition == "none", place[0], order[place[1]])
    )


def count_errors(ledger: Ledger) -> list[tuple[str, str, int]]:
    """Cell or stage, error and count of the 20 most frequent errors."""
    errors: Counter[tuple[str, str]] = Counter()
    for cell, error, count in ledger.rows(
        "SELECT cell, error, count(*) FROM failed GROUP BY cell, error"
    ):
        errors[cell, error] = count
    return [(cell, error, count) for (cell, error), count in errors.most_common(20)]


def thumbnail(path: Path | None, missing: str = "") -> tuple[str, str]:
    """A data URI of a picture of at most 320 pixels a side, or "" and why there is none."""
    if path is None:
        return "", f"{missing} is missing" if missing else "no picture"
    try:
        image = images.load(path)
    except (BadInput, Missing) as error:
        return "", str(error)
    image.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    data = base64.b64encode(images.encode(image, "JPEG")).decode("ascii")
    return f"data:image/jpeg;base64,{data}", ""


def _view_failure(
    ledger: Ledger, scorer: str, position: int, cell: Cell, cells: Sequence[Cell]
) -> Failure:
    view = answer_view(ledger, cell, position)
    if view.answer is None:
        raise RuntimeError(f"position {position} of {cell.name} has no answer")
    picture, reason = thumbnail(question_picture(view.answer.example), view.answer.example.missing)
    others = [
        (other.name, row.answer["prediction"], not row.cause)
        for other in cells
        if other != cell
        for row in judged_answers(ledger, other, scorer, position)
    ]
    cut = max(0, len(view.prompt) - _PROMPT_CHARACTERS)
    return Failure(view, picture, reason, view.prompt[:_PROMPT_CHARACTERS], cut, others)


def _draw_number(identity: str) -> int:
    data = identity.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def write_report(folder: Path) -> Path:
    """Write report.html of a finished run; return its path.

    Raises:
        Missing: the run is not scored yet.
    """
    results = read_results(folder)
    with Ledger(folder) as ledger:
        page = _render_page(folder, results, ledger)
    path = folder / REPORT_FILE
    unfinished = path.with_name(f"{REPORT_FILE}.begun")
    atomic.write_file(path, page.encode("utf-8", "backslashreplace"), partial=unfinished)
    return path


def _render_page(folder: Path, results: dict[str, Any], ledger: Ledger) -> str:
    seconds = seconds_per_question(ledger)
    failures = list(page_failures(ledger, scorer_name(ledger))) if results["cells"] else []
    first = [cell for cell in results["cells"] if not cell["repeat"]]
    pictures, no_pictures = _draw_plots(results, seconds)
    pairs = publications.compare_with_published(results)
    script = (_TEMPLATES / "report.js").read_text("utf-8")
    return _environment().get_template("report.jinja").render(
        run=folder.resolve().name,
        results=results,
        setup=list(result_tables.setup_lines(results)),
        cells=[
            (reported_figures(results, cell), row)
            for cell, row in zip(
                results["cells"], result_tables.answer_rows(results, seconds), strict=True
            )
        ],
        notes=list(result_tables.table_notes(results)),
        official=official_rows(results),
        recall=result_tables.recall_rows(results),
        plots=[(title, Markup(svg)) for title, svg in pictures],
        no_plots=no_pictures,
        causes=_causes_present(first),
        first=first,
        published=publications.group_by_comparability(pairs),
        not_answered=count_errors(ledger),
        failures=failures,
        wrong=sum(sum(cell["causes"].values()) for cell in first),
        style=Markup((_TEMPLATES / "report.css").read_text("utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )  # fmt: skip


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "percent": result_tables.percent,
        "interval": result_tables.interval,
        "quoted": shlex.quote,
    }
    return made


def _draw_plots(results: Mapping[str, Any], seconds: Seconds) -> tuple[list[tuple[str, str]], str]:
    """The plots and ""; or no plots, and what to install for them."""
    try:
        return draw_plots(results, seconds), ""
    except Missing as error:
        return [], str(error)


def _causes_present(cells: list[Any]) -> list[str]:
    """The causes that occur in any cell, in the order of `Cause`."""

    return [cause for cause in get_args(Cause) if any(cause in cell["causes"] for cell in cells)]
