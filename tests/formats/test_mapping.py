"""Columns become fields; an unknown column or field is refused with a suggestion."""

import pytest

from rag_vqa.errors import UsageError
from rag_vqa.formats.document import parse_document
from rag_vqa.formats.mapping import FieldMapping, parse_mapping
from rag_vqa.types import Document

MUSEUM = ("inv_no", "title", "description", "photos", "year")


def test_the_issue_s_example() -> None:
    mapping = parse_mapping(["id=inv_no", "text=title,description", "images=photos"])
    columns = FieldMapping.resolve(MUSEUM, mapping)
    assert columns.metadata == ("year",)
    row = {"inv_no": "A1", "title": "Vase", "description": "Blue.", "photos": "p.jpg; q.jpg"}
    assert parse_document(columns.read({**row, "year": 1750})) == Document(
        "A1", text="Vase\nBlue.", images=("p.jpg", "q.jpg"), metadata={"year": 1750}
    )


def test_a_column_of_a_field_s_name_is_that_field_unless_it_is_named_elsewhere() -> None:
    own = FieldMapping.resolve(("id", "text", "title", "x"))
    assert (own.fields, own.metadata, own.remarks) == (
        {"id": ("id",), "text": ("text",), "title": ("title",)},
        ("x",),
        (),
    )
    both = FieldMapping.resolve(
        ("id", "title", "body"), {"text": ["title", "body"], "title": ["title"]}
    )
    assert both.fields == {"text": ("title", "body"), "title": ("title",), "id": ("id",)}
    row = {"id": "1", "title": "Vase", "body": "Blue."}
    assert parse_document(both.read(row)) == Document("1", "Vase\nBlue.", "Vase")
    alone = FieldMapping.resolve(("id", "title", "body"), {"text": ["title", "body"]})
    assert "title" not in alone.fields and alone.metadata == ()
    # What the user says wins over a name: the column called text is then only metadata.
    assert FieldMapping.resolve(("id", "text", "body"), {"text": ["body"]}).metadata == ("text",)


def test_names_match_regardless_of_capitals_blanks_and_forms_of_accents() -> None:
    columns = (" ID", "Texte résumé ".replace("é", "e\u0301"), "TITLE", "Year")
    mapping = FieldMapping.resolve(columns, {"text": ["texte Résumé"]})
    row = dict(zip(columns, ("1", "Blue.", "Vase", 1750), strict=True))
    expected = Document("1", "Blue.", "Vase", metadata={"Year": 1750})
    assert parse_document(mapping.read(row)) == expected
    two = FieldMapping.resolve(("id", "ID", "text"))
    assert two.fields["id"] == ("id",) and two.metadata == ("ID",)
    with pytest.raises(UsageError, match="several columns are called so: Nr, NR"):
        FieldMapping.resolve(("Nr", "NR", "text"), {"id": ["nr"]})


WELL_KNOWN = {
    "BEIR": ({"_id": 41, "title": "Moth", "text": "Wings."}, Document("41", "Wings.", "Moth")),
    "FlashRAG": ({"id": "0", "contents": "Tower."}, Document("0", "Tower.")),
    "LangChain": (
        {"id": "p", "page_content": "Bleed.", "metadata": {"page": 3}, "type": "Document"},
        Document("p", "Bleed.", metadata={"page": 3, "type": "Document"}),
    ),
    "own names go before": (
        {"id": "a", "_id": "b", "text": "T.", "contents": "C.", "file_name": "f", "image": "i"},
        Document(
            "a", "T.", images=("i",), metadata={"_id": "b", "contents": "C.", "file_name": "f"}
        ),
    ),
    "the first of several": (
        {"id": "a", "caption": "Cap.", "content": "Con.", "page_content": "x" * 201},
        Document("a", "Con.", metadata={"caption": "Cap."}),
    ),
}


@pytest.mark.parametrize(("row", "expected"), WELL_KNOWN.values(), ids=WELL_KNOWN)
def test_names_that_corpora_share(row: dict[str, object], expected: Document) -> None:
    mapping = FieldMapping.resolve(tuple(row))
    assert parse_document(mapping.read(row)) == expected
    taken = [name for names in mapping.fields.values() for name in names]
    strange = [name for name in taken if name not in ("id", "text", "title", "image")]
    assert all(any(f"'{name}'" in said for said in mapping.remarks) for name in strange)


def test_a_mapping_goes_before_a_name_that_corpora_share() -> None:
    mapping = FieldMapping.resolve(("nr", "_id", "content"), {"id": ["nr"]})
    row = {"nr": 1, "_id": "x", "content": "C."}
    assert parse_document(mapping.read(row)) == Document("1", "C.", metadata={"_id": "x"})


