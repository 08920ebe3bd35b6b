"""The knowledge base of Encyclopedic-VQA.

Fields: google-research/google-research, encyclopedic_vqa/README.md, "Controlled Knowledge Base".
The page is invented.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from rag_vqa.errors import BadInput
from rag_vqa.eval.benchmarks.evqa import page_contents
from rag_vqa.formats.document import Record, Rejected, read_records

URL = "https://en.wikipedia.org/wiki/Blue_vase"
PAGE: dict[str, Any] = {
    "title": "Blue vase",
    "section_titles": ["Blue vase", "History", "Gallery", "References"],
    "section_texts": ["A vase.", "It broke\nonce.", "", ""],
    "image_urls": ["https://up.org/a/ab/Vase_%28blue%29.jpg", "https://up.org/v.png?w=9"],
    "image_reference_descriptions": ["The vase.", ""],
    "image_section_indices": [0, 2],
    "url": URL,
}


def write(folder: Path, pages: dict[str, Any]) -> Path:
    path = folder / "kb.json"
    path.write_text(json.dumps(pages), "utf-8")
    return path


def read(
    path: Path, unit: str = "page", pictures: bool = True
) -> tuple[list[Record], list[Rejected]]:
    rejected: list[Rejected] = []
    items = page_contents(path, unit, pictures).items()
    return list(read_records(items, path, Path("/pictures"), rejected.append)), rejected


def test_pages(tmp_path: Path) -> None:
    ((page,), rejected) = read(write(tmp_path, {URL: PAGE}))
    assert not rejected
    assert (page.id, page.parent, page.url, page.title) == (URL, URL, URL, "Blue vase")
    assert page.text == "A vase.\n\nHistory\nIt broke\nonce."  # sections without text are not named
    assert page.images == (Path("/pictures/Vase_(blue).jpg"), Path("/pictures/v.png"))
    assert (page.line, page.section) == (1, "")


def test_sections_bear_the_index_of_evidence_section_id(tmp_path: Path) -> None:
    records, rejected = read(write(tmp_path, {URL: PAGE}), "section")
    assert not rejected
    assert [(r.id, r.section, r.text, r.images) for r in records] == [
        (f"{URL}#0", "", "A vase.", (Path("/pictures/Vase_(blue).jpg"),)),
        (f"{URL}#1", "History", "It broke\nonce.", ()),
        (f"{URL}#2", "Gallery", "", (Path("/pictures/v.png"),)),
    ]
    assert {(r.title, r.parent, r.url, r.line) for r in records} == {("Blue vase", URL, URL, 1)}


def test_without_a_folder_of_images_there_are_none(tmp_path: Path) -> None:
    records, _ = read(write(tmp_path, {URL: PAGE}), "section", pictures=False)
    assert [(r.id, r.images) for r in records] == [(f"{URL}#0", ()), (f"{URL}#1", ())]


def test_the_zip_that_is_published(tmp_path: Path) -> None:
    path = tmp_path / "encyclopedic_kb_wiki.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("encyclopedic_kb_wiki.json", json.dumps({URL: PAGE, f"{URL}2": PAGE}))
    found = page_contents(path, "page", False)
    assert (found.columns, found.unknown) == (tuple(PAGE), ())
    assert [record.id for record in read(path)[0]] == [URL, f"{URL}2"]


def test_unknown_fields_are_listed(tmp_path: Path) -> None:
    assert page_contents(write(tmp_path, {URL: {**PAGE, "views": 7}}), "page", False).unknown == (
        "views",
    )


BAD = {
    "no page": (7, "7 is not a page"),
    "no sections": ({"title": "x"}, "section_titles is None, not a list of texts"),
    "numbers": ({**PAGE, "section_texts": [1, 2, 3, 4]}, "section_texts is [1, 2, 3, 4]"),
    "unequal": ({**PAGE, "section_texts": ["x"]}, "4 section_titles for 1 section_texts"),
    "unequal images": ({**PAGE, "image_section_indices": [0]}, "not one for each image_urls"),
    "no section": ({**PAGE, "image_section_indices": [0, 4]}, "holds 4, which is not a section"),
    "before": ({**PAGE, "image_section_indices": [0, -1]}, "holds -1, which is not a section"),
    "no address": ({**PAGE, "image_urls": ["http://[", "x"]}, "not the address of a picture"),
    "NUL": ({**PAGE, "title": "\0"}, "title contains a NUL"),
    "surrogate": ({**PAGE, "title": "\ud800"}, "lone surrogate"),
    "structure": ({**PAGE, "title": {"x": 7}}, "title is {'x': 7}, not text"),
}


@pytest.mark.parametrize("unit", ["page", "section"])
@pytest.mark.parametrize(("page", "reason"), BAD.values(), ids=BAD)
def test_a_bad_page_is_reported_and_the_next_is_read(
    tmp_path: Path, page: object, reason: str, unit: str
) -> None:
    path = write(tmp_path, {"a": PAGE, "b": page, "c": PAGE})
    records, rejected = read(path, unit)
    assert {record.parent for record in records} == {"a", "c"}
    assert {r.line for r in rejected} == {2}
    assert all(r.reason.startswith("'b': ") and reason in r.reason for r in rejected)
    with pytest.raises(BadInput, match=r"kb\.json, 'b', page 2: "):
        list(read_records(page_contents(path, unit, True).items(), path, Path("/pictures")))


def test_a_name_of_a_picture_leads_nowhere_else(tmp_path: Path) -> None:
    page = {**PAGE, "image_urls": ["https://up.org/%2e%2e%2fx.png", "https://up.org/dir/"]}
    ((record,), _) = read(write(tmp_path, {URL: page}))
    # Whether it stays inside is seen when it is opened, with this folder as its root.
    assert record.images == (Path("/pictures/../x.png"),)
    assert record.folder == Path("/pictures")
