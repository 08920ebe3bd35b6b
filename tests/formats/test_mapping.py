"""Columns become fields; an unknown column or field is refused with a suggestion."""

import pytest

from rag_vqa.errors import UsageError
from rag_vqa.formats.document import parse_document
from rag_vqa.formats.mapping import Columns, map_row, parse_mapping, resolve_columns
from rag_vqa.types import Document

MUSEUM = ("inv_no", "title", "description", "photos", "year")


def test_the_issue_s_example() -> None:
    mapping = parse_mapping(["id=inv_no", "text=title,description", "images=photos"])
    columns = resolve_columns(MUSEUM, mapping)
    assert columns.metadata == ("year",)
    row = {"inv_no": "A1", "title": "Vase", "description": "Blue.", "photos": "p.jpg; q.jpg"}
    assert parse_document(map_row({**row, "year": 1750}, columns)) == Document(
        "A1", text="Vase\nBlue.", images=("p.jpg", "q.jpg"), metadata={"year": 1750}
    )


def test_a_column_of_a_field_s_name_is_that_field_unless_it_is_named_elsewhere() -> None:
    assert resolve_columns(("id", "text", "title", "x"), None) == Columns(
        {"id": ("id",), "text": ("text",), "title": ("title",)}, ("x",)
    )
    both = resolve_columns(("id", "title", "body"), {"text": ["title", "body"], "title": ["title"]})
    assert both.fields == {"text": ("title", "body"), "title": ("title",), "id": ("id",)}
    alone = resolve_columns(("id", "title", "body"), {"text": ["title", "body"]})
    assert "title" not in alone.fields and alone.metadata == ()
    # What the user says wins over a name: the column called text is then only metadata.
    assert resolve_columns(("id", "text", "body"), {"text": ["body"]}).metadata == ("text",)


def test_empty_cells_are_left_out() -> None:
    columns = resolve_columns(("id", "a", "b", "images", "m"), {"text": ["a", "b"]})
    row = {"id": "1", "a": "", "b": "only", "images": "", "m": None}
    assert parse_document(map_row(row, columns)) == Document("1", text="only")


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("a.jpg", ["a.jpg"]),
        ("a.jpg|b.jpg", ["a.jpg", "b.jpg"]),
        ("a.jpg ; b.jpg;", ["a.jpg", "b.jpg"]),
        ("a;1.jpg|b.jpg", ["a;1.jpg", "b.jpg"]),  # with a bar, a semicolon belongs to a name
        (["a;1.jpg", "b.jpg"], ["a;1.jpg", "b.jpg"]),
        (b"bytes", [b"bytes"]),
    ],
)
def test_several_pictures_in_one_cell(cell: object, names: list[object]) -> None:
    columns = resolve_columns(("id", "images"), None)
    assert map_row({"id": "1", "images": cell}, columns)["images"] == names


@pytest.mark.parametrize(
    ("columns", "mapping", "said"),
    [
        (MUSEUM, {"id": ["inv_nr"]}, r"--map id=inv_nr: .*Did you mean 'inv_no'\?"),
        (MUSEUM, {"id": ["zzz"]}, "no such column. Columns: inv_no, title"),
        (MUSEUM, {"txt": ["title"]}, r"no such field. Did you mean 'text'\?"),
        (MUSEUM, {"metadata": ["year"]}, "no such field"),
        (MUSEUM, {}, "which column is the id.*Columns: inv_no"),
        (MUSEUM, {"id": ["inv_no", "year"]}, "which column is the id"),
        (("id", "image", "images"), {}, "both image and images"),
    ],
)
def test_what_is_refused(
    columns: tuple[str, ...], mapping: dict[str, list[str]], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        resolve_columns(columns, mapping)


@pytest.mark.parametrize("pair", ["id", "=inv_no", "id=", "text=a,,b", ""])
def test_a_mapping_that_is_none(pair: str) -> None:
    with pytest.raises(UsageError, match="write FIELD=COLUMN"):
        parse_mapping([pair])


def test_a_field_named_twice() -> None:
    with pytest.raises(UsageError, match="--map id is given twice"):
        parse_mapping(["id=a", "id=b"])
