"""results.json, answers.jsonl, timings.jsonl and failures.jsonl of a run, out of its ledger.

Knows what stands in each file. None but timings.jsonl holds a clock: the others are the same bytes
whether a run was interrupted or not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rag_vqa.eval.results.choosing import differences, selection
from rag_vqa.eval.results.recall import recall_of
from rag_vqa.eval.results.rows import Judged, all_judged, cells
from rag_vqa.eval.results.scores import score_answers, scored
from rag_vqa.eval.results.tally import Tally
from rag_vqa.eval.run.cells import Cell
from rag_vqa.eval.run.ledger import Ledger
from rag_vqa.eval.run.merging import missing
from rag_vqa.eval.run.records import dumps
from rag_vqa.eval.run.retrieving import STAGE
from rag_vqa.eval.scoring import Scorer

RESULTS, ANSWERS, TIMINGS, FAILURES = (
    "results.json", "answers.jsonl", "timings.jsonl", "failures.jsonl",
)  # fmt: skip
DEV_SHARE = 0.2  # of the groups: what a grid is chosen on


def finish(
    ledger: Ledger,
    scorer: Scorer | None,
    dev: float = DEV_SHARE,
    on_progress: Callable[[int], object] | None = None,
) -> dict[str, Any]:
    """Score what is there and write all files; what results.json holds.

    Args:
        scorer: None where nothing is answered, or the benchmark has no answers.
        dev: share of the groups that the best cell of a grid is chosen on.
    """
    if scorer is not None:
        score_answers(ledger, scorer, on_progress)
        ledger.set_meta("scorer", scorer.name)
    folder = ledger.folder
    tallies = [] if scorer is None else [Tally(cell) for cell in cells(ledger)]
    _write(folder / ANSWERS, _answers(ledger, scorer, tallies))
    results = results_of(ledger, scorer, tallies, dev)
    _write(folder / RESULTS, [json.dumps(results, ensure_ascii=False, indent=1, sort_keys=True)])
    _write(folder / FAILURES, _failures(ledger))
    _write(folder / TIMINGS, _timings(ledger))
    return results


def results_of(
    ledger: Ledger, scorer: Scorer | None, tallies: Sequence[Tally], dev: float
) -> dict[str, Any]:
    """What results.json holds."""
    spec = ledger.meta("spec")
    entries = []
    if scorer is not None:
        for tally in tallies:
            official = dict(scorer.summary(scored(ledger, tally.cell, scorer.name)))
            entries.append(tally.result(_count(ledger, "failed", tally.cell.name), official))
    chosen = selection(tallies, dev)
    documents = ledger.meta("documents", {})
    kb = spec["knowledge_base"]
    retrieval = spec["retrieval"]
    return {
        "schema": 1,
        "questions": {**spec["questions"], **_coverage(ledger)},
        "knowledge_base": kb and {**kb, **_unit(documents)},
        "retrieval": retrieval,
        "reader": spec["reader"],
        "filter": spec["filter"],
        "scorer": None if scorer is None else {"name": scorer.name},
        "versions": {**spec["versions"], "machine": spec["machine"]},
        "dropped": _dropped_metrics(ledger),
        "missing": missing(ledger),
        "failed_retrieval": _count(ledger, "failed", STAGE),
        "recall": recall_of(ledger, retrieval["depth"]) if retrieval else None,
        "cells": entries,
        "selection": chosen,
        "paired": differences(tallies, chosen),
        "repeats": _repeats(ledger) or None,
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
    """Metrics that cannot be had for all questions, and of how many a field is missing."""
    query = """SELECT count(*),
        sum(json_extract(body, '$.answers') IS NULL AND json_extract(body, '$.references') IS NULL
            AND json_extract(body, '$.unanswerable') IS NULL),
        sum(json_extract(body, '$.relevant') IS NULL),
        sum(json_extract(body, '$.unanswerable') IS NOT NULL) FROM examples"""
    [(n, no_answer, no_gold, unanswerable)] = ledger.rows(query)
    found = {}
    if no_answer:
        found["accuracy"] = f"{no_answer:,} of {n:,} questions have no answers"
    if no_gold:
        found["recall, citations"] = f"{no_gold:,} of {n:,} questions name no documents"
    if not unanswerable:
        found["abstention"] = "no question is marked as unanswerable"
    return found


def _unit(documents: dict[str, int]) -> dict[str, Any]:
    """What a document is: a section where most belong to a page, an entity or the like."""
    whole, parts = documents.get("documents", 0), documents.get("with parent", 0)
    unit = "section" if parts * 2 > whole else "document"
    return {"unit": unit, "with_image": documents.get("with image", 0)}


def _count(ledger: Ledger, table: str, cell: str) -> int:
    [(count,)] = ledger.rows(f"SELECT count(*) FROM {table} WHERE cell = ?", (cell,))
    return int(count)


def _repeats(ledger: Ledger) -> list[dict[str, Any]]:
    """Of each cell that was answered several times: the share of questions whose text changed."""
    found = []
    query = """SELECT count(*), count(DISTINCT CASE WHEN json_extract(a.body, '$.prediction')
        <> json_extract(b.body, '$.prediction') THEN a.position END)
        FROM answers a JOIN answers b USING (position) WHERE a.cell = ? AND b.cell = ?"""
    for cell in cells(ledger):
        if cell.repeat:
            first = Cell(cell.condition, cell.k, cell.template)
            [(n, changed)] = ledger.rows(query, (first.name, cell.name))
            found.append({"cell": first.name, "again": cell.name, "n": n, "changed": changed,
                          "share": round(changed / n, 6) if n else None})  # fmt: skip
    return found


def answer_line(row: Judged) -> dict[str, Any]:
    """One line of answers.jsonl."""
    line: dict[str, Any] = {
        "id": row.example.id,
        "cell": row.cell.name,
        **row.answer,
        "score": row.score,
        "lenient": row.lenient,
        "cause": row.cause,
    }
    if row.found.rank:
        line["rank"] = row.found.rank
    if row.found.gap is not None:
        line["gap"] = round(row.found.gap, 6)
    return line


def _answers(ledger: Ledger, scorer: Scorer | None, tallies: Sequence[Tally]) -> Iterator[str]:
    """Lines of answers.jsonl; each answer is counted as it goes by."""
    if scorer is None:
        return
    tally_of = {tally.cell: tally for tally in tallies}
    for row in all_judged(ledger, scorer.name):
        tally_of[row.cell].add(row)
        yield dumps(answer_line(row))


def _failures(ledger: Ledger) -> Iterator[str]:
    query = """SELECT id, cell, error FROM failed JOIN examples USING (position)
        ORDER BY position, cell"""
    for identity, cell, error in ledger.rows(query):
        yield dumps({"id": identity, "cell": cell, "error": error})


def _timings(ledger: Ledger) -> Iterator[str]:
    query = "SELECT stage, first, questions, seconds FROM times ORDER BY first, stage, rowid"
    for stage, first, questions, seconds in ledger.rows(query):
        took = round(seconds, 6)
        yield dumps({"stage": stage, "first": first, "questions": questions, "seconds": took})


def _write(path: Path, lines: Iterable[str]) -> None:
    """The whole file or the old one."""
    begun = path.with_name(f"{path.name}.begun")
    with begun.open("w", encoding="utf-8", errors="surrogatepass", newline="\n") as file:
        for line in lines:
            file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())
    begun.replace(path)
