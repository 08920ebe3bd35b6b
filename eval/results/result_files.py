"""Result files of a run, written and read.

They are results.json, answers.jsonl, timings.jsonl and failures.jsonl. Knows what each file
holds, the names of its figures, and thresholds on them. Only timings.jsonl holds times: the other
files are the same bytes whether a run was interrupted or not. Does not know how a figure is
computed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.eval.results.judgement import (
    JudgedAnswer,
    all_judged_answers,
    has_answer,
    score_answers,
    scored_answers,
    stored_cells,
)
from rag_vqa.eval.results.run_statistics import (
    RECALL_DEPTHS,
    Tally,
    measure_retrieval,
    paired_differences,
    select_cell,
)
from rag_vqa.eval.run.ledger import (
    RETRIEVAL_STAGE,
    Ledger,
    canonical_json,
    count_missing,
    example_from_json,
)
from rag_vqa.eval.run.spec import Cell
from rag_vqa.formats.benchmark import Scorer
from rag_vqa.storage import atomic

RESULTS, ANSWERS, TIMINGS, FAILURES = (
    "results.json", "answers.jsonl", "timings.jsonl", "failures.jsonl",
)  # fmt: skip
DEV_SHARE = 0.2  # share of the groups on which the best cell of a grid is chosen
RESULTS_SCHEMA = 1  # version of results.json
STAGES = ("retrieve", "select", "build", "read")  # in the order in which a question passes them
# Seconds per question, by cell and stage; stages that a cell does not pass are missing.
Seconds: TypeAlias = Mapping[str, Mapping[str, float]]
_ANSWER_FIGURES = ("accuracy", "citations", "abstention_precision", "abstention_recall")
_RETRIEVAL_FIGURES = ("recall", "share", "pseudo")
THRESHOLD_NAMES = {
    *_ANSWER_FIGURES,
    "mrr",
    "ndcg@10",
    *(f"{name}@{k}" for name in _RETRIEVAL_FIGURES for k in RECALL_DEPTHS),
}
_MAIN_CONDITIONS = ("filtered", "retrieved", "oracle", "none")  # the first of them is the main cell


def write_results(
    ledger: Ledger,
    scorer: Scorer | None,
    dev: float = DEV_SHARE,
    on_progress: Callable[[int], object] | None = None,
) -> dict[str, Any]:
    """Score all answers, write all files, return the contents of results.json.

    Args:
        scorer: None if nothing is answered, or the benchmark has no answers.
        dev: share of the groups on which the best cell of a grid is chosen.
    """
    if scorer is not None:
        score_answers(ledger, scorer, on_progress)
        ledger.set_meta("scorer", scorer.name)
    folder = ledger.folder
    tallies = [] if scorer is None else [Tally(cell) for cell in stored_cells(ledger)]
    _write_lines(folder / ANSWERS, _answer_lines(ledger, scorer, tallies))
    results = collect_results(ledger, scorer, tallies, dev)
    _write_lines(
        folder / RESULTS, [json.dumps(results, ensure_ascii=False, indent=1, sort_keys=True)]
    )
    _write_lines(folder / FAILURES, _failure_lines(ledger))
    _write_lines(folder / TIMINGS, _timing_lines(ledger))
    return results


def collect_results(
    ledger: Ledger, scorer: Scorer | None, tallies: Sequence[Tally], dev: float
) -> dict[str, Any]:
    """The contents of results.json. The tallies have counted all answers."""
    spec = ledger.meta("spec")
    entries = []
    if scorer is not None:
        for tally in tallies:
            official = dict(scorer.summary(scored_answers(ledger, tally.cell, scorer.name)))
            entries.append(
                tally.result(_count_of_cell(ledger, "failed", tally.cell.name), official)
            )
    selection = select_cell(tallies, dev)
    documents = ledger.meta("documents", {})
    kb = spec["knowledge_base"]
    retrieval = spec["retrieval"]
    return {
        "schema": 1,
        "questions": {**spec["questions"], **_coverage(ledger)},
        "knowledge_base": kb and {**kb, **_document_unit(documents)},
        "retrieval": retrieval,
        "reader": spec["reader"],
        "filter": spec["filter"],
        "scorer": None if scorer is None else {"name": scorer.name},
        "versions": {**spec["versions"], "machine": spec["machine"]},
        "dropped": _dropped_metrics(ledger),
        "missing": count_missing(ledger),
        "failed_retrieval": _count_of_cell(ledger, "failed", RETRIEVAL_STAGE),
        "recall": measure_retrieval(ledger, retrieval["depth"]) if retrieval else None,
        "cells": entries,
        "selection": selection,
        "paired": paired_differences(tallies, selection),
        "repeats": _repeat_changes(ledger) or None,
    }


def _coverage(ledger: Ledger) -> dict[str, int]:
    query = """SELECT count(*), count(json_extract(body, '$.query.image')),
        count(json_extract(body, '$.missing')), count(json_extract(body, '$.unanswerable'))
        FROM examples"""
    n, images, missing, unanswerable = next(ledger.rows(query))
    return {
        "n": n, "with_image": images, "missing_images": missing, "unanswerable": unanswerable,
        "skipped": ledger.meta("skipped", 0),
    }  # fmt: skip


def _dropped_metrics(ledger: Ledger) -> dict[str, str]:
    """Metrics that cannot be computed for all questions, with the number of missing fields."""
    query = """SELECT count(*),
        sum(json_extract(body, '$.answers') IS NULL AND json_extract(body, '$.references') IS NULL
            AND json_extract(body, '$.unanswerable') IS NULL),
        sum(json_extract(body, '$.relevant') IS NULL),
        sum(json_extract(body, '$.unanswerable') IS NOT NULL) FROM examples"""
    [(n, no_answer, no_gold, unanswerable)] = ledger.rows(query)
    dropped = {}
    if no_answer:
        dropped["accuracy"] = f"{no_answer:,} of {n:,} questions have no answers"
    if no_gold:
        dropped["recall, citations"] = f"{no_gold:,} of {n:,} questions name no documents"
    if not unanswerable:
        dropped["abstention"] = "no question is marked as unanswerable"
    return dropped


def _document_unit(documents: dict[str, int]) -> dict[str, Any]:
    """The unit of a document: a section if most documents belong to a page, an entity or alike."""
    whole, parts = documents.get("documents", 0), documents.get("with parent", 0)
    unit = "section" if parts * 2 > whole else "document"
    return {"unit": unit, "with_image": documents.get("with image", 0)}


def _count_of_cell(ledger: Ledger, table: str, cell: str) -> int:
    [(count,)] = ledger.rows(f"SELECT count(*) FROM {table} WHERE cell = ?", (cell,))
    return int(count)


def _repeat_changes(ledger: Ledger) -> list[dict[str, Any]]:
    """The share of questions whose answer changed, for each cell that was answered again."""
    changes = []
    query = """SELECT count(*), count(DISTINCT CASE WHEN json_extract(a.body, '$.prediction')
        <> json_extract(b.body, '$.prediction') THEN a.position END)
        FROM answers a JOIN answers b USING (position) WHERE a.cell = ? AND b.cell = ?"""
    for cell in stored_cells(ledger):
        if cell.repeat:
            first = Cell(cell.condition, cell.k, cell.template)
            [(n, changed)] = ledger.rows(query, (first.name, cell.name))
            changes.append({"cell": first.name, "again": cell.name, "n": n, "changed": changed,
                            "share": round(changed / n, 6) if n else None})  # fmt: skip
    return changes


def answer_line(row: JudgedAnswer) -> dict[str, Any]:
    """One line of answers.jsonl."""
    line: dict[str, Any] = {
        "id": row.example.id,
        "cell": row.cell.name,
        **row.answer,
        "score": row.score,
        "lenient": row.lenient,
        "cause": row.cause,
    }
    if row.gold.rank:
        line["rank"] = row.gold.rank
    if row.gold.gap is not None:
        line["gap"] = round(row.gold.gap, 6)
    return line


def _answer_lines(ledger: Ledger, scorer: Scorer | None, tallies: Sequence[Tally]) -> Iterator[str]:
    """Lines of answers.jsonl; the tallies count each answer on its way."""
    if scorer is None:
        return
    tally_of = {tally.cell: tally for tally in tallies}
    for row in all_judged_answers(ledger, scorer.name):
        tally_of[row.cell].add(row)
        yield canonical_json(answer_line(row))


def _failure_lines(ledger: Ledger) -> Iterator[str]:
    query = """SELECT id, cell, error FROM failed JOIN examples USING (position)
        ORDER BY position, cell"""
    for identity, cell, error in ledger.rows(query):
        yield canonical_json({"id": identity, "cell": cell, "error": error})


def _timing_lines(ledger: Ledger) -> Iterator[str]:
    query = "SELECT stage, first, questions, seconds FROM times ORDER BY first, stage, rowid"
    for stage, first, questions, seconds in ledger.rows(query):
        took = round(seconds, 6)
        yield canonical_json(
            {"stage": stage, "first": first, "questions": questions, "seconds": took}
        )


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    """Replace a file as a whole, or leave the old one."""
    unfinished = path.with_name(f"{path.name}.begun")
    atomic.write_lines(path, lines, partial=unfinished, errors="surrogatepass")


def read_results(folder: Path) -> dict[str, Any]:
    """The contents of a run's results.json.

    Raises:
        Missing: there is no such file: the folder holds no run, or an unfinished one.
        BadInput: the file is damaged.
        UsageError: another version wrote it.
    """
    path = folder / RESULTS
    try:
        results = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Missing(
            f"{path}: no such file. {folder} has no scores yet. Score it: rag-vqa eval report "
            f"{folder}"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{path} is damaged ({error}). Write it again: rag-vqa eval report {folder}"
        ) from error
    if not isinstance(results, dict) or results.get("schema") != RESULTS_SCHEMA:
        raise UsageError(
            f"{path} was written by another version. Write it again: rag-vqa eval report {folder}"
        )
    return results


def scorer_name(ledger: Ledger) -> str:
    """Name of the scorer whose scores the ledger holds.

    Raises:
        Missing: no answer is scored yet.
    """
    name = ledger.meta("scorer")
    if not isinstance(name, str):
        raise Missing(
            f"{ledger.folder} has no scores yet. Score it: rag-vqa eval report {ledger.folder}"
        )
    return name


def count_unscored(ledger: Ledger) -> int:
    """Number of answers without a score: shards are merged before they are scored."""
    query = """SELECT e.body FROM answers a JOIN examples e USING (position) LEFT JOIN scores s
        ON s.scorer = ? AND s.cell = a.cell AND s.position = a.position
        WHERE s.key IS NULL OR s.key <> a.key"""
    rows = ledger.rows(query, (ledger.meta("scorer", ""),))
    return sum(has_answer(example_from_json(json.loads(body))) for (body,) in rows)


def seconds_per_question(ledger: Ledger) -> Seconds:
    """Mean seconds per question, for each stage of each cell.

    A stage's seconds are divided by the questions that passed it. A prompt that another cell has
    in common is read once, and does not make reading look fast. Questions pass in batches, so this
    is the share of one question, not the time that it would take alone.
    """
    query = "SELECT stage, sum(seconds), sum(questions) FROM times GROUP BY stage"
    mean = {stage: total / n for stage, total, n in ledger.rows(query) if n}
    seconds: dict[str, dict[str, float]] = {}
    for cell in stored_cells(ledger):
        keys = {stage: f"{cell.name}/{stage}" for stage in STAGES[1:]}
        if cell.condition in ("retrieved", "filtered"):
            keys = {"retrieve": RETRIEVAL_STAGE, **keys}
        seconds[cell.name] = {stage: mean[key] for stage, key in keys.items() if key in mean}
    return seconds


def main_cell(results: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The cell that stands for the run: the selected one, else by condition: filtered, retrieved,
    oracle, none. None if nothing was answered."""
    cells: list[Mapping[str, Any]] = [cell for cell in results["cells"] if not cell["repeat"]]
    if results["selection"]:
        return next(cell for cell in cells if cell["cell"] == results["selection"]["best"])
    return min(cells, key=lambda cell: _MAIN_CONDITIONS.index(cell["condition"]), default=None)


