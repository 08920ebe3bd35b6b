"""Comparison: the paired difference between two runs, and which answers changed sides.

Knows scores by question. Does not know how they were made. Compares two cells of one run or of two
runs. `recall@K` stands for the hits of a run: 1 if a right document is among the first K.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rag_vqa.errors import UsageError
from rag_vqa.eval.intervals import bootstrap, paired_bootstrap
from rag_vqa.eval.report.question_view import find_cell
from rag_vqa.eval.results.judgement import stored_cells
from rag_vqa.eval.results.result_files import read_results, scorer_name
from rag_vqa.eval.results.run_statistics import in_development
from rag_vqa.eval.run.gold import apply_level, ranked_units
from rag_vqa.eval.run.ledger import Ledger, example_from_json
from rag_vqa.eval.run.retrieval_stage import StoredHits
from rag_vqa.retriever import metrics

_RECALL = re.compile(r"recall@([1-9]\d*)")
_QUESTION_FIELDS = ("name", "split", "files", "missing")  # must be equal in both runs


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs.

    Attributes:
        n: number of questions that it has a score for.
        value: mean score over the questions in common.
        ci95: 95% interval of the mean; None if there are too few questions.
    """

    run: str
    cell: str
    n: int
    value: float
    ci95: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """B against A over the questions that both have a score for.

    Attributes:
        difference: B - A.
        ci95: paired 95% interval of the difference, bootstrapped over groups.
        lost, won: ids of the questions that only A, and only B, answered right.
        differs: what differs between the two set-ups (compared with `force`).
        left_out: number of common questions that decided the choice of one of the two cells, see
            `run_statistics.select_cell`.
    """

    a: Side
    b: Side
    n: int
    difference: float
    ci95: tuple[float, float] | None
    lost: list[str]
    won: list[str]
    differs: list[str]
    left_out: int = 0


def compare_runs(
    a: Path, b: Path, cell_a: str | None = None, cell_b: str | None = None, force: bool = False
) -> Comparison:
    """Compare a cell of run `a` with a cell of run `b`, question by question.

    Args:
        a, b: folders of runs; the same folder to compare two cells of one run.
        cell_a, cell_b: names of cells, or recall@K. None: the best cell of a grid, or the only
            one. A chosen cell is compared on the questions that did not decide the choice.
        force: compare even if knowledge base, questions or scorer differ.

    Raises:
        UsageError: the set-ups differ without `force`; several cells and none is named; no
            question in common.
    """
    with closing(Ledger(a)) as first, closing(Ledger(b)) as second:
        names = _resolve_cell(first, cell_a), _resolve_cell(second, cell_b)
        if a.resolve() == b.resolve() and names[0] == names[1]:
            raise UsageError(f"{a}: name two cells of one run: --cell A --cell B.")
        differs = list(_differences(first, second, names))
        if differs and not force:
            raise UsageError(
                f"{a} and {b} are not comparable: {'; '.join(differs)}. Compare runs with the same "
                "set-up, or add --force."
            )
        return _compare_scores((first, second), names, differs)


def _resolve_cell(ledger: Ledger, name: str | None) -> str:
    if name is not None:
        if not _RECALL.fullmatch(name):
            return find_cell(ledger, name).name
        if not ledger.meta("spec")["retrieval"]:
            raise UsageError(f"{ledger.folder} has no {name}: it retrieved nothing. Name a cell.")
        return name
    cells = [cell.name for cell in stored_cells(ledger) if not cell.repeat]
    if len(cells) == 1:
        return cells[0]
    if selection := _selection(ledger):
        return str(selection["best"])
    listed = ", ".join(repr(cell) for cell in cells) or "recall@1, recall@5, …"
    raise UsageError(f"{ledger.folder}: which cell? Name one with --cell: {listed}.")


def _selection(ledger: Ledger) -> Mapping[str, Any] | None:
    """The selection of results.json; None if there was no choice."""
    if sum(not cell.repeat for cell in stored_cells(ledger)) < 2:
        return None
    selection: Mapping[str, Any] | None = read_results(ledger.folder)["selection"]
    return selection


def _share_chosen_on(ledger: Ledger, name: str) -> float:
    """Share of the groups that decided the choice of a cell; 0 if it was not chosen."""
    selection = None if _RECALL.fullmatch(name) else _selection(ledger)
    return float(selection["share"]) if selection and selection["best"] == name else 0.0


