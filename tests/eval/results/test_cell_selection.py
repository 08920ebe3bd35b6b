"""The best cell is chosen on one slice and reported on the other; differences are paired."""

import hashlib
from array import array

import numpy as np
import pytest

from rag_vqa.eval.results.run_statistics import (
    Tally,
    in_development,
    paired_differences,
    select_cell,
)
from rag_vqa.eval.run.spec import Cell


def tally(cell: Cell, scores: dict[str, float]) -> Tally:
    """One question a group."""
    made = Tally(cell)
    made.positions = array("q", range(len(scores)))
    made.scores = array("d", scores.values())
    made.groups = list(scores)
    return made


GROUPS = [f"g{i}" for i in range(200)]
ONE, THREE = Cell("retrieved", 1, "short"), Cell("retrieved", 3, "short")
NONE = Cell("none", 0, "closed-book")


def by_hash(group: str) -> bool:
    """The slice, written out: the digest as a fraction of what it can be."""
    return int(hashlib.sha256(group.encode()).hexdigest(), 16) / 16**64 < 0.2


def test_the_slice_is_by_name_and_has_its_share() -> None:
    inside = [group for group in GROUPS if in_development(group, 0.2)]
    assert inside == [group for group in GROUPS if by_hash(group)]
    assert 20 < len(inside) < 60


def test_chosen_on_development_reported_on_the_rest() -> None:
    # "one" is better on the slice alone, "three" on all else: the choice must fall on "one".
    one = tally(ONE, {group: float(by_hash(group)) for group in GROUPS})
    three = tally(THREE, {group: float(not by_hash(group)) for group in GROUPS})
    chosen = select_cell([one, three], 0.2)
    assert chosen is not None and chosen["best"] == ONE.name
    n = sum(map(by_hash, GROUPS))
    assert chosen["dev"][ONE.name] == {"n": n, "accuracy": 1.0}
    assert chosen["test"][ONE.name]["n"] == 200 - n
    assert chosen["test"][ONE.name]["accuracy"] == 0.0
    assert chosen["test"][THREE.name]["accuracy"] == 1.0


def test_of_equal_ones_the_first() -> None:
    same = [tally(cell, dict.fromkeys(GROUPS, 1.0)) for cell in (ONE, THREE)]
    chosen = select_cell(same, 0.2)
    assert chosen is not None and chosen["best"] == ONE.name


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_no_choice_no_selection(share: float) -> None:
    scores = dict.fromkeys(GROUPS, 1.0)
    assert select_cell([tally(ONE, scores), tally(THREE, scores)], share) is None
    assert select_cell([tally(ONE, scores), tally(NONE, scores)], 0.2) is None
    again = Cell("retrieved", 1, "short", repeat=1)
    assert select_cell([tally(ONE, scores), tally(again, scores)], 0.2) is None


def test_differences_are_of_common_questions() -> None:
    one = tally(ONE, {"a": 1, "b": 0, "c": 1, "d": 1})
    none = tally(NONE, {"a": 0, "b": 0, "c": 1})
    [entry] = paired_differences([none, one], None)
    assert (entry["a"], entry["b"], entry["n"]) == (NONE.name, ONE.name, 3)
    assert entry["difference"] == pytest.approx(-1 / 3, abs=1e-6)
    # -1, 0, 0: a draw of three is all -1 or all 0 with a chance above 1 in 40 each.
    assert entry["ci95"] == [-1.0, 0.0]


def test_paired_is_narrower_than_side_by_side() -> None:
    random = np.random.default_rng(0)
    hard = random.random(200) < 0.5
    one = tally(ONE, {g: float(h) for g, h in zip(GROUPS, hard, strict=True)})
    better = hard | (np.arange(200) % 20 == 0)
    three = tally(THREE, {g: float(h) for g, h in zip(GROUPS, better, strict=True)})
    [entry] = paired_differences([one, three], None)
    low, high = entry["ci95"]
    assert entry["difference"] == pytest.approx(better.mean() - hard.mean())
    assert 0 < low < entry["difference"] < high
    assert high - low < 0.1  # side by side each would be 0.14 wide


def test_one_cell_has_no_difference() -> None:
    assert paired_differences([tally(ONE, {"a": 1.0})], None) == []


def test_differences_leave_out_what_the_choice_was_made_on() -> None:
    # Right on the slice alone: outside of it, the chosen one is never right.
    one = tally(ONE, {group: float(by_hash(group)) for group in GROUPS})
    three = tally(THREE, {group: float(not by_hash(group)) for group in GROUPS})
    none = tally(NONE, dict.fromkeys(GROUPS, 0.0))
    chosen = select_cell([none, one, three], 0.2)
    assert chosen is not None
    n = 200 - sum(map(by_hash, GROUPS))
    found = {entry["a"]: entry for entry in paired_differences([none, one, three], chosen)}
    assert [(found[c.name]["n"], found[c.name]["difference"]) for c in (NONE, THREE)] == [
        (n, 0.0), (n, 1.0),
    ]  # fmt: skip
    assert chosen["test"][NONE.name] == {"n": n, "accuracy": 0.0, "ci95": [0.0, 0.0]}


def test_chosen_over_questions_that_all_answered() -> None:
    # "three" failed on all of the slice but one question; there "one" is as right as it.
    inside = [group for group in GROUPS if by_hash(group)]
    one = tally(ONE, {group: float(group == inside[0]) for group in GROUPS})
    three = tally(THREE, dict.fromkeys(GROUPS, 1.0))
    for place in sorted((GROUPS.index(group) for group in inside[1:]), reverse=True):
        for values in (three.positions, three.scores, three.groups):
            del values[place]
    chosen = select_cell([one, three], 0.2)
    assert chosen is not None
    assert chosen["dev"] == {cell.name: {"n": 1, "accuracy": 1.0} for cell in (ONE, THREE)}
