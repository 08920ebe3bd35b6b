"""Column mapping: columns of a table, or fields of a record, become fields of a document.

Knows names and cells. Does not know files or how a value is converted (plain_values.py): each
format passes rows as they are.

A column named like a field is that field. `--map FIELD=COLUMN[,COLUMN]` names others; a column
named there is not also taken by its own name. Names match regardless of capitals and of blanks
around them. Names that corpora share (`_id`, `contents` …) are taken where there is neither. All
other columns become metadata. Texts of several columns are joined by line breaks, pictures of
several columns are listed.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rag_vqa.errors import UsageError
from rag_vqa.formats.document import FIELDS
from rag_vqa.formats.plain_values import (
    field_text,
    names_in_cell,
    picture_list,
    texts_of_list,
)
from rag_vqa.formats.text_template import TextTemplate
from rag_vqa.formatting import did_you_mean, quote_value
from rag_vqa.types import Scalar

IMAGES = ("image", "images")
SHORT_TEXT: Final = 200  # characters; a longer text that could be the text is no metadata
_MAPPABLE = tuple(name for name in FIELDS if name != "metadata")
# Of BEIR, FlashRAG, Pyserini, LangChain and ImageFolder; the first that is there is taken.
WELL_KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("_id",),
    "text": ("contents", "content", "page_content", "caption"),
    "images": ("file_name", "file_names", "image_file_name", "image_file_names"),
}
_IMAGE_FOLDER_IDS: Final = ("file_name", "image_file_name")
_COULD_BE_TEXT: Final = ("text", *WELL_KNOWN["text"])
_INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]+\.[0-9]+", re.ASCII)
_METADATA: Final = "metadata"
_NEARLY: Final = 0.8  # of a name that is mistyped, between 0 and 1
_TYPED: Final = ("text", "retrieval_text", "title", "section")  # fields that people mistype


def parse_mapping(pairs: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Parse the values of `--map`.

    >>> parse_mapping(["id=inv_no", "text=title, description", "images="])
    {'id': ('inv_no',), 'text': ('title', 'description'), 'images': ()}

    Raises:
        UsageError: not FIELD=COLUMN, or a field that is given twice.
    """
    mapping: dict[str, tuple[str, ...]] = {}
    for pair in pairs:
        name, equals, columns = pair.partition("=")
        names = tuple(column.strip() for column in columns.split(",") if columns.strip())
        is_empty = not name.strip() or (not names and name.strip() == "id")
        if not equals or is_empty or not all(names):
            raise UsageError(
                f"--map {quote_value(pair)}: write FIELD=COLUMN, or FIELD=COLUMN,COLUMN, "
                "or FIELD= if no column is meant."
            )
        if name.strip() in mapping:
            raise UsageError(
                f"--map {name.strip()} is given twice: name all its columns in one --map."
            )
        mapping[name.strip()] = names
    return mapping


def normal_name(name: str) -> str:
    """A column's name for comparison: without blanks around it, capitals or forms of accents.

    >>> normal_name(" Année ")
    'année'
    """
    return unicodedata.normalize("NFC", name.strip()).casefold()


@dataclass(frozen=True, slots=True)
class _Role:
    """What a column is: one of the columns of a field, in their order, or metadata."""

    field: str
    order: int = 0


