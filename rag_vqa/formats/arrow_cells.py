"""Arrow cells: a column of Arrow as Python values, one cell at a time where Python cannot hold one.

Knows Arrow's types. Does not know files (parquet.py), nor what becomes of a value
(plain_values.py). A cell that cannot be a value of Python (a year beyond 9999, text that is not
UTF-8) becomes the UnusableValue that says why, so that it costs itself and not its row.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rag_vqa.formats.plain_values import MAX_NUMBERS, UnusableValue

if TYPE_CHECKING:
    import pyarrow

_EPOCH: Final = datetime.datetime(1970, 1, 1)
_MICROSECONDS: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}  # of a unit; "ns" is a thousandth
_BEYOND: Final = "beyond the dates that can be kept"


def column_cells(column: pyarrow.Array) -> list[Any]:
    """The cells of a column, in order; None where there is none."""
    from pyarrow import types

    kind = column.type
    if isinstance(kind, _extension_type()):
        return _extension_cells(column)
    if types.is_dictionary(kind):
        return column_cells(column.dictionary_decode())
    if types.is_timestamp(kind):
        zone = None if kind.tz is None else find_zone(kind.tz)
        return _counted_cells(column, kind.unit, lambda time: _local_time(time, zone))
    if types.is_date32(kind):
        return _day_cells(column)
    if types.is_duration(kind):
        return _counted_cells(column, kind.unit, lambda time: str(time - _EPOCH))
    if types.is_time64(kind) and kind.unit == "ns":
        return _counted_cells(column, "ns", lambda time: time.time().isoformat())
    if types.is_float32(kind):
        return _short_floats(column)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _list_cells(column)
    return _plain_cells(column)


def find_zone(name: str) -> datetime.tzinfo:
    """The time zone of that name, or of an offset such as "+02:00"; UTC if there is none."""
    try:
        parsed = datetime.datetime.fromisoformat(f"1970-01-01T00:00:00{name}").tzinfo
        return parsed or datetime.UTC
    except ValueError:
        pass
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder
        return datetime.UTC


def _extension_type() -> Any:
    import pyarrow

    return pyarrow.BaseExtensionType


def _extension_cells(column: Any) -> list[Any]:
    """A UUID and its like as Python knows them; of other types what is stored."""
    if column.type.extension_name == "arrow.uuid":
        return _plain_cells(column)
    return column_cells(column.storage)


def _plain_cells(column: Any) -> list[Any]:
    import pyarrow

    try:
        values: list[Any] = column.to_pylist()
    except (pyarrow.ArrowException, ValueError, OverflowError, TypeError):
        return [_plain_cell(cell) for cell in column]
    return values


def _plain_cell(cell: Any) -> Any:
    import pyarrow

    try:
        return cell.as_py()
    except UnicodeDecodeError as error:
        return UnusableValue(f"not UTF-8: byte 0x{error.object[error.start]:02x}")
    except (OverflowError, ValueError):
        return UnusableValue(_BEYOND)
    except (pyarrow.ArrowException, TypeError):
        return UnusableValue(f"of type {cell.type}")


def _counted_cells(
    column: Any, unit: str, convert: Callable[[datetime.datetime], Any]
) -> list[Any]:
    """Cells that are stored as a number of units since 1970 (or since midnight)."""
    return [
        None if count is None else _counted_cell(count, unit, convert)
        for count in _integers(column, 64)
    ]


def _counted_cell(count: int, unit: str, convert: Callable[[datetime.datetime], Any]) -> Any:
    micro = count // 1000 if unit == "ns" else count * _MICROSECONDS[unit]
    try:
        return convert(_EPOCH + datetime.timedelta(microseconds=micro))
    except OverflowError:
        return UnusableValue(_BEYOND)


def _local_time(time: datetime.datetime, zone: datetime.tzinfo | None) -> str:
    """ISO text; of a time with a zone, as its clocks show it."""
    if zone is None:
        return time.isoformat()
    return time.replace(tzinfo=datetime.UTC).astimezone(zone).isoformat()


def _day_cells(column: Any) -> list[Any]:
    return [None if days is None else _day_cell(days) for days in _integers(column, 32)]


def _day_cell(days: int) -> Any:
    try:
        return (_EPOCH + datetime.timedelta(days=days)).date().isoformat()
    except OverflowError:
        return UnusableValue(_BEYOND)


def _integers(column: Any, bits: int) -> list[int | None]:
    import pyarrow

    values: list[int | None] = column.view(
        pyarrow.int32() if bits == 32 else pyarrow.int64()
    ).to_pylist()
    return values


def _short_floats(column: Any) -> list[Any]:
    """32-bit numbers as they are written: 0.1, not 0.10000000149."""
    import numpy as np

    return [
        None if value is None else float(str(np.float32(value))) for value in column.to_pylist()
    ]


def _list_cells(column: Any) -> list[Any]:
    """Lists of cells; an embedding stays as it is, because it will not be kept."""
    lengths = [0 if cell is None else len(cell) for cell in _lists(column)]
    if max(lengths, default=0) > MAX_NUMBERS:
        return _plain_cells(column)
    return [None if cell is None else column_cells(cell) for cell in _lists(column)]


def _lists(column: Any) -> Sequence[Any]:
    return [cell.values if cell.is_valid else None for cell in column]
