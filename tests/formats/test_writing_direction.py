"""Letters at places come out in reading order, whichever order a program wrote them in."""

from __future__ import annotations

import random

import pytest

from rag_vqa.formats.documents.writing_direction import Letter, order_letters, runs_leftwards


def place(visual: str) -> list[Letter]:
    """Letters of what stands on the line from left to right; blanks leave a gap."""
    return [(x, x + 0.9, letter) for x, letter in enumerate(visual) if letter != " "]


@pytest.mark.parametrize(
    ("visual", "read"),
    [
        ("םולש", "שלום"),  # Hebrew
        ("ةخضملا لبق", "قبل المضخة"),  # two words of Arabic
        ("123 םולש", "שלום 123"),
        (".P-100 םגד", "דגם P-100."),
        ("Type םגד P-100", "Type דגם P-100"[0:4] + " דגם P-100"),
    ],
)
def test_reading_order(visual, read) -> None:
    letters = place(visual)
    assert order_letters(letters) == read
    random.Random(1).shuffle(letters)
    assert order_letters(letters) == read


def test_marks_stay_behind_their_letters() -> None:
    letters = [(2, 3, "ש"), (2.2, 2.4, "\u05b8"), (1, 2, "ל")]
    assert order_letters(letters) == "ש\u05b8ל"


def test_the_main_direction_is_that_of_most_letters() -> None:
    assert runs_leftwards(["שלום", "ab"]) and not runs_leftwards(["ש", "abc"])
