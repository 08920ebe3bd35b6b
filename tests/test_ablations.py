"""docs/ablations.md says what was measured, and counts it rightly."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def ablations(root: Path) -> dict[str, Any]:
    return runpy.run_path(str(root / "benchmarks" / "ablations.py"))


@pytest.mark.parametrize("name", ["ablations", "ablations_longer"])
def test_the_page_has_the_table_of_the_figures(
    ablations: dict[str, Any], root: Path, name: str
) -> None:
    file = root / "benchmarks" / "results" / f"{name}.json"
    results = json.loads(file.read_text("utf-8"))
    assert (root / "docs" / "ablations.md").read_text("utf-8") == ablations["page"](
        name, results
    ), "out of date: python benchmarks/ablations.py --table"
    for runs in results["runs"].values():
        assert {len(run["ranks"]) for run in runs.values()} == {len(results["questions"])}


def test_recalls_are_means_over_seeds_and_questions(ablations: dict[str, Any]) -> None:
    names = list(ablations["VARIANTS"])
    # Two countries of two questions; the right document's rank, 0: not among the first five.
    ranks = {"1": "1105", "2": "1112", "3": "1112"}
    runs = {name: {seed: {"ranks": r} for seed, r in ranks.items()} for name in names}
    runs["no gates"] = {"1": {"ranks": "0000"}, "2": {"ranks": "1000"}}  # no third seed yet
    results = {
        "questions": ["FR/a", "FR/b", "NO/a", "NO/b"], "steps": 7, "batch": 5, "runs": runs,
    }  # fmt: skip
    lines = ablations["table"](results).splitlines()
    assert lines[0] == "7 steps of 5 pairs; seeds 1, 2."
    cells = {line.split(" | ")[0][2:]: line.split(" | ") for line in lines[4:]}
    assert list(cells) == names
    # Seed 1: 2 of 4, seed 2: 3 of 4; by question 1, 1, .5, 0: countries 1 and .25.
    assert cells["full"][1:5] == ["0.625", "0.250 – 1.000", "0.500 – 0.750", "0.875"]
    assert cells["no gates"][1] == "0.125" and cells["no gates"][5] == "-0.500"


def test_trees_of_settings_are_laid_on_one_another(ablations: dict[str, Any]) -> None:
    below = {"a": {"b": 1, "c": 2}, "d": 3}
    assert ablations["_merge_settings"](below, {"a": {"c": 4}}, {"d": {"e": 5}}) == {
        "a": {"b": 1, "c": 4},
        "d": {"e": 5},
    }
    assert below == {"a": {"b": 1, "c": 2}, "d": 3}
