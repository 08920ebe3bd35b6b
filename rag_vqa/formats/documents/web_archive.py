"""Web archives: a page and its pictures in one file, as browsers save them (.mhtml, .webarchive).

Knows MIME and Safari's property lists. Does not know pages (web_page.py).
"""

from __future__ import annotations

import email
import email.errors
import plistlib
from collections.abc import Mapping
from email.message import Message
from pathlib import Path
from typing import Any, Final
from xml.parsers.expat import ExpatError

from rag_vqa.errors import BadInput
from rag_vqa.formats.document_reader import DocumentReader, register_reader
from rag_vqa.formats.documents.section_builder import SectionBuilder
from rag_vqa.formats.documents.web_page import read_file, read_page
from rag_vqa.formats.documents.web_pictures import PackedPictures
from rag_vqa.formats.sections import ParsedDocument

MAX_ARCHIVE_BYTES: Final = 96 * 2**20  # of the file; its parts take as much again
MAX_PARTS: Final = 10_000
_PAGES: Final = ("text/html", "application/xhtml+xml")


def parse_mhtml(path: Path) -> ParsedDocument:
    """The page of an archive of Chrome, Edge, Internet Explorer or Word.

    Raises:
        BadInput: it is too large, or contains no page.
    """
    data = read_file(path, MAX_ARCHIVE_BYTES)
    parts = _mime_parts(data)
    page = _first_page(parts)
    address = _location(page) or (parts[0].get("Snapshot-Content-Location") or "").strip()
    pictures: dict[str, Message] = {}
    for part in parts:
        identity = (part.get("Content-ID") or "").strip().strip("<>")
        for name in (_location(part), f"cid:{identity}" if identity else ""):
            if name:
                pictures.setdefault(name.partition("#")[0], part)

    def read(name: str) -> bytes | None:
        return _payload(pictures[name]) if name in pictures else None

    return _read(_payload(page), read, address, _charset(page))


def parse_webarchive(path: Path) -> ParsedDocument:
    """The page of an archive of Safari.

    Raises:
        BadInput: it is too large, damaged, or contains no page.
    """
    data = read_file(path, MAX_ARCHIVE_BYTES)
    try:
        archive = plistlib.loads(data)
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError, ExpatError,
            AttributeError, EOFError, MemoryError) as error:  # fmt: skip
        raise BadInput(f"the web archive is damaged ({type(error).__name__}).") from error
    main = archive.get("WebMainResource") if isinstance(archive, dict) else None
    page = main.get("WebResourceData") if isinstance(main, dict) else None
    if not isinstance(main, dict) or not isinstance(page, bytes):
        raise BadInput("the web archive contains no page.")
    resources = archive.get("WebSubresources")
    pictures: dict[str, bytes] = {}
    for resource in resources if isinstance(resources, list) else []:
        if isinstance(resource, dict):
            name, content = resource.get("WebResourceURL"), resource.get("WebResourceData")
            if isinstance(name, str) and isinstance(content, bytes):
                pictures.setdefault(name.partition("#")[0], content)
    label = main.get("WebResourceTextEncodingName")
    return _read(page, pictures.get, _text(main, "WebResourceURL"), str(label or ""))


def _read(page: bytes, read: Any, address: str, label: str) -> ParsedDocument:
    parsed = read_page(
        page, lambda facts: PackedPictures(read, facts.base or address), SectionBuilder(), label
    )
    if not parsed.url and address.lower().startswith(("http://", "https://")):
        parsed.url = address.partition("#")[0]
    return parsed


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else ""


def _mime_parts(data: bytes) -> list[Message]:
    """The message and all its parts.

    Raises:
        BadInput: it is no message, or has too many parts.
    """
    try:
        message = email.message_from_bytes(data)
        waiting: list[Message] = [message]
        parts: list[Message] = []
        while waiting and len(parts) <= MAX_PARTS:
            part = waiting.pop(0)
            parts.append(part)
            inner = part.get_payload()
            if isinstance(inner, list):
                waiting = [*(p for p in inner if isinstance(p, Message)), *waiting]
    except (email.errors.MessageError, ValueError, LookupError, RecursionError) as error:
        raise BadInput(f"the web archive is damaged ({type(error).__name__}).") from error
    if len(parts) > MAX_PARTS:
        raise BadInput(f"the web archive has over {MAX_PARTS:,} parts.")
    return parts


def _first_page(parts: list[Message]) -> Message:
    """The page that the archive begins with.

    Raises:
        BadInput: there is none.
    """
    start = parts[0].get_param("start")
    pages = [part for part in parts if _kind(part) in _PAGES]
    for part in pages:
        if isinstance(start, str) and (part.get("Content-ID") or "").strip() == start.strip():
            return part
    if not pages:
        raise BadInput("the web archive contains no page.")
    return pages[0]


def _kind(part: Message) -> str:
    try:
        return part.get_content_type()
    except (ValueError, LookupError, TypeError):
        return ""


def _charset(part: Message) -> str:
    try:
        return str(part.get_content_charset() or "")
    except (ValueError, LookupError, TypeError):
        return ""


def _location(part: Message) -> str:
    value = part.get("Content-Location")
    return "".join(str(value).split()) if value is not None else ""


def _payload(part: Message) -> bytes:
    try:
        data = part.get_payload(decode=True)
    except (ValueError, LookupError, TypeError):
        return b""
    return data if isinstance(data, bytes) else b""


for _name, _suffixes, _parse in (
    ("mhtml", (".mhtml", ".mht"), parse_mhtml),
    ("webarchive", (".webarchive",), parse_webarchive),
):
    register_reader(
        DocumentReader(name=_name, suffixes=_suffixes, parse=_parse, modules=("selectolax",))
    )
