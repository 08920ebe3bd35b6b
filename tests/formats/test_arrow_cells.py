"""Cells of Arrow's types, also those that Python cannot hold."""

import datetime
import decimal
import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rag_vqa.formats.arrow_cells import column_cells, find_zone
from rag_vqa.formats.plain_values import UnusableValue

INT, DAY = pa.int64(), pa.int32()
CELLS: dict[str, tuple[Any, list[Any]]] = {
    "times": (pa.array([0, None], INT).view(pa.timestamp("us")), ["1970-01-01T00:00:00", None]),
    "nanoseconds": (
        pa.array([10**18 + 1], INT).view(pa.timestamp("ns")), ["2001-09-09T01:46:40"],
    ),
    "a fraction": (pa.array([1500], INT).view(pa.timestamp("ms")), ["1970-01-01T00:00:01.500000"]),
    "before 1970": (pa.array([-86400], INT).view(pa.timestamp("s")), ["1969-12-31T00:00:00"]),
    "a zone": (
        pa.array([0], INT).view(pa.timestamp("s", "Europe/Berlin")), ["1970-01-01T01:00:00+01:00"],
    ),
    "an offset": (
        pa.array([0], INT).view(pa.timestamp("s", "+05:30")), ["1970-01-01T05:30:00+05:30"],
    ),
    "an unknown zone": (
        pa.array([0], INT).view(pa.timestamp("s", "Mars/Olympus")), ["1970-01-01T00:00:00+00:00"],
    ),
    "days": (pa.array([10_000, None], DAY).view(pa.date32()), ["1997-05-19", None]),
    "durations": (pa.array([90], INT).view(pa.duration("s")), ["0:01:30"]),
    "time of the day": (
        pa.array([24_300_000_000_001], INT).view(pa.time64("ns")), ["06:45:00"],
    ),
    "floats": (pa.array([0.1, None, 2.5], pa.float32()), [0.1, None, 2.5]),
    "half floats": (pa.array(np.array([0.5], np.float16)), [0.5]),
    "floats of a list": (pa.array([[0.1], None], pa.list_(pa.float32())), [[0.1], None]),
    "times of a list": (
        pa.array([[0], []], pa.list_(pa.timestamp("us"))), [["1970-01-01T00:00:00"], []],
    ),
    "categories": (pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
    "decimals": (pa.array([decimal.Decimal("12.50")]), [decimal.Decimal("12.50")]),
    "views": (pa.array(["a", None], pa.string_view()), ["a", None]),
    "structures": (pa.array([{"bytes": b"x", "path": None}]), [{"bytes": b"x", "path": None}]),
    "UUIDs": (
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(15) + b"\7"], pa.binary(16))),
        [uuid.UUID(int=7)],
    ),
    "nothing": (pa.nulls(2), [None, None]),
}  # fmt: skip


@pytest.mark.parametrize(("column", "cells"), CELLS.values(), ids=CELLS)
def test_cells(column: Any, cells: list[Any]) -> None:
    assert column_cells(column) == cells


FAR: dict[str, Any] = {
    "years": pa.array([2**62, 0], INT).view(pa.timestamp("us")),
    "seconds": pa.array([-(2**62), 0], INT).view(pa.timestamp("s")),
    "with a zone": pa.array([253402300799, 0], INT).view(pa.timestamp("s", "Asia/Tokyo")),
    "days": pa.array([2**31 - 1, 0], DAY).view(pa.date32()),
    "durations": pa.array([2**62, 0], INT).view(pa.duration("ms")),
    "date64": pa.array([2**62, 0], INT).view(pa.date64()),
}


@pytest.mark.parametrize("column", FAR.values(), ids=FAR)
def test_what_python_cannot_hold_costs_its_cell(column: Any) -> None:
    far, near = column_cells(column)
    assert isinstance(far, UnusableValue) and "dates" in str(far)
    assert str(near).startswith(("1970-01-01", "0:00:00"))


def test_text_that_is_not_utf_8_costs_its_cell() -> None:
    column = pa.array([b"a\xff", b"b"]).view(pa.string())
    bad, good = column_cells(column)
    assert isinstance(bad, UnusableValue) and "0xff" in str(bad) and good == "b"


def test_an_embedding_is_left_as_it_is() -> None:
    ((first, *rest),) = column_cells(pa.array([[0.1] * 65], pa.list_(pa.float32())))
    assert first == np.float32(0.1) and len(rest) == 64


@pytest.mark.parametrize("name", ["", "x/../../etc", "Europe", "+99:00", "\0"])
def test_what_is_no_zone_is_utc(name: str) -> None:
    assert find_zone(name) in (datetime.UTC, datetime.timezone(datetime.timedelta(0)))
