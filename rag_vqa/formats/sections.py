"""Sections: a document that was cut at its headings, pages or slides becomes Items, one a section.

Knows how the ids of sections are made, and which fields an Item gets from its section and from its
document. Does not know how a document is cut: each reader in formats/documents/ does that.

An id must stay when other sections change, or `kb sync` would encode them again. So it consists of
the document's id and the headings, never of the section's number: `pump#maintenance/cleaning`.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import Item
from rag_vqa.formatting import quote_value

SLUG_CHARACTERS = 60  # of one heading within an id
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)
_NOT_A_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a document, with its pictures.

    Attributes:
        headings: the path of headings that lead to it, below the document's title; empty for what
            stands before the first heading.
        images: bytes of a picture, its name relative to the document's own folder, or an address.
        page: page or slide on which it begins, from 1.
        anchor: what follows `#` in a link to it, such as "page=12".
        name: identifies a section without headings, such as "page-12".
        remark: what its reader had to do to it, in words that sections share.
    """

    headings: tuple[str, ...] = ()
    text: str = ""
    images: tuple[bytes | str, ...] = ()
    page: int | None = None
    anchor: str = ""
    name: str = ""
    remark: str = ""


@dataclass(slots=True)
class ParsedDocument:
    """A document as a reader gives it.

    Attributes:
        title: the title that the document gives itself; "" if there is none.
        sections: read once, one at a time. A part that cannot be read comes as the reason why.
        metadata: what the file says about itself: author, date, language.
        url: the canonical address that the document gives itself.
        fields: other fields of a document that the file gives itself: `parent` holds for all its
            sections, `section` and `retrieval_text` if there is only one.
        encoding: how its text was written, for people; "" where that is not a question.
        nothing: why there is nothing in it, if there is nothing.
    """

    sections: Iterable[Section | BadInput]
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    url: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    encoding: str = ""
    nothing: str = ""


def section_items(
    identity: str, parsed: ParsedDocument, place: str, folder: str = ""
) -> Iterator[Item]:
    """One Item for each section that has text or pictures.

    A document with one section keeps its own id, and so does the text before the first heading.
    All others get `identity#headings`; if that is repeated, with `-2` after it.

    Args:
        identity: id of the document: its path within the source, without suffix.
        place: path of its file within the source.
        folder: folder within the source that its pictures are named in.
    """
    whole = _WholeDocument(identity, parsed, place, folder)
    ids: set[str] = set()
    first: Section | None = None  # held back until it is known whether there are more
    for section in parsed.sections:
        if isinstance(section, BadInput):
            yield Item(None, section, quote_value(place, 200), identity=identity)
        elif not section.text.strip() and not section.images:
            continue
        elif first is None and not ids:
            first = section
        else:
            if first is not None:
                yield whole.item(_new_id(identity, first, ids), first)
                first = None
            yield whole.item(_new_id(identity, section, ids), section)
    if first is not None:
        yield whole.item(identity, first, is_only=True)


def slug(heading: str) -> str:
    """A heading as part of an id: its words, joined by hyphens.

    >>> slug("3.1  Cleaning & Care")
    '3-1-cleaning-care'
    """
    words = _NOT_A_WORD.sub("-", unicodedata.normalize("NFC", heading).casefold()).strip("-")
    return words[:SLUG_CHARACTERS].rstrip("-") or "section"


def _new_id(identity: str, section: Section, ids: set[str]) -> str:
    path = section.name or "/".join(slug(heading) for heading in section.headings)
    base = f"{identity}#{path}" if path else identity
    new, number = base, 1
    while new in ids:
        number += 1
        new = f"{base}-{number}" if path else f"{identity}#section-{number}"
    ids.add(new)
    return new


@dataclass(frozen=True, slots=True)
class _WholeDocument:
    """What all sections of one document share; attributes as of `section_items`."""

    identity: str
    parsed: ParsedDocument
    place: str
    folder: str

    def item(self, identity: str, section: Section, *, is_only: bool = False) -> Item:
        page = {} if section.page is None else {"page": section.page}
        anchor = f"#{section.anchor}" if section.anchor else ""
        fields: dict[str, Any] = {
            "id": identity,
            "parent": self.parsed.fields.get("parent") or self.identity,
            "title": self.parsed.title or posixpath.splitext(posixpath.basename(self.place))[0],
            "section": " · ".join(section.headings),
            "text": section.text.strip(),
            "url": (self.parsed.url or self.place) + anchor,
            "images": [_image_source(image, self.folder) for image in section.images],
            "metadata": {**self.parsed.metadata, "file": self.place, **page},
        }
        if is_only:
            fields |= self.parsed.fields
        return Item(None, fields, quote_value(identity, 200), remark=section.remark)


def _image_source(image: bytes | str, folder: str) -> bytes | str:
    """The bytes, the address, or the name relative to the source's folder."""
    if isinstance(image, bytes) or not folder or _ADDRESS.match(image):
        return image
    return posixpath.normpath(posixpath.join(folder, image))
