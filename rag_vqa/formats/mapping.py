"""Column mapping: columns of a table become fields of a document, as the user says.

Knows names and cells. Does not know files: csv.py and parquet.py pass rows.

A column named like a field is that field. `--map FIELD=COLUMN[,COLUMN]` names others; a column
named there is not also taken by its own name. All other columns become metadata. Texts of several
columns are joined by line breaks, pictures of several columns are listed. A text cell holds several
pictures with `|` between them, or with `;` if there is no `|`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.formats.document import FIELDS
from rag_vqa.formatting import did_you_mean, quote_value
from rag_vqa.types import Scalar

IMAGES = ("image", "images")
_MAPPABLE = tuple(field for field in FIELDS if field != "metadata")
_INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]+\.[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of each field, and columns that become metadata."""

    fields: Mapping[str, tuple[str, ...]]
    metadata: tuple[str, ...]


def parse_mapping(pairs: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Parse the values of `--map`.

    >>> parse_mapping(["id=inv_no", "text=title, description"])
    {'id': ('inv_no',), 'text': ('title', 'description')}

    Raises:
        UsageError: not FIELD=COLUMN, or a field that is given twice.
    """
    mapping: dict[str, tuple[str, ...]] = {}
    for pair in pairs:
        field, equals, columns = pair.partition("=")
        names = tuple(name.strip() for name in columns.split(","))
        if not equals or not field.strip() or not all(names):
            raise UsageError(
                f"--map {quote_value(pair)}: write FIELD=COLUMN, or FIELD=COLUMN,COLUMN."
            )
        if field.strip() in mapping:
            raise UsageError(
                f"--map {field.strip()} is given twice: name all its columns in one --map."
            )
        mapping[field.strip()] = names
    return mapping


def resolve_columns(columns: Sequence[str], mapping: Mapping[str, Sequence[str]] | None) -> Columns:
    """Assign each column of a table to a field or to metadata.

    Raises:
        UsageError: a field or a column is unknown, or the id has no column, or several.
    """
    fields: dict[str, tuple[str, ...]] = {}
    for field, names in (mapping or {}).items():
        if field not in _MAPPABLE:
            hint = did_you_mean(field, _MAPPABLE) or f" Fields: {', '.join(_MAPPABLE)}."
            raise UsageError(f"--map {field}=…: a document has no such field.{hint}")
        for name in names:
            if name not in columns:
                hint = did_you_mean(name, columns) or f" Columns: {_list_names(columns)}."
                raise UsageError(f"--map {field}={name}: there is no such column.{hint}")
        fields[field] = tuple(names)
    taken = {name for names in fields.values() for name in names}
    for field in _MAPPABLE:
        if field in columns and field not in fields and field not in taken:
            fields[field] = (field,)
    if len(fields.get("id", ())) != 1:
        raise UsageError(
            f"which column is the id? Give --map id=COLUMN. Columns: {_list_names(columns)}."
        )
    if all(field in fields for field in IMAGES):
        raise UsageError("both image and images have columns: keep one of them.")
    taken = {name for names in fields.values() for name in names}
    return Columns(fields, tuple(name for name in columns if name not in taken))


def map_row(row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """A row as fields of document.py, without empty cells.

    Raises:
        BadInput: a text field has a cell that is not text.
    """
    fields: dict[str, Any] = {}
    for field, names in columns.fields.items():
        cells = [row[name] for name in names if row[name] not in (None, "")]
        if field in IMAGES:
            fields["images"] = [picture for cell in cells for picture in _split_pictures(cell)]
        elif field == "id":
            fields[field] = cells[0] if cells else None
        elif len(cells) == 1:
            fields[field] = cells[0]
        else:
            fields[field] = "\n".join(_require_text(field, cell) for cell in cells)
    fields["metadata"] = {n: row[n] for n in columns.metadata if row[n] not in (None, "")}
    return fields


def parse_scalar(text: str) -> Scalar:
    """A text cell as a number, if that number would be written with exactly these characters.

    So nothing is lost: a postcode keeps its zero, and 12.10 does not become 12.1.

    >>> [parse_scalar(text) for text in ("1990", "-0.5", "007", "12.10", "1e3", "true", "")]
    [1990, -0.5, '007', '12.10', '1e3', 'true', '']
    """
    if _INTEGER.fullmatch(text):
        number: int | float = int(text)
        return number if str(number) == text and -(2**63) <= number < 2**63 else text
    if len(text) <= 20 and _DECIMAL.fullmatch(text):
        number = float(text)
        return number if repr(number) == text else text
    return text


def _split_pictures(cell: object) -> list[Any]:
    if isinstance(cell, str):
        parts = cell.split("|" if "|" in cell else ";")
        return [part.strip() for part in parts if part.strip()]
    return list(cell) if isinstance(cell, list) else [cell]


def _require_text(field: str, cell: object) -> str:
    if not isinstance(cell, str):
        raise BadInput(f"{field} is {quote_value(cell)}, not text.")
    return cell


def _list_names(columns: Sequence[str]) -> str:
    names = ", ".join(columns[:20])
    return names if len(columns) <= 20 else f"{names} and {len(columns) - 20} more"
