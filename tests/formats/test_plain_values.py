"""Values of Python, NumPy and pandas, as documents hold them."""

import datetime
import decimal
import io
import pathlib
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rag_vqa.errors import BadInput
from rag_vqa.formats.plain_values import (
    UnusableValue,
    field_text,
    id_text,
    mapping_of_row,
    metadata_value,
    picture_list,
    rows_of_table,
)

METADATA: list[tuple[Any, Any]] = [
    (np.int64(3), 3),
    (np.float32(0.1), 0.1),  # as it is written
    (np.bool_(True), True),
    (np.str_("x"), "x"),
    (np.array(5), 5),
    (np.array(["a", "b"]), ("a", "b")),
    (np.datetime64("1998-05-01T10:30:00.000000000"), "1998-05-01T10:30:00"),
    (np.datetime64("NaT"), None),
    (pd.NA, None),
    (pd.NaT, None),
    (float("nan"), None),
    ("", None),
    ([], None),
    (pd.Timestamp("1998-05-01 10:30"), "1998-05-01T10:30:00"),
    (pd.Timestamp("1998-05-01", tz="Europe/Berlin"), "1998-05-01T00:00:00+02:00"),
    (pd.Period("2020-01"), "2020-01"),
    (pd.Series([1, 2]), (1, 2)),
    (datetime.date(1998, 5, 1), "1998-05-01"),
    (datetime.time(6, 45), "06:45:00"),
    (decimal.Decimal("12.50"), "12.50"),
    (decimal.Decimal("NaN"), None),
    (uuid.UUID(int=6), "00000000-0000-0000-0000-000000000006"),
    (pathlib.PurePosixPath("a/b"), "a/b"),
    ({"b", "a"}, ("a", "b")),
    (["a", None, 2, float("nan")], ("a", 2)),
    ([0.5] * 64, (0.5,) * 64),
    (["word"] * 65, ("word",) * 65),
    (2**63 - 1, 2**63 - 1),
]


@pytest.mark.parametrize(("value", "expected"), METADATA, ids=range(len(METADATA)))
def test_metadata(value: Any, expected: Any) -> None:
    found = metadata_value(value)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"x": 1}, "nested"),
        ([[1]], "nested"),
        (b"x", "binary"),
        (memoryview(b"x"), "binary"),
        (float("-inf"), "infinite"),
        (decimal.Decimal("Infinity"), "infinite"),
        (2**63, "beyond 64 bits"),
        (np.uint64(2**64 - 1), "beyond 64 bits"),
        ([0.5] * 65, "a list of over 64 numbers"),
        (np.zeros(65), "a list of over 64 numbers"),
        (np.zeros((2, 2)), "of type ndarray"),
        (object(), "of type object"),
        (1j, "of type complex"),
        ("a\0", "a NUL character"),
        ("\ud800", "half a character (a lone surrogate)"),
    ],
)
def test_what_metadata_cannot_hold(value: Any, reason: str) -> None:
    with pytest.raises(UnusableValue) as raised:
        metadata_value(value)
    assert str(raised.value) == reason


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (41, "41"), (np.int32(5), "5"), (1.0, "1"), (1.5, "1.5"), (1e15, "1000000000000000"),
        ("007", "007"), (decimal.Decimal("1.0"), "1.0"), (datetime.date(2020, 1, 2), "2020-01-02"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (None, None), (pd.NA, None), (float("nan"), None),
    ],
)  # fmt: skip
def test_ids(value: Any, expected: str | None) -> None:
    assert id_text(value) == expected


@pytest.mark.parametrize("value", [True, b"x", ["a"], {"a": 1}, float("inf"), np.True_])
def test_what_is_no_id(value: Any) -> None:
    with pytest.raises(BadInput, match=r"the id is .*, not a text or a number"):
        id_text(value)


def test_texts_of_fields() -> None:
    assert field_text("title", np.int64(1984)) == "1984"
    assert field_text("text", np.array(["One.", "Two."])) == "One.\nTwo."
    assert field_text("text", [None, "One.", pd.NA]) == "One."
    assert field_text("text", pd.NA) == "" and field_text("text", False) == "false"
    for bad in (b"x", {"de": "x"}, [1, 2], ["x", {"y": 1}]):
        with pytest.raises(BadInput, match=r"text is .*, not text"):
            field_text("text", bad)


def test_pictures_of_fields() -> None:
    assert picture_list(io.BytesIO(b"x")) == picture_list(bytearray(b"x")) == [b"x"]
    assert picture_list(memoryview(b"x")) == picture_list({"bytes": b"x", "path": "p"}) == [b"x"]
    assert picture_list({"bytes": None, "path": "p"}) == [" p ".strip()]
    path = pathlib.Path("p")
    assert picture_list((path, None, " ", float("nan"), pd.NA)) == [path]
    assert picture_list(np.array(["p", "q"], object)) == picture_list(pd.Series(["p", "q"]))
    (array,) = picture_list(np.zeros((2, 3), np.uint8))
    assert array.shape == (2, 3)


def test_rows_of_a_data_frame() -> None:
    frame = pd.DataFrame({"id": [1, 2], "x": ["a", None]})
    rows = rows_of_table(frame)
    assert [row["id"] for row in rows] == [1, 2]
    (first, *_) = (mapping_of_row(row) for _, row in frame.iterrows())
    assert first == {"id": 1, "x": "a"}
    plain = [{"id": 1}]
    assert rows_of_table(plain) is plain and mapping_of_row(plain[0]) is plain[0]
