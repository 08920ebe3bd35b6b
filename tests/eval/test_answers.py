"""Scoring of short answers: what must be equal, and what must not."""

import pytest

from rag_vqa.eval.answers import exact_match, is_unknown, normalize, strip_citations


@pytest.mark.parametrize(
    ("text", "bare"),
    [("[2] Oslo", "Oslo"), ("Oslo [2].", "Oslo"), ("Oslo[2][13].", "Oslo"), ("Oslo [1, 2]", "Oslo"),
     ("[1] [2] Oslo", "Oslo"), ("In burrows [2], on cliffs [1].", "In burrows, on cliffs"),
     ("Oslo.", "Oslo."), ("Oslo. [2]", "Oslo."), ("[1]", ""), ("x[i] [a]", "x[i] [a]"),
     ("Oslo [1]. It is old [2]", "Oslo. It is old"), ("Oslo [2] .\n", "Oslo")],
)  # fmt: skip
def test_citations_go(text: str, bare: str) -> None:
    assert strip_citations(text) == bare


@pytest.mark.parametrize(
    ("one", "other"),
    [("+47", "47"), (".no", "no"), ("+1-684", "1 684"), ("UTC−5", "UTC-5"),
     ("1,438,000", "1438000"), ("50 %", "50%"), ("हिन्दी.", "हिन्दी"),
     ("km²", "km2"), ("The U.S.A.", "usa"), ("red-orange", "Red orange"), ("John’s", "Johns"),
     ("Sa\u0303o Tome\u0301", "são tomé"), ("STRASSE", "straße"), ("Oslo , Norway", "oslo,norway"),
     ('"+47"', "47"), ("１２", "12"), ("A", "a."), ("the -4", "−4")],
)  # fmt: skip
def test_equal(one: str, other: str) -> None:
    assert normalize(one) == normalize(other) != ""
    assert exact_match(one, ["something else", other])


@pytest.mark.parametrize(
    ("one", "other"),
    [("UTC+1", "UTC-1"), ("UTC+1", "UTC 1"), ("3.5", "35"), ("-4", "4"), ("São", "Sao"),
     (".5", "5"), ("1990-2000", "19902000"), ("5.6 million", "56 million"), ("a", "the"),
     ("Oslo", "Oslo, Norway"), ("1,5", "15"), ("हिन्दी", "हन्द")],
)  # fmt: skip
def test_not_equal(one: str, other: str) -> None:
    assert not exact_match(one, [other])


def test_nothing_matches_nothing() -> None:
    assert not exact_match("", [""])
    assert not exact_match("[1].", ["!"])
    assert not exact_match("Oslo", [])


def test_citations_are_no_part_of_an_answer() -> None:
    assert exact_match("[2] Oslo", ["Oslo"])
    assert exact_match("+47 [1].", ["47"])
    assert not exact_match("Oslo 2", ["Oslo"])


@pytest.mark.parametrize("text", ["Unknown.", "UNKNOWN [3].", "I don’t know", "“unknown”"])
def test_abstentions(text: str) -> None:
    assert is_unknown(text)


@pytest.mark.parametrize("text", ["", "[1]", "Unknown Pleasures", "not unknown", "Oslo", "know"])
def test_no_abstentions(text: str) -> None:
    assert not is_unknown(text)
