"""ZIM: Wikipedia and other sites as Kiwix packs them, one document a section of each page.

Knows entries, redirects, and what an archive says about itself. Does not know pages
(documents/web_page.py). Pages are read one at a time, and pictures only with the page that shows
them, so that memory does not grow with the archive.

The id of a page is its path in the archive. Its address is the page's own; without one, the
archive's source and the path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from rag_vqa.errors import BadInput, Missing
from rag_vqa.formats.document import FIELDS, Contents, Item
from rag_vqa.formats.document_format import DOCUMENT_FORMATS, DocumentFormat
from rag_vqa.formats.documents.section_builder import SectionBuilder
from rag_vqa.formats.documents.web_page import read_page
from rag_vqa.formats.documents.web_pictures import PackedPictures
from rag_vqa.formats.documents.web_source import MAX_PAGE_BYTES
from rag_vqa.formats.sections import section_items
from rag_vqa.formatting import quote_value

_PAGES: Final = ("text/html", "application/xhtml+xml")
_MAX_PICTURE_BYTES: Final = 64 * 2**20
_NAMESPACE: Final = re.compile(r"[A-Z]/")  # of old archives: A/ is an article
_FACTS: Final = {"Language": "language", "Publisher": "publisher", "Date": "date",
                 "License": "licence", "Title": "collection"}  # fmt: skip


def contents(path: Path) -> Contents:
    """Open an archive.

    Raises:
        Missing: libzim or selectolax is not installed.
        BadInput: it is damaged, or no ZIM.
    """
    archive = _open_archive(path)
    facts = _read_facts(archive)
    columns = tuple(name for name in FIELDS if name not in ("image", "retrieval_text"))
    return Contents(columns, ("file", *facts), (), lambda: _items(path))


def _open_archive(path: Path) -> Any:
    """
    Raises:
        Missing: libzim or selectolax is not installed.
        BadInput: it is damaged, or no ZIM.
    """
    try:
        import selectolax.lexbor  # noqa: F401 - its pages need it
        from libzim.reader import Archive
    except ImportError as error:
        raise Missing(
            f"{error.name} is not installed: ZIM files cannot be read. "
            "Install it: pip install 'rag-vqa[zim]'"
        ) from error
    if not path.is_file():
        raise BadInput(f"{path} is not a regular file.")
    try:
        return Archive(path)
    except (RuntimeError, ValueError, OSError) as error:
        raise BadInput(f"{path} is damaged, or no ZIM file ({error}).") from error


def _read_facts(archive: Any) -> dict[str, Any]:
    """What the archive says about all its pages."""
    facts: dict[str, Any] = {}
    for name in archive.metadata_keys:
        if name in _FACTS:
            text = bytes(archive.get_metadata(name)).decode("utf-8", "replace").strip()
            if text:
                facts[_FACTS[name]] = text
    return facts


def _items(path: Path) -> Iterator[Item]:
    archive = _open_archive(path)
    facts = _read_facts(archive)
    source = ""
    if "Source" in archive.metadata_keys:
        source = bytes(archive.get_metadata("Source")).decode("utf-8", "replace").strip()
    for number in range(archive.all_entry_count):
        place = ""
        try:
            entry = archive._get_entry_by_id(number)
            place = entry.path
            if entry.is_redirect:
                continue
            content = entry.get_item()
            if content.mimetype.partition(";")[0].strip().lower() not in _PAGES:
                continue
            yield from _read_entry(archive, entry.title, content, facts, source)
        except BadInput as error:
            yield Item(None, error, quote_value(place or f"entry {number}", 200))
        except (RuntimeError, KeyError, ValueError, OSError) as error:
            reason = BadInput(f"the entry is damaged ({error}).")
            yield Item(None, reason, quote_value(place or f"entry {number}", 200))


def _read_entry(
    archive: Any, title: str, content: Any, facts: Mapping[str, Any], source: str
) -> Iterator[Item]:
    if content.size > MAX_PAGE_BYTES:
        raise BadInput(f"the page is over {MAX_PAGE_BYTES // 2**20} MB.")

    def read(name: str) -> bytes | None:
        return _read_picture(archive, name)

    place = str(content.path)
    page = read_page(
        bytes(content.content), lambda _: PackedPictures(read, place), SectionBuilder()
    )
    page.title = page.title or title
    page.metadata = {**facts, **page.metadata}
    identity = _NAMESPACE.sub("", place, count=1) if _NAMESPACE.match(place) else place
    if not page.url and source.startswith(("http://", "https://")):
        page.url = f"{source.rstrip('/')}/{quote(identity, safe='/:()')}"
    yield from section_items(identity, page, place)


def _read_picture(archive: Any, name: str) -> bytes | None:
    """The bytes of an entry; redirects are followed. None if there is none."""
    for path in dict.fromkeys((name, unquote(name))):
        try:
            if not archive.has_entry_by_path(path):
                continue
            item = archive.get_entry_by_path(path).get_item()
            return bytes(item.content) if item.size <= _MAX_PICTURE_BYTES else None
        except (RuntimeError, KeyError, ValueError, OSError):
            return None
    return None


DOCUMENT_FORMATS.register(
    DocumentFormat(
        name="zim",
        suffixes=(".zim", ".zimaa"),
        options=frozenset(),
        refusals={"images": "a ZIM file contains its pictures: leave --images out."},
        open=lambda path, options: contents(path),
    )
)
