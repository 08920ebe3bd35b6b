"""Plain values: what JSON, CSV, Arrow, NumPy or pandas hold, as ids, texts, pictures, metadata.

Knows types, which of them are absent (null, NaN, NaT, NA), and which can be kept. Does not know
columns (mapping.py) or documents (document.py), and imports neither NumPy nor pandas.
"""

from __future__ import annotations

import ast
import datetime
import decimal
import enum
import io
import math
import numbers
import re
import sys
import uuid
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Final, TypeAlias

from rag_vqa.errors import BadInput
from rag_vqa.formatting import quote_value
from rag_vqa.types import MetadataValue, Scalar

_List: TypeAlias = list[Any] | tuple[Any, ...] | set[Any] | frozenset[Any]
MAX_NUMBERS: Final = 64  # of a list in metadata: a longer one is an embedding
_ABSENT_TYPES: Final = ("NAType", "NaTType")  # of pandas
_TEXT_TYPES: Final = (decimal.Decimal, uuid.UUID, datetime.timedelta, PurePath)
_DATE_TYPES: Final = (datetime.date, datetime.time)  # a datetime is a date
_BYTES_TYPES: Final = (bytes, bytearray, memoryview)

_ADDRESS: Final = re.compile(r"(?:^|[\s|;])(?:data:|[a-z][a-z0-9+.-]*://)", re.IGNORECASE)
_BEFORE_ADDRESS: Final = re.compile(
    r"\||[;\n](?=\s*(?:data:|[a-z][a-z0-9+.-]*://))|;\s+", re.IGNORECASE
)
_ONE_NAME: Final = re.compile(r"[^\s|;:,\[]+")  # there may be millions
_BETWEEN_NAMES: Final = re.compile(r"[;\n]")
_PICTURE_NAME: Final = re.compile(
    r"[^.]\.(?:avif|bmp|gif|hei[cf]|jfif|jpe?g?|jxl|mpo|png|tiff?|webp)\s*$", re.IGNORECASE
)
_BIG: Final = sys.float_info.max
_LONGEST_LIST: Final = 20_000  # characters of a cell


class UnusableValue(BadInput):
    """A value that costs itself, not its document. Its text is the reason, a few words.

    A reader whose library cannot hold a value puts this in its place.
    """


def plain_value(value: Any) -> Any:
    """A value of another library as Python's own; None if it is absent.

    >>> plain_value(float("nan")), plain_value(datetime.date(1998, 5, 1)), plain_value("a")
    (None, '1998-05-01', 'a')
    """
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        return None if math.isnan(value) else value
    if kind.__name__ in _ABSENT_TYPES:
        return None
    if isinstance(value, enum.Enum):
        return plain_value(value.value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, _DATE_TYPES):
        return value.isoformat()
    if isinstance(value, decimal.Decimal) and not value.is_finite():
        return None if value.is_nan() else float(value)
    if isinstance(value, _TEXT_TYPES):
        return str(value)
    return _foreign_value(value)


def _foreign_value(value: Any) -> Any:
    """A scalar of NumPy or Arrow as Python's; an array of one dimension as a list."""
    module = type(value).__module__.partition(".")[0]
    if module == "numpy" and getattr(value, "ndim", None) == 0:
        return plain_value(_numpy_scalar(value))
    if module in ("numpy", "pandas") and getattr(value, "ndim", None) == 1:
        return value.tolist()
    if module == "pandas" and not hasattr(value, "__len__"):  # a period, an interval
        return str(value)
    if module == "pyarrow" and hasattr(value, "as_py"):
        return plain_value(value.as_py())
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return plain_value(float(value))
    return value


def _numpy_scalar(value: Any) -> Any:
    """Its Python value; a time of nanoseconds, which Python has none of, as text."""
    if getattr(value, "dtype", None) is not None and value.dtype.kind in "mM":
        text = str(value)
        return None if text == "NaT" else _trim_fraction(text)
    if value.dtype.kind == "f" and value.dtype.itemsize < 8:
        return float(str(value))  # as it is written: 0.1, not 0.10000000149
    return value.item()


