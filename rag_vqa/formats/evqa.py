"""The knowledge base of Encyclopedic-VQA → Items: one for a page, or one for each of its sections.

It knows the fields of encyclopedic_kb_wiki.json (google-research, encyclopedic_vqa/README.md):
an object from each page's address to title, section_titles, section_texts, image_urls,
image_reference_descriptions, image_section_indices and url. It knows no questions.

A section's id is `address#index`, and the index is that of evidence_section_id. A section without
text and picture is passed over; the others keep their index. The data set names pictures by
address alone and brings none: in a folder that the user gives, a picture is looked for under the
last part of its address (percent signs decoded), which is our convention. Descriptions of pictures
are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import shown
from rag_vqa.formats.items import Contents, Item
from rag_vqa.formats.members import read_members

Unit: TypeAlias = Literal["page", "section"]

_COLUMNS = (
    "title",
    "section_titles",
    "section_texts",
    "image_urls",
    "image_reference_descriptions",
    "image_section_indices",
    "url",
)


def contents(path: Path, unit: Unit, pictures: bool) -> Contents:
    """Look at the first page.

    Args:
        pictures: whether there is a folder in which to look for them.
    """
    _, page = next(read_members(path), ("", {}))
    columns = tuple(page) if isinstance(page, dict) else _COLUMNS
    unknown = tuple(name for name in columns if name not in _COLUMNS)
    return Contents(columns, (), unknown, lambda: _items(path, unit, pictures))


def looks_like(record: object) -> bool:
    """Whether a member of an object is a page."""
    return isinstance(record, dict) and {"section_titles", "section_texts"} <= record.keys()


def _items(path: Path, unit: Unit, pictures: bool) -> Iterator[Item]:
    for number, (url, page) in enumerate(read_members(path), 1):
        place = shown(url)
        try:
            documents = list(_documents(url, page, unit, pictures))
        except BadInput as error:
            yield Item(number, error, place, "page")
            continue
        for fields in documents:
            yield Item(number, fields, place, "page")


def _documents(
    url: str, page: Any | BadInput, unit: Unit, pictures: bool
) -> Iterator[dict[str, Any]]:
    if isinstance(page, BadInput):
        raise page
    if not isinstance(page, dict):
        raise BadInput(f"{shown(page)} is not a page.")
    titles, texts = _texts(page, "section_titles"), _texts(page, "section_texts")
    if len(titles) != len(texts):
        raise BadInput(f"{len(titles)} section_titles for {len(texts)} section_texts.")
    images = _images(page, len(texts)) if pictures else {}
    base = {"title": page.get("title"), "url": url, "parent": url}
    if unit == "page":
        # The first section bears the page's title.
        parts = [
            f"{title}\n{text}" if number else text
            for number, (title, text) in enumerate(zip(titles, texts, strict=True))
            if text.strip()
        ]
        names = [name for section in sorted(images) for name in images[section]]
        text = "\n\n".join(parts)
        yield {**base, "id": url, "text": text, "images": list(dict.fromkeys(names))}
        return
    for number, (title, text) in enumerate(zip(titles, texts, strict=True)):
        names = images.get(number, [])
        if text.strip() or names:
            section = title if number else ""
            yield {
                **base,
                "id": f"{url}#{number}",
                "section": section,
                "text": text,
                "images": names,
            }


def _texts(page: Mapping[str, Any], name: str) -> list[str]:
    texts = page.get(name)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadInput(f"{name} is {shown(texts)}, not a list of texts.")
    return texts


def _images(page: Mapping[str, Any], sections: int) -> dict[int, list[str]]:
    """Names of the pictures by section."""
    urls, places = _texts(page, "image_urls"), page.get("image_section_indices")
    if not isinstance(places, list) or len(places) != len(urls):
        raise BadInput(f"image_section_indices is {shown(places)}, not one for each image_urls.")
    found: dict[int, list[str]] = {}
    for url, place in zip(urls, places, strict=True):
        if not isinstance(place, int) or not 0 <= place < sections:
            raise BadInput(f"image_section_indices holds {shown(place)}, which is no section.")
        try:
            name = unquote(urlsplit(url).path.rpartition("/")[2])
        except ValueError as error:
            raise BadInput(f"{shown(url)} is no address of a picture.") from error
        if name:
            found.setdefault(place, []).append(name)
    return found