@dataclass(slots=True)
class FieldMapping:
    """Which columns are which fields, for all rows of a source.

    Attributes:
        fields: field → its columns.
        metadata: columns that become metadata, as far as they are known.
        remarks: what the user should know, one line each.
        template: fills the text from columns; None: the text is a column.
        written: cells are text as a person wrote it: a number is metadata as a number.
    """

    fields: Mapping[str, tuple[str, ...]]
    metadata: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    template: TextTemplate | None = None
    written: bool = False
    _roles: dict[str, tuple[_Role, ...]] = field(default_factory=dict)
    # Columns that are the only one of their field, or metadata → that field.
    _single: dict[str, str] = field(default_factory=dict)

    @classmethod
    def resolve(
        cls,
        columns: Sequence[str],
        mapping: Mapping[str, Sequence[str]] | None = None,
        text: str | None = None,
        *,
        written: bool = False,
        id_default: str | None = None,
    ) -> FieldMapping:
        """Assign each column to a field or to metadata.

        Args:
            mapping: field → columns, as the user says.
            text: a template of the text, see TextTemplate.
            id_default: column that is the id where nothing else says which; by default that of
                ImageFolder, `file_name`, which names the pictures.

        Raises:
            UsageError: a field or a column is unknown, or the id has no column, or several.
        """
        template = None if text is None else TextTemplate.parse(text, columns)
        if template is not None and "text" in (mapping or {}):
            raise UsageError("both --text and --map text=… are given: keep one of them.")
        fields = _mapped_fields(columns, mapping or {})
        _add_own_names(fields, columns, without=("text",) if template else ())
        remarks = _add_well_known(fields, columns, without=("text",) if template else ())
        if "id" not in fields:
            id_default = id_default or _image_folder_id(fields)
            if id_default is not None:
                fields["id"] = (id_default,)
                remarks += (f"the id is read from {quote_value(id_default)} too",)
        if len(fields.get("id", ())) != 1:
            raise UsageError(
                f"which column is the id? Give --map id=COLUMN. Columns: {_list_names(columns)}."
            )
        roles: dict[str, tuple[_Role, ...]] = {}
        for key, names in fields.items():
            for order, name in enumerate(names):
                roles[name] = (*roles.get(name, ()), _Role(key, order))
        metadata = tuple(name for name in columns if name not in roles and name != _METADATA)
        used = template.columns if template is not None else ()
        remarks += _near_fields(fields, [name for name in metadata if name not in used])
        single = {
            names[0]: key
            for key, names in fields.items()
            if len(names) == 1 == len(roles[names[0]]) and key != "images"
        }
        single |= {name: _METADATA for name in metadata if normal_name(name) != _METADATA}
        return cls(fields, metadata, remarks, template, written, roles, single)

    def read(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row as fields of document.py, without empty cells; values are not converted yet.

        Raises:
            BadInput: one of several columns of a text is no text.
        """
        fields: dict[str, Any] = {}
        metadata: dict[str, Any] = {}
        others: list[tuple[str, Any]] = []
        single = self._single
        for name, cell in row.items():  # runs for each cell of a source: is_absent, written out
            kind = type(cell)
            if not cell if kind is str else cell is None or (kind is float and cell != cell):
                continue
            field_name = single.get(name)
            if field_name is None:
                others.append((name, cell))
            elif field_name is not _METADATA:
                fields[field_name] = cell
            elif kind is not str:
                metadata[name.strip()] = cell
            elif len(cell) <= SHORT_TEXT or normal_name(name) not in _COULD_BE_TEXT:
                metadata[name.strip()] = self._metadata_text(cell)
        if others:
            self._read_others(others, fields, metadata)
        if self.template is not None:
            fields["text"] = self.template.fill(row, self.written)
        fields[_METADATA] = metadata
        return fields

    def _read_others(
        self, cells: list[tuple[str, Any]], fields: dict[str, Any], metadata: dict[str, Any]
    ) -> None:
        """Read cells whose columns are not the only one of a field, nor known as metadata."""
        parts: dict[str, list[tuple[int, Any]]] = {}
        for name, cell in cells:
            roles = self._roles.get(name)
            if roles is None:
                roles = self._roles[name] = (self._late_role(name),)
            if roles[0].field != _METADATA:
                for role in roles:
                    single = [(0, fields[role.field])] if role.field in fields else []
                    parts.setdefault(role.field, single).append((role.order, cell))
            elif roles[0].order:  # the column called metadata, an object of names and values
                found = cell if isinstance(cell, dict) else _parse_object(cell)
                if found is None:
                    metadata[name] = cell
                else:
                    for key, value in found.items():
                        metadata.setdefault(key, value)
            else:
                self._single[name] = _METADATA
                if not isinstance(cell, str):
                    metadata[name.strip()] = cell
                elif len(cell) <= SHORT_TEXT or normal_name(name) not in _COULD_BE_TEXT:
                    metadata[name.strip()] = self._metadata_text(cell)
        for name, listed in parts.items():
            fields[name] = _join_cells(name, sorted_cells(listed))

    def _late_role(self, name: str) -> _Role:
        """The role of a name that the beginning of the source did not have, or has as metadata."""
        plain = normal_name(name)
        if plain == _METADATA:
            return _Role(_METADATA, 1)
        if name in self.metadata:
            return _Role(_METADATA)
        for key, names in self.fields.items():
            for order, column in enumerate(names):
                if normal_name(column) == plain:
                    return _Role(key, order)
        if plain in _MAPPABLE and not (plain == "text" and self.template):
            own = "images" if plain in IMAGES else plain
            taken = self.fields.get(own)
            if taken is None or (taken and taken[0].strip() in WELL_KNOWN.get(own, ())):
                return _Role(own, -1)  # before a well-known name
        return _Role(_METADATA)

    def _metadata_text(self, cell: str) -> Any:
        listed = texts_of_list(cell) if cell[0] == "[" else None
        return listed if listed is not None else parse_scalar(cell) if self.written else cell


def sorted_cells(cells: list[tuple[int, Any]]) -> list[Any]:
    """Cells of one field in the order of its columns."""
    return [cell for _, cell in sorted(cells, key=lambda pair: pair[0])]


def _join_cells(name: str, cells: list[Any]) -> Any:
    if name == "images":
        return [
            picture
            for cell in cells
            for picture in (names_in_cell(cell) if isinstance(cell, str) else picture_list(cell))
        ]
    if name == "id" or len(cells) == 1:
        return cells[0]
    return "\n".join(part for cell in cells if (part := field_text(name, cell)))


def _parse_object(cell: Any) -> dict[str, Any] | None:
    """The names and values of a text cell with a JSON object; None of any other cell."""
    if not isinstance(cell, str) or not cell.startswith("{"):
        return None
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _mapped_fields(
    columns: Sequence[str], mapping: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    fields: dict[str, tuple[str, ...]] = {}
    for name, wanted in mapping.items():
        if name not in _MAPPABLE:
            hint = did_you_mean(name, _MAPPABLE) or f" Fields: {', '.join(_MAPPABLE)}."
            raise UsageError(f"--map {name}=…: a document has no such field.{hint}")
        own = "images" if name in IMAGES else name
        fields[own] = (*fields.get(own, ()), *(find_column(n, columns, name) for n in wanted))
    return fields


def find_column(name: str, columns: Sequence[str], wanted_for: str) -> str:
    """The column of that name, regardless of capitals and blanks if there is only one such.

    Raises:
        UsageError: there is none, or there are several.
    """
    if name in columns:
        return name
    near = [column for column in columns if normal_name(column) == normal_name(name)]
    if len(near) == 1:
        return near[0]
    if near:
        raise UsageError(
            f"--map {wanted_for}={name}: several columns are called so: {', '.join(near)}. "
            "Write it exactly."
        )
    hint = did_you_mean(name, columns) or f" Columns: {_list_names(columns)}."
    raise UsageError(f"--map {wanted_for}={name}: there is no such column.{hint}")


def _add_own_names(
    fields: dict[str, tuple[str, ...]], columns: Sequence[str], without: tuple[str, ...]
) -> None:
    """Give each field the columns of its own name that no other field has taken."""
    taken = {name for names in fields.values() for name in names}
    mapped = set(fields)
    for own in _MAPPABLE:
        key = "images" if own in IMAGES else own
        if key in mapped or key in without:
            continue
        found = own if own in columns else _first_named(own, columns)
        if found is not None and found not in taken:
            fields[key] = (*fields.get(key, ()), found)


def _add_well_known(
    fields: dict[str, tuple[str, ...]], columns: Sequence[str], without: tuple[str, ...]
) -> tuple[str, ...]:
    """Give fields without a column the first of the names that corpora share; says which."""
    taken = {name for names in fields.values() for name in names}
    remarks = []
    for own, names in WELL_KNOWN.items():
        if own in fields or own in without:
            continue
        found = next((c for name in names if (c := _first_named(name, columns))), None)
        if found is not None and found not in taken:
            fields[own] = (found,)
            what = "pictures are" if own == "images" else f"the {own} is"
            remarks.append(f"{what} read from {quote_value(found)}, as no column is called {own}")
    return tuple(remarks)


def _near_fields(fields: Mapping[str, tuple[str, ...]], metadata: Sequence[str]) -> tuple[str, ...]:
    """What to say of columns whose names are nearly those of fields that have no column."""
    absent = [name for name in (*_TYPED, "images") if name not in fields]
    return tuple(
        f"{quote_value(name)} becomes metadata.{near}"
        for name in metadata
        if (near := did_you_mean(normal_name(name), absent, _NEARLY))
    )


def _image_folder_id(fields: Mapping[str, tuple[str, ...]]) -> str | None:
    """The column of pictures that ImageFolder's rows are known by; None if there is none."""
    pictures = fields.get("images", ())
    return next((name for name in pictures if normal_name(name) in _IMAGE_FOLDER_IDS), None)


def _first_named(name: str, columns: Sequence[str]) -> str | None:
    return next((column for column in columns if normal_name(column) == name), None)


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


def _list_names(columns: Sequence[str]) -> str:
    names = ", ".join(columns[:20])
    return names if len(columns) <= 20 else f"{names} and {len(columns) - 20} more"
