"""A finished run as its folder holds it: results.json, and how long each stage took.

Knows files. Does not know what is made of the figures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.eval.results.results import RESULTS
from rag_vqa.eval.results.rows import cells
from rag_vqa.eval.results.scores import has_answer
from rag_vqa.eval.run.ledger import Ledger
from rag_vqa.eval.run.records import example_of
from rag_vqa.eval.run.retrieving import STAGE

SCHEMA = 1  # of results.json
STAGES = ("retrieve", "select", "build", "read")  # in the order that a question goes through them
# Seconds a question, by cell and stage; what a cell does not go through is not there.
Seconds: TypeAlias = Mapping[str, Mapping[str, float]]


def read_results(folder: Path) -> dict[str, Any]:
    """What results.json of a run holds.

    Raises:
        Missing: there is none: no run, or one that is not finished.
        BadInput: it is damaged.
        UsageError: another version wrote it.
    """
    path = folder / RESULTS
    try:
        results = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Missing(
            f"{path}: no such file: {folder} has no scores yet. Score it: rag-vqa eval report "
            f"{folder}"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{path} is damaged ({error}): remove it, and rag-vqa eval report writes it anew."
        ) from error
    if not isinstance(results, dict) or results.get("schema") != SCHEMA:
        raise UsageError(
            f"{path} is of another version: remove it, and rag-vqa eval report writes it anew."
        )
    return results


def scorer_of(ledger: Ledger) -> str:
    """Name of the scorer whose scores the ledger holds.

    Raises:
        Missing: answers that nobody has scored yet.
    """
    name = ledger.meta("scorer")
    if not isinstance(name, str):
        raise Missing(
            f"{ledger.folder} has no scores yet. Score it: rag-vqa eval report {ledger.folder}"
        )
    return name


def unscored(ledger: Ledger) -> int:
    """Answers without a score: those of shards that were merged."""
    query = """SELECT e.body FROM answers a JOIN examples e USING (position) LEFT JOIN scores s
        ON s.scorer = ? AND s.cell = a.cell AND s.position = a.position
        WHERE s.key IS NULL OR s.key <> a.key"""
    rows = ledger.rows(query, (ledger.meta("scorer", ""),))
    return sum(has_answer(example_of(json.loads(body))) for (body,) in rows)


def seconds_of(ledger: Ledger) -> Seconds:
    """Mean seconds a question of each stage of each cell.

    A stage's seconds are divided by the questions that went through it: a prompt that another cell
    had put already is not read again, and does not make reading look quick. Questions go through
    in batches: it is the share of one, not the time that one question alone would take.
    """
    query = "SELECT stage, sum(seconds), sum(questions) FROM times GROUP BY stage"
    mean = {stage: total / n for stage, total, n in ledger.rows(query) if n}
    found: dict[str, dict[str, float]] = {}
    for cell in cells(ledger):
        named = {stage: f"{cell.name}/{stage}" for stage in STAGES[1:]}
        if cell.condition in ("retrieved", "filtered"):
            named = {"retrieve": STAGE, **named}
        found[cell.name] = {stage: mean[key] for stage, key in named.items() if key in mean}
    return found