def test_a_name_that_comes_late_is_taken_by_the_same_rules() -> None:
    mapping = FieldMapping.resolve(("id", "contents"))
    late = {"id": "1", "Title": "T", "text": "Own.", "contents": "Other.", "x": 1}
    expected = Document("1", "Own.\nOther.", "T", metadata={"x": 1})
    assert parse_document(mapping.read(late)) == expected


def test_empty_cells_are_left_out() -> None:
    columns = FieldMapping.resolve(("id", "a", "b", "images", "m"), {"text": ["a", "b"]})
    row = {"id": "1", "a": "", "b": "only", "images": "", "m": None, "n": float("nan")}
    assert parse_document(columns.read(row)) == Document("1", text="only")


def test_metadata_of_a_column_of_that_name() -> None:
    mapping = FieldMapping.resolve(("id", "metadata", "year"), written=True)
    row = {"id": "1", "metadata": '{"year": 1, "tags": ["a", "b"]}', "year": "1780"}
    document = parse_document(mapping.read(row))
    assert document.metadata == {"year": 1780, "tags": ("a", "b")}
    assert parse_document(mapping.read({"id": "1", "metadata": "{old"})).metadata == {
        "metadata": "{old"
    }


def test_a_template_makes_the_text() -> None:
    mapping = FieldMapping.resolve(
        ("Nr", "Title", "Text", "Year"), {"id": ["nr"]}, "{title}: {TEXT} ({Year})"
    )
    row = {"Nr": 1, "Title": "Vase", "Text": "Blue.", "Year": 1750}
    document = parse_document(mapping.read(row))
    assert (document.text, document.title) == ("Vase: Blue. (1750)", "Vase")
    assert document.metadata == {"Text": "Blue.", "Year": 1750}
    with pytest.raises(UsageError, match="both --text and --map text"):
        FieldMapping.resolve(("id", "a"), {"text": ["a"]}, "{a}")


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("a.jpg", ["a.jpg"]),
        ("a.jpg|b.jpg", ["a.jpg", "b.jpg"]),
        ("a.jpg ; b.jpg;", ["a.jpg", "b.jpg"]),
        ("a.jpg\nb.jpg", ["a.jpg", "b.jpg"]),
        ("a;1.jpg|b.jpg", ["a;1.jpg", "b.jpg"]),  # with a bar, a semicolon belongs to a name
        (["a;1.jpg", "b.jpg"], ["a;1.jpg", "b.jpg"]),
        ("['a.jpg', 'b.jpg']", ["a.jpg", "b.jpg"]),
        ('["a.jpg"]', ["a.jpg"]),
        ("[a].jpg", ["[a].jpg"]),
        ("data:image/png;base64,AA==", ["data:image/png;base64,AA=="]),
        (
            "data:image/png;base64,AA==;data:image/png;base64,BB==",
            ["data:image/png;base64,AA==", "data:image/png;base64,BB=="],
        ),
        ("https://a.b/c;d.jpg", ["https://a.b/c;d.jpg"]),
        ("a.jpg;https://a.b/c.jpg", ["a.jpg", "https://a.b/c.jpg"]),
        ("a.jpg, b.JPEG", ["a.jpg", "b.JPEG"]),
        ("Smith, John.jpg", ["Smith, John.jpg"]),
        (b"bytes", [b"bytes"]),
    ],
)
def test_several_pictures_in_one_cell(cell: object, names: list[object]) -> None:
    columns = FieldMapping.resolve(("id", "images"))
    assert columns.read({"id": "1", "images": cell})["images"] == names


@pytest.mark.parametrize(
    ("columns", "mapping", "said"),
    [
        (MUSEUM, {"id": ["inv_nr"]}, r"--map id=inv_nr: .*Did you mean 'inv_no'\?"),
        (MUSEUM, {"id": ["zzz"]}, "no such column. Columns: inv_no, title"),
        (MUSEUM, {"txt": ["title"]}, r"no such field. Did you mean 'text'\?"),
        (MUSEUM, {"metadata": ["year"]}, "no such field"),
        (MUSEUM, {}, "which column is the id.*Columns: inv_no"),
        (MUSEUM, {"id": ["inv_no", "year"]}, "which column is the id"),
    ],
)
def test_what_is_refused(
    columns: tuple[str, ...], mapping: dict[str, list[str]], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        FieldMapping.resolve(columns, mapping)


@pytest.mark.parametrize("pair", ["id", "=inv_no", "id=", "text=a,,b", ""])
def test_a_mapping_that_is_none(pair: str) -> None:
    with pytest.raises(UsageError, match="write FIELD=COLUMN"):
        parse_mapping([pair])


def test_a_field_named_twice() -> None:
    with pytest.raises(UsageError, match="--map id is given twice"):
        parse_mapping(["id=a", "id=b"])
