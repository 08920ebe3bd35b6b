"""Sections become documents, and their ids stay when other sections change."""

from __future__ import annotations

import pytest

from rag_vqa.errors import BadInput
from rag_vqa.formats.sections import ParsedDocument, Section, section_items, slug

INTRO = Section((), "Read this first.")
CLEANING = Section(("Maintenance", "Cleaning"), "Use warm water.", page=12, anchor="page=12")
STORAGE = Section(("Storage",), "Keep it dry.")


def items_of(*sections, **options) -> list[dict]:
    parsed = ParsedDocument(sections, **options)
    return [item.fields for item in section_items("manuals/pump", parsed, "manuals/pump.pdf")]


def ids_of(*sections) -> list[str]:
    return [fields["id"] for fields in items_of(*sections)]


def test_a_document_of_one_section_keeps_its_id() -> None:
    assert ids_of(CLEANING) == ["manuals/pump"]
    assert ids_of(INTRO) == ["manuals/pump"]


def test_headings_make_the_id_and_the_text_before_them_keeps_it() -> None:
    assert ids_of(INTRO, CLEANING, STORAGE) == [
        "manuals/pump", "manuals/pump#maintenance/cleaning", "manuals/pump#storage",
    ]  # fmt: skip


def test_ids_stay_when_a_section_comes_or_goes() -> None:
    assert set(ids_of(CLEANING, STORAGE)) < set(ids_of(INTRO, CLEANING, STORAGE))


def test_a_repeated_heading_gets_a_number() -> None:
    assert ids_of(STORAGE, STORAGE, STORAGE) == [
        "manuals/pump#storage", "manuals/pump#storage-2", "manuals/pump#storage-3",
    ]  # fmt: skip
    again = ids_of(STORAGE, STORAGE, Section(("Storage 2",), "…"))
    assert len(set(again)) == 3


def test_a_section_without_headings_is_known_by_its_name() -> None:
    pages = [Section((), "Text.", page=n, name=f"page-{n}") for n in (1, 2)]
    assert ids_of(*pages) == ["manuals/pump#page-1", "manuals/pump#page-2"]
    assert ids_of(INTRO, INTRO) == ["manuals/pump", "manuals/pump#section-2"]


def test_a_section_without_text_and_pictures_is_none() -> None:
    assert ids_of(Section(("Contents",), " \n"), CLEANING) == ["manuals/pump"]
    assert items_of() == []


def test_the_fields_of_a_section() -> None:
    _, cleaning = items_of(INTRO, CLEANING, title="Pump", metadata={"author": "A. Smith"})
    assert cleaning == {
        "id": "manuals/pump#maintenance/cleaning",
        "parent": "manuals/pump",
        "title": "Pump",
        "section": "Maintenance · Cleaning",
        "text": "Use warm water.",
        "url": "manuals/pump.pdf#page=12",
        "images": [],
        "metadata": {"author": "A. Smith", "file": "manuals/pump.pdf", "page": 12},
    }


def test_without_a_title_the_file_gives_it_and_a_canonical_address_is_the_link() -> None:
    (fields,) = items_of(CLEANING, url="https://example.org/pump")
    assert (fields["title"], fields["url"]) == ("pump", "https://example.org/pump#page=12")


def test_names_of_pictures_are_relative_to_the_source() -> None:
    images = (b"bytes", "a.png", "../b.png", "https://example.org/c.png", "data:image/png;base64,")
    parsed = ParsedDocument([Section((), "", images)])
    (item,) = section_items("manuals/pump", parsed, "manuals/pump.html", "manuals")
    assert item.fields["images"] == [b"bytes", "manuals/a.png", "b.png", *images[3:]]


def test_a_part_that_cannot_be_read_costs_that_part() -> None:
    parsed = ParsedDocument([INTRO, BadInput("page 2 is damaged."), STORAGE])
    items = list(section_items("pump", parsed, "pump.pdf"))
    assert [str(item.fields) for item in items if isinstance(item.fields, BadInput)] == [
        "page 2 is damaged."
    ]
    kept = [item.fields["text"] for item in items if not isinstance(item.fields, BadInput)]
    assert kept == ["Read this first.", "Keep it dry."]


@pytest.mark.parametrize(
    ("heading", "expected"),
    [("Ölwechsel", "ölwechsel"), ("保養", "保養"), ("Cafe\u0301", "café"), ("***", "section"),
     ("a" * 100, "a" * 60)],
)  # fmt: skip
def test_slug(heading: str, expected: str) -> None:
    assert slug(heading) == expected
