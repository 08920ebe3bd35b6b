"""Numbers, times and tables as text; untrusted text without what a terminal obeys."""

import datetime
from decimal import Decimal

import pytest

from rag_vqa import formatting
from rag_vqa.formatting import format_value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本 👩‍🚀", "plain é 日本 👩‍🚀"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u200bb", "a\\u200bb"),
        ("a\x9bb", "a\\x9bb"),
        ("a\U000e0041b", "a\\U000e0041b"),
        ("a\ud800b", "a\\ud800b"),
        ("a\r\x08b", "a\\x0d\\x08b"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert formatting.escape_invisible(text) == shown


def test_one_line_has_no_line_break() -> None:
    assert formatting.one_line("a\n b\tc\u2028d") == "a b c d"


def test_table_lines_up() -> None:
    rows = [{"a": "1", "bb": "x"}, {"a": "333", "bb": "y"}]
    assert formatting.format_table(rows) == "a    bb\n1    x\n333  y"


def test_time_left_by_hand() -> None:
    # 30 of 120 done in 60 s: 0.5/s, 90 left at that rate take 180 s.
    assert formatting.format_rate_and_eta(30, 120, 60.0) == "30/120  0.5/s  0:03:00 left"
    assert formatting.format_rate_and_eta(30, None, 0.0) == "30  0.0/s"


def test_values_are_written_as_people_write_them() -> None:
    day = datetime.date(1998, 5, 1)
    assert [format_value(value) for value in (1650.0, 12.5, Decimal("12.50"), day)] == [
        "1650",
        "12.5",
        "12.50",
        "1998-05-01",
    ]
    assert format_value(["oil", None, "canvas"]) == "oil, canvas"
    absent: tuple[object, ...] = (None, float("nan"), "", "  ", [], {"a": 1}, b"bytes")
    assert [format_value(value) for value in absent] == [""] * len(absent)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1998-05-01T00:00:00", "1998-05-01"),
        ("1998-05-01T00:00:00.000Z", "1998-05-01"),
        ("1998-05-01T00:00:00+02:00", "1998-05-01 00:00:00+02:00"),
        ("1998-05-01T06:45:00.500", "1998-05-01 06:45:00.5"),
        ("1998-05-01 06:45", "1998-05-01 06:45"),
        ("on 1998-05-01T00:00:00", "on 1998-05-01T00:00:00"),
        ("06:45:00", "06:45:00"),
        (1234567.25, "1234567.25"),
        (0.1 + 0.2, "0.3"),
        (2**60, "1152921504606846976"),
    ],
)
def test_times_and_numbers_are_written_for_people(value: object, text: str) -> None:
    assert format_value(value) == text
