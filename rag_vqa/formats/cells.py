"""Cells of Arrow tables → what a document's fields hold.

It knows types of columns and values of Python. It does not know files, and decodes no picture:
those are bytes or names here.

An integer id becomes its digits. Numbers and dates make texts where they are mapped to one, lists
of texts too. Elsewhere lists, structures and bytes are left out, because metadata is flat.
"""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rag_vqa.formats.mapping import IMAGES, Columns, fields_of

if TYPE_CHECKING:
    import pyarrow


def row_fields(row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """One row as fields of document.py."""
    cells = dict(row)
    for field, names in columns.fields.items():
        change = _pictures if field in IMAGES else _id if field == "id" else _words
        cells |= {name: change(row[name]) for name in names}
    cells |= {name: _scalar(row[name]) for name in columns.metadata}
    fields = fields_of(cells, columns)
    if isinstance(given := row.get("metadata"), dict):  # as our own records write it
        fields["metadata"] |= {name: value for name, value in given.items() if value is not None}
    return fields


def flat(kind: pyarrow.DataType) -> bool:
    """Whether a column of this type can be metadata."""
    from pyarrow import types

    binary = (
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    )
    return not (types.is_nested(kind) or binary)


def _scalar(cell: Any) -> Any:
    """A value as metadata holds it: dates and decimals as text; NaN, as pandas writes it, none."""
    if isinstance(cell, float) and math.isnan(cell):
        return None
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    return str(cell) if isinstance(cell, decimal.Decimal | datetime.timedelta) else cell


def _id(cell: Any) -> Any:
    return str(cell) if isinstance(cell, int) and not isinstance(cell, bool) else cell


def _words(cell: Any) -> Any:
    """A cell as text: a list of texts is joined by line ends."""
    if isinstance(cell, list) and all(isinstance(part, str) for part in cell):
        return "\n".join(cell)
    cell = _scalar(cell)
    return cell if cell is None or isinstance(cell, bytes | list | dict) else str(cell)


def _pictures(cell: Any) -> Any:
    """Names or bytes; `datasets` writes a picture as {"bytes", "path"}, one of them null."""
    if isinstance(cell, list):
        return [picture for part in cell if (picture := _pictures(part))]
    if isinstance(cell, dict) and cell.keys() <= {"bytes", "path"}:
        return cell.get("bytes") or cell.get("path")
    return cell