def reported_figures(results: Mapping[str, Any], cell: Mapping[str, Any]) -> Mapping[str, Any]:
    """n, accuracy and ci95 of a cell; if a best cell was chosen, on the questions that did not
    decide it."""
    selection = results["selection"]
    return cell if selection is None else selection["test"].get(cell["cell"], cell)


def named_figures(results: Mapping[str, Any]) -> dict[str, float]:
    """All figures that `--min` can name.

    These are recall@K, share@K, pseudo@K, mrr and ndcg@10, and of the main cell accuracy (as
    `reported_figures`), citations, abstention_precision and abstention_recall.
    """
    figures: dict[str, float | None] = {}
    recall = results["recall"] or {}
    for name in _RETRIEVAL_FIGURES:
        for k, measured in (recall.get(name) or {}).items():
            figures[f"{name}@{k}"] = measured["value"]
    for name in ("mrr", "ndcg@10"):
        figures[name] = (recall.get(name) or {}).get("value")
    cell = main_cell(results)
    if cell is not None:
        abstention = (cell["official"] or {}).get("abstention") or {}
        figures["accuracy"] = reported_figures(results, cell)["accuracy"]
        figures["citations"] = cell["citations"]["correct"]
        figures["abstention_precision"] = abstention.get("precision")
        figures["abstention_recall"] = abstention.get("recall")
    return {name: value for name, value in figures.items() if value is not None}