def _differences(a: Ledger, b: Ledger, names: tuple[str, str]) -> Iterator[str]:
    """Describes each difference between the set-ups of two runs."""
    first, second = a.meta("spec"), b.meta("spec")
    for field in _QUESTION_FIELDS:
        yield from _unequal_fields(f"questions.{field}", first["questions"][field],
                            second["questions"][field])  # fmt: skip
    if all(_searches(ledger, name) for ledger, name in zip((a, b), names, strict=True)):
        mine, other = first["knowledge_base"], second["knowledge_base"]
        yield from _unequal_fields("knowledge_base.digest", mine["digest"], other["digest"])
    answered = [ledger for ledger, name in zip((a, b), names, strict=True)
                if not _RECALL.fullmatch(name)]  # fmt: skip
    if len(answered) == 1:
        raise UsageError("recall@K is only comparable with recall@K: name it for both runs.")
    if answered:
        yield from _unequal_fields("scorer", scorer_name(a), scorer_name(b))


def _unequal_fields(field: str, a: Any, b: Any) -> Iterator[str]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for name in sorted(a.keys() | b.keys()):
            yield from _unequal_fields(f"{field}.{name}", a.get(name), b.get(name))
    elif a != b:
        yield f"{field} is {_short(a)} and {_short(b)}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:16]}…"


def _searches(ledger: Ledger, name: str) -> bool:
    """True if the figure depends on the knowledge base."""
    return bool(_RECALL.fullmatch(name)) or find_cell(ledger, name).condition != "none"


def _compare_scores(
    ledgers: tuple[Ledger, Ledger], names: tuple[str, str], differs: list[str]
) -> Comparison:
    first, second = (_scores(ledger, name) for ledger, name in zip(ledgers, names, strict=True))
    shared = [identity for identity in first if identity in second]
    share = max(_share_chosen_on(ledger, name) for ledger, name in zip(ledgers, names, strict=True))
    common = [identity for identity in shared if not in_development(first[identity][1], share)]
    if not common:
        raise UsageError(f"{ledgers[0].folder} and {ledgers[1].folder}: no question in common.")
    groups = [first[identity][1] for identity in common]
    a = np.array([first[identity][0] for identity in common])
    b = np.array([second[identity][0] for identity in common])
    sides = [
        Side(str(ledger.folder), name, len(scores), float(values.mean()),
             _interval_or_none(bootstrap(values, groups)))
        for ledger, name, scores, values in zip(ledgers, names, (first, second), (a, b),
                                                strict=True)
    ]  # fmt: skip
    return Comparison(
        sides[0],
        sides[1],
        len(common),
        float((b - a).mean()),
        _interval_or_none(paired_bootstrap(b, a, groups)),
        [identity for identity, x, y in zip(common, a, b, strict=True) if x >= 1 > y],
        [identity for identity, x, y in zip(common, a, b, strict=True) if x < 1 <= y],
        differs,
        len(shared) - len(common),
    )


def _interval_or_none(interval: tuple[float, float]) -> tuple[float, float] | None:
    """None for (nan, nan), which stands for too few questions."""
    return None if interval[0] != interval[0] else interval


def _scores(ledger: Ledger, name: str) -> dict[str, tuple[float, str]]:
    """Score and group of each question, by id, in the order of the questions."""
    if depth := _RECALL.fullmatch(name):
        return dict(_recalls(ledger, int(depth[1])))
    query = """SELECT e.id, s.score, json_extract(e.body, '$.group') FROM scores s
        JOIN examples e USING (position) WHERE s.scorer = ? AND s.cell = ? ORDER BY s.position"""
    rows = ledger.rows(query, (scorer_name(ledger), name))
    return {identity: (score, group or identity) for identity, score, group in rows}


def _recalls(ledger: Ledger, k: int) -> Iterator[tuple[str, tuple[float, str]]]:
    depth = ledger.meta("spec")["retrieval"]["depth"]
    if k > depth:
        raise UsageError(f"{ledger.folder} has no recall@{k}: it retrieved {depth} documents.")
    query = "SELECT e.body, h.body FROM hits h JOIN examples e USING (position) ORDER BY position"
    for question, body in ledger.rows(query):
        example = example_from_json(json.loads(question))
        if example.relevant:
            hits = apply_level(ledger, example, StoredHits.from_bytes(body))
            names = ranked_units(hits)
            if len(names) < k and len(hits.ids) >= depth:
                raise UsageError(
                    f"{ledger.folder} has no recall@{k}: the {depth} documents of question "
                    f"{example.id} belong to {len(names)} pages or entities. Use a smaller K."
                )
            hit = float(metrics.hit(names, example.relevant, k))
            yield example.id, (hit, example.group or example.id)