def _trim_fraction(text: str) -> str:
    """An ISO time without a fraction of zeros, as Python writes it."""
    head, point, fraction = text.partition(".")
    return head if point and not fraction.strip("0") else text


def metadata_value(value: Any) -> MetadataValue:
    """A value as metadata holds it: a scalar, or a tuple of scalars; None if it is absent.

    Raises:
        UnusableValue: nested, binary, infinite, beyond 64 bits, or over MAX_NUMBERS numbers.

    >>> metadata_value(["fern", None, "shade"]), metadata_value([]), metadata_value(12.5)
    (('fern', 'shade'), None, 12.5)
    """
    kind = type(value)  # most values are of these kinds, and there may be millions
    if kind is str and value and value.isascii() and "\0" not in value:
        return value  # type: ignore[no-any-return]
    if (kind is int and -(2**63) <= value < 2**63) or (kind is float and -_BIG < value < _BIG):
        return value  # type: ignore[no-any-return]
    value = plain_value(value)
    if isinstance(value, list | tuple | set | frozenset):
        return _metadata_list(value)
    return _metadata_scalar(value)


def _metadata_list(values: _List) -> MetadataValue:
    listed = sorted(values, key=str) if isinstance(values, set | frozenset) else values
    if len(listed) > MAX_NUMBERS and isinstance(plain_value(listed[0]), int | float):
        raise UnusableValue(f"a list of over {MAX_NUMBERS} numbers")
    plain = (_metadata_scalar(plain_value(item)) for item in listed)
    kept = tuple(item for item in plain if item is not None)
    return kept or None


def _metadata_scalar(value: Any) -> Scalar:
    if isinstance(value, UnusableValue):
        raise value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if problem := text_problem(value):
            raise UnusableValue(problem)
        return value or None
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise UnusableValue("beyond 64 bits")
        return value
    if isinstance(value, float):
        if math.isinf(value):
            raise UnusableValue("infinite")
        return value
    if isinstance(value, _BYTES_TYPES):
        raise UnusableValue("binary")
    if isinstance(value, dict | list | tuple | set | frozenset):
        raise UnusableValue("nested")
    raise UnusableValue(f"of type {type(value).__name__}")


def text_problem(text: str) -> str:
    """Why a text cannot be stored; "" if it can.

    >>> text_problem("a"), text_problem("a\\0")
    ('', 'a NUL character')
    """
    if "\0" in text:
        return "a NUL character"
    if text.isascii():
        return ""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half a character (a lone surrogate)"
    return ""


def id_text(value: Any) -> str | None:
    """An id as text; None if it is absent. A float that is a whole number loses its ".0".

    Raises:
        BadInput: a boolean, bytes, a list, a structure or infinity.

    >>> id_text(41), id_text(1.0), id_text("007"), id_text(None)
    ('41', '1', '007', None)
    """
    plain = plain_value(value)
    if plain is None or type(plain) is str:
        return plain
    if isinstance(plain, float) and math.isfinite(plain):
        return str(int(plain)) if plain.is_integer() else repr(plain)
    if isinstance(plain, int) and not isinstance(plain, bool):
        return str(plain)
    if isinstance(plain, UnusableValue):
        raise BadInput(f"the id is {plain}.")
    raise BadInput(f"the id is {quote_value(plain)}, not a text or a number.")


def field_text(name: str, value: Any) -> str:
    """A value as the text of a field; "" if it is absent. Texts of a list get a line each.

    Raises:
        BadInput: bytes, a structure, or a list of other things than texts.

    >>> field_text("title", 1984), field_text("text", ["One.", "Two."])
    ('1984', 'One.\\nTwo.')
    """
    plain = plain_value(value)
    if type(plain) is str:
        return plain
    if plain is None:
        return ""
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, int | float):
        return str(plain)
    if isinstance(plain, list | tuple):
        parts = [plain_value(part) for part in plain]
        if all(part is None or isinstance(part, str) for part in parts):
            return "\n".join(part for part in parts if part)
    if isinstance(plain, UnusableValue):
        raise BadInput(f"{name} is {plain}.")
    raise BadInput(f"{name} is {quote_value(plain)}, not text.")