def parse_thresholds(texts: Sequence[str]) -> dict[str, float]:
    """Thresholds by name, from texts such as "accuracy=.8" (a share, not a percentage).

    Raises:
        UsageError: the name is of no figure, or the value is not a number from 0 to 1.

    >>> parse_thresholds(["accuracy=.8", "recall@5=0.9"])
    {'accuracy': 0.8, 'recall@5': 0.9}
    """
    thresholds = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in THRESHOLD_NAMES:
            raise UsageError(
                f"--min {text}: name one of {', '.join(_ANSWER_FIGURES)}, recall@5, mrr …"
            )
        try:
            thresholds[name] = float(value)
        except ValueError:
            thresholds[name] = -1.0
        if not 0 <= thresholds[name] <= 1:
            raise UsageError(f"--min {text}: give name=value from 0 to 1, as accuracy=.8")
    return thresholds


def failed_thresholds(results: Mapping[str, Any], thresholds: Mapping[str, float]) -> list[str]:
    """One line for each threshold that is not reached.

    Raises:
        UsageError: the run lacks one of the figures.
    """
    figures = named_figures(results)
    lines = []
    for name, threshold in thresholds.items():
        if name not in figures:
            raise UsageError(f"--min {name}: this run has {', '.join(figures) or 'no figure'}.")
        if figures[name] < threshold:
            lines.append(f"{name} is {figures[name]:.4f}, below {threshold:g}")
    return lines
