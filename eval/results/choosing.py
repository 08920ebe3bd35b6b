"""Which cell is best, and by how much: chosen on one slice of the questions, reported on the rest.

Knows scores by position and groups. A choice made on the questions that are reported would flatter
itself, so the two are kept apart, whole groups at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_vqa.eval.intervals import paired
from rag_vqa.eval.results.recall import measured
from rag_vqa.eval.results.tally import Tally

_CHOSEN = ("retrieved", "filtered")  # what there is a choice among


def in_development(group: str, share: float) -> bool:
    """Whether a group of questions belongs to the development slice: by its name alone.

    >>> in_development("Q42", 0.0), in_development("Q42", 1.0)
    (False, True)
    """
    digest = hashlib.sha256(group.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def selection(tallies: Sequence[Tally], share: float) -> dict[str, Any] | None:
    """The best of the retrieved and filtered cells on the development slice of the questions that
    all of these answered; every cell on the rest. None where there is no choice, or a slice is
    empty."""
    choices = [t for t in tallies if t.cell.condition in _CHOSEN and not t.cell.repeat]
    if len(choices) < 2 or not 0 < share < 1:
        return None
    common = _common([np.array(tally.positions) for tally in choices])
    dev: dict[str, Any] = {}
    for tally in choices:
        inside = _inside(tally, share) & np.isin(np.array(tally.positions), common)
        if not inside.any() or _inside(tally, share).all():
            return None
        accuracy = round(float(np.array(tally.scores)[inside].mean()), 6)
        dev[tally.cell.name] = {"n": int(inside.sum()), "accuracy": accuracy}
    best = max(dev, key=lambda name: dev[name]["accuracy"])  # of equal ones the first
    slice_name = f"groups whose SHA-256 is below {share:g} of its range"
    test = {tally.cell.name: _reported(tally, ~_inside(tally, share)) for tally in tallies}
    return {"share": share, "slice": slice_name, "dev": dev, "test": test, "best": best}


def _common(positions: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    found = positions[0]
    for others in positions[1:]:
        found = np.intersect1d(found, others)
    return found


def _inside(tally: Tally, share: float) -> NDArray[np.bool_]:
    """Of each answer, whether its group belongs to the development slice, (N,)."""
    return np.array([in_development(group, share) for group in tally.groups], bool)


def _reported(tally: Tally, these: NDArray[np.bool_]) -> dict[str, Any]:
    if not these.any():
        return {"n": 0, "accuracy": None, "ci95": None}
    groups = [group for group, there in zip(tally.groups, these, strict=True) if there]
    rest = measured(np.array(tally.scores)[these], groups)
    return {"n": len(groups), "accuracy": rest["value"], "ci95": rest["ci95"]}


def differences(tallies: Sequence[Tally], chosen: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Each cell against one, paired: the chosen one, else the first retrieved one, else the first.

    Args:
        chosen: of `selection`: the questions that it was made on are left out.
    """
    firsts = [tally for tally in tallies if not tally.cell.repeat and len(tally.scores)]
    if len(firsts) < 2:
        return []
    names = [tally.cell.name for tally in firsts]
    retrieved = [tally.cell.name for tally in firsts if tally.cell.condition == "retrieved"]
    best = chosen["best"] if chosen else (retrieved or names)[0]
    base = firsts[names.index(best)]
    left_out = chosen["share"] if chosen else 0.0
    return [_difference(tally, base, left_out) for tally in firsts if tally is not base]


def _difference(a: Tally, b: Tally, left_out: float) -> dict[str, Any]:
    """Over the questions that both answered, but for those that a choice was made on."""
    common, of_a, of_b = np.intersect1d(
        np.array(a.positions), np.array(b.positions), return_indices=True
    )
    rest = ~_inside(a, left_out)[of_a]
    common, of_a, of_b = common[rest], of_a[rest], of_b[rest]
    first: NDArray[np.float64] = np.array(a.scores)[of_a]
    second: NDArray[np.float64] = np.array(b.scores)[of_b]
    entry: dict[str, Any] = {"a": a.cell.name, "b": b.cell.name, "n": len(common)}
    if not len(common):
        return {**entry, "difference": None, "ci95": None}
    low, high = paired(first, second, [a.groups[i] for i in of_a])
    interval = None if low != low else [round(low, 6), round(high, 6)]
    return {**entry, "difference": round(float((first - second).mean()), 6), "ci95": interval}