def picture_list(value: Any) -> list[Any]:
    """The pictures of a field, as they are: names, bytes, or what a program decoded.

    One picture is a list of one. {"bytes", "path"}, as `datasets` writes a picture, is its bytes,
    or else its path. Absent and blank ones are left out.

    >>> picture_list("a.jpg"), picture_list(["a.jpg", None, ""]), picture_list(None)
    (['a.jpg'], ['a.jpg'], [])
    """
    if type(value) is list and len(value) == 1 and type(value[0]) is str:
        return [name] if (name := value[0].strip()) else []
    if isinstance(value, list | tuple):
        return [picture for part in value for picture in picture_list(part)]
    if _is_object_array(value):
        return picture_list(value.tolist())
    picture = _picture(value)
    return [] if picture is None or (type(picture) is str and not picture) else [picture]


def _is_object_array(value: Any) -> bool:
    """Whether it is an array of names or bytes, as pandas makes of a list in a cell."""
    if getattr(value, "ndim", None) != 1:
        return False
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return kind in ("O", "U", "T") or type(value).__module__.startswith("pandas")


def _picture(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bytes):
        return value or None
    if isinstance(value, bytearray | memoryview):
        return bytes(value) or None
    if isinstance(value, io.BytesIO):
        return value.getvalue() or None
    if isinstance(value, dict):
        return _picture_of_structure(value)
    if value is None or type(value).__name__ in _ABSENT_TYPES:
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def _picture_of_structure(value: dict[str, Any]) -> Any:
    for name in ("bytes", "path", "url", "src"):
        part = value.get(name)
        if isinstance(part, str | PurePath | bytes | bytearray | memoryview) and part:
            return _picture(part)
    return None if not any(value.values()) else value


def rows_of_table(table: Any) -> Any:
    """The rows of a DataFrame of pandas as mappings; anything else as it is."""
    is_frame = type(table).__module__.startswith("pandas") and hasattr(table, "columns")
    return table.to_dict("records") if is_frame else table


def mapping_of_row(row: Any) -> Any:
    """One row of a DataFrame of pandas as a mapping; anything else as it is."""
    is_series = type(row).__module__.startswith("pandas") and hasattr(row, "index")
    return row.to_dict() if is_series else row


def is_absent(value: Any) -> bool:
    """Whether a cell is empty: null, NaN or a text without characters."""
    if type(value) is str:
        return not value
    return value is None or (type(value) is float and math.isnan(value))


def names_in_cell(cell: str) -> Sequence[str]:
    """Names of pictures in one text cell: between `|`, or `;`, or in lines, or as a list in JSON.

    Commas separate names if each part ends like a picture's name. A `data:` address contains a
    semicolon and a comma of its own, and so may a web address.

    >>> names_in_cell("a.jpg; b.jpg"), names_in_cell("a;1.jpg|b.jpg"), names_in_cell('["a.jpg"]')
    (['a.jpg', 'b.jpg'], ['a;1.jpg', 'b.jpg'], ['a.jpg'])
    """
    if _ONE_NAME.fullmatch(cell):
        return [cell.strip()]
    listed = texts_of_list(cell)
    if listed is not None:
        return listed
    if _ADDRESS.search(cell):
        parts = _BEFORE_ADDRESS.split(cell)
    elif "|" in cell:
        parts = cell.split("|")
    else:
        parts = _BETWEEN_NAMES.split(cell)
        if len(parts) == 1 and all(map(_PICTURE_NAME.search, commas := cell.split(","))):
            parts = commas
    return [part.strip() for part in parts if part.strip()]


def texts_of_list(cell: str) -> list[str] | None:
    """The texts of a cell such as `["a", "b"]` or `['a', 'b']`; None if it is anything else.

    pandas and json write a list into a table like this.

    >>> texts_of_list("['fern', 'shade']"), texts_of_list("[1650]")
    (['fern', 'shade'], None)
    """
    if not (len(cell) <= _LONGEST_LIST and cell[:1] == "[" and cell[-1:] == "]"):
        return None
    try:
        found = ast.literal_eval(cell)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    good = isinstance(found, list) and found and all(isinstance(part, str) for part in found)
    return found if good else None
