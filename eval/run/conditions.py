"""Conditions and cells: a cell is one way of answering all questions. A grid of values makes cells.

Knows conditions (no documents, retrieved, filtered, oracle) and how cells are named. Does not know
how a question is answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from rag_vqa.errors import UsageError

Condition: TypeAlias = Literal["none", "retrieved", "filtered", "oracle"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
RETRIEVAL = "retrieval"  # in place of conditions: nothing is answered
_CONDITIONS_WITH_K = ("retrieved", "filtered")
_AXES = {"k": "1,3,5", "prompt": "short,answer"}  # with an example


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of the table.

    Attributes:
        condition: "none": no documents. "retrieved": the first k. "filtered": those of the first
            k that `RagVqa.select` keeps. "oracle": the documents that hold the answer.
        k: number of documents retrieved, and the maximum for "oracle"; 0 for "none".
        template: name or path of a template of `rag_vqa.prompts`; "closed-book" for "none".
        repeat: 0 for the first answer, 1 for the second, and so on: shows how much a server's
            answers vary.
    """

    condition: Condition
    k: int
    template: str
    repeat: int = 0

    @property
    def name(self) -> str:
        """The cell's name in tables and files, unique within a run.

        >>> Cell("retrieved", 3, "short").name, Cell("none", 0, "closed-book").name
        ('retrieved k=3 short', 'none')
        """
        again = f" #{self.repeat + 1}" if self.repeat else ""
        if self.condition == "none":
            return f"none{again}"
        k = f" k={self.k}" if self.condition in _CONDITIONS_WITH_K else ""
        return f"{self.condition}{k} {self.label}{again}"

    @property
    def label(self) -> str:
        """The template's file name, without the folder, which differs from machine to machine."""
        return Path(self.template).name


def make_cells(
    conditions: Sequence[str],
    k: int,
    template: str,
    grid: Mapping[str, Sequence[str]] | None = None,
    repeat: int = 1,
) -> tuple[Cell, ...]:
    """The cells of a run, without duplicates, in the order of the table.

    Args:
        conditions: some of CONDITIONS. ["retrieval"] gives no cells: nothing is answered.
        k, template: used where the grid names no other value.
        grid: `{"k": ["1", "3"], "prompt": ["short", "mine.jinja"]}`.
        repeat: number of times that each cell is answered.

    Raises:
        UsageError: an unknown condition or axis, or an invalid value.
    """
    grid = dict(grid or {})
    unknown = [name for name in grid if name not in _AXES]
    if unknown:
        raise UsageError(f"--grid {unknown[0]}=…: take one of {', '.join(_AXES)}.")
    empty = [name for name, values in grid.items() if not values]
    if empty:
        raise UsageError(f"--grid {empty[0]}=: give values, as {empty[0]}={_AXES[empty[0]]}")
    if repeat < 1:
        raise UsageError(f"--repeat {repeat}: give at least 1.")
    if list(conditions) == [RETRIEVAL]:
        if grid or repeat > 1:
            raise UsageError(
                f"--conditions {RETRIEVAL} answers nothing: leave out --grid and --repeat."
            )
        return ()
    for condition in conditions:
        if condition not in CONDITIONS:
            known = ", ".join([*CONDITIONS, RETRIEVAL])
            raise UsageError(
                f"--conditions {condition}: choose from {known} ({RETRIEVAL} only alone)."
            )
    searched = any(condition != "none" for condition in conditions)
    depths = [_parse_depth(value) for value in grid.get("k", [str(k)])] if searched else [0]
    templates = grid.get("prompt", [template])
    labels = [Path(name).name for name in dict.fromkeys(templates)]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(
                f"Two templates are called {label}, and a cell is named after its template. "
                "Rename one."
            )
    cells = [
        cell
        for again in range(repeat)
        for condition in CONDITIONS
        if condition in conditions
        for cell in _cells_of_condition(condition, depths, templates, again)
    ]
    return tuple(dict.fromkeys(cells))


def _cells_of_condition(
    condition: Condition, depths: Sequence[int], templates: Sequence[str], again: int
) -> list[Cell]:
    if condition == "none":
        return [Cell("none", 0, "closed-book", again)]
    if condition == "oracle":
        return [Cell("oracle", max(depths), template, again) for template in templates]
    return [Cell(condition, k, template, again) for template in templates for k in depths]


def _parse_depth(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise UsageError(
            f"k = {value}: give 1 or more. To answer without documents: --conditions none."
        )

    return int(value)
