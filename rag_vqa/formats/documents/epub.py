"""EPUB: a book, by its chapters.

Knows the package of an EPUB 2 or 3: its spine, its contents, what it says about itself, and how
protected books are recognised. Does not know pages (web_page.py), nor zip files (archive.py).

A chapter is a section, and the headings in it are sections below. A file that the contents do not
name goes on with the chapter before it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from rag_vqa.errors import BadInput
from rag_vqa.formats.archive import Archive, parse_xml
from rag_vqa.formats.document_reader import DocumentReader, register_reader
from rag_vqa.formats.documents.section_builder import SectionBuilder, collapse_blanks
from rag_vqa.formats.documents.web_page import read_page
from rag_vqa.formats.documents.web_pictures import PackedPictures
from rag_vqa.formats.documents.web_source import MAX_PAGE_BYTES
from rag_vqa.formats.sections import ParsedDocument, Section
from rag_vqa.formatting import quote_value

MAX_CHAPTERS: Final = 5_000  # files in the order of reading
_MAX_PACKAGE_BYTES: Final = 16 * 2**20
_MAX_DEPTH: Final = 8  # of the contents
_PUBLIC_DTD: Final = re.compile(rb"<!DOCTYPE[^\[<>]{0,1000}>")
_PAGES: Final = (
    "application/xhtml+xml",
    "text/html",
    "application/x-dtbook+xml",
    "text/x-oeb1-document",
)
_FONT_METHODS: Final = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_FACTS: Final = {
    "creator": "author", "language": "language", "publisher": "publisher", "date": "date",
    "identifier": "identifier", "rights": "licence",
}  # fmt: skip


def parse_epub(path: Path) -> ParsedDocument:
    """The book in a file; its chapters are read one by one.

    Raises:
        BadInput: it is damaged, protected, or over a limit.
    """
    with Archive(path) as archive:
        book = _open_book(archive)
    return ParsedDocument(
        sections=_read_chapters(path, book), title=book.title, metadata=book.metadata
    )


@dataclass(slots=True)
class _Book:
    """What a book's package says.

    Attributes:
        chapters: names of its files, in the order of reading.
        headings: file → path of headings, as the contents give it.
    """

    title: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    chapters: list[str] = field(default_factory=list)
    headings: dict[str, tuple[str, ...]] = field(default_factory=dict)


def _read_chapters(path: Path, book: _Book) -> Iterator[Section | BadInput]:
    with Archive(path) as archive:
        headings: tuple[str, ...] = ()
        for name in book.chapters:
            headings = book.headings.get(name.casefold(), headings)
            try:
                yield from _read_chapter(archive, name, book, headings)
            except BadInput as error:
                yield BadInput(f"its chapter {quote_value(name)}: {error}")


def _read_chapter(
    archive: Archive, name: str, book: _Book, headings: tuple[str, ...]
) -> Iterator[Section]:
    def read(part: str) -> bytes | None:
        return archive.read(part) if part in archive else None

    data = archive.read(name, MAX_PAGE_BYTES)
    own = headings if headings != (book.title,) else ()
    page = read_page(data, lambda facts: PackedPictures(read, name), SectionBuilder(), is_part=True)
    for section in page.sections:
        if isinstance(section, Section):
            path = _join_headings(own, section.headings)
            yield Section(path, section.text, section.images)


def _join_headings(chapter: tuple[str, ...], headings: tuple[str, ...]) -> tuple[str, ...]:
    """The path of a section: headings of its chapter that its page repeats stand there once."""
    known = {heading.casefold() for heading in chapter}
    below = list(headings)
    while below and below[0].casefold() in known:
        below.pop(0)
    return (*chapter, *below)


def _open_book(archive: Archive) -> _Book:
    """
    Raises:
        BadInput: the book is damaged or protected.
    """
    _check_protection(archive)
    package_name = _find_package(archive)
    package = _read_xml(archive, package_name)
    folder = posixpath.dirname(package_name)
    book = _Book()
    _read_facts(package, book)
    files: dict[str, tuple[str, str, str]] = {}
    for item in _elements(package, "item"):
        name = resolve_name(folder, item.get("href") or "")
        kind = (item.get("media-type") or "").lower()
        files[item.get("id") or ""] = (name, kind, item.get("properties") or "")
    contents = {name for name, _, properties in files.values() if "nav" in properties.split()}
    spine = [files[ref] for item in _elements(package, "itemref")
             if (ref := item.get("idref") or "") in files]  # fmt: skip
    spine = spine or list(files.values())
    book.chapters = [
        name
        for name, kind, _ in spine
        if name not in contents and (kind in _PAGES or name.lower().endswith((".xhtml", ".html")))
    ]
    if len(book.chapters) > MAX_CHAPTERS:
        raise BadInput(f"the book has over {MAX_CHAPTERS:,} chapters: divide it.")
    if not book.chapters:
        raise BadInput("the book contains no chapter that can be read.")
    book.headings = _read_contents(archive, contents, files)
    return book


def _check_protection(archive: Archive) -> None:
    """
    Raises:
        BadInput: the book is protected.
    """
    for name, scheme in (("META-INF/rights.xml", "Adobe"), ("META-INF/sinf.xml", "Apple"),
                         ("META-INF/license.lcpl", "LCP")):  # fmt: skip
        if name in archive:
            raise BadInput(f"the book is protected (DRM of {scheme}): it cannot be read.")
    if "META-INF/encryption.xml" not in archive:
        return
    encryption = parse_xml(
        archive.read("META-INF/encryption.xml", _MAX_PACKAGE_BYTES), "encryption"
    )
    methods = [node.get("Algorithm") or "" for node in _elements(encryption, "EncryptionMethod")]
    if any(method not in _FONT_METHODS for method in methods):
        raise BadInput("the book is protected (DRM): it cannot be read.")


def _find_package(archive: Archive) -> str:
    """The name of the file that says what the book consists of.

    Raises:
        BadInput: there is none.
    """
    if "META-INF/container.xml" in archive:
        container = _read_xml(archive, "META-INF/container.xml")
        for root in _elements(container, "rootfile"):
            name = unquote(root.get("full-path") or "").lstrip("/")
            if name in archive:
                return name
    for name in archive.names():
        if name.lower().endswith(".opf"):
            return name
    raise BadInput("the file is no EPUB: it has no package (.opf).")


def _read_facts(package: Any, book: _Book) -> None:
    values: dict[str, list[str]] = {}
    for node in package.iter():
        name = _local_name(node)
        if name in (*_FACTS, "title") and "purl.org/dc" in str(node.tag):
            text = collapse_blanks("".join(node.itertext())).strip()
            if text and text not in values.setdefault(name, []):
                values[name].append(text)
    book.title = values.get("title", [""])[0]
    for name, fact in _FACTS.items():
        found = values.get(name, [])[:20]
        if found:
            several = len(found) > 1 and name in ("creator", "language")
            book.metadata[fact] = tuple(found) if several else found[0]


def _read_contents(
    archive: Archive, contents: set[str], files: dict[str, tuple[str, str, str]]
) -> dict[str, tuple[str, ...]]:
    """The headings of each file: EPUB 3's navigation, else EPUB 2's."""
    for name in contents:
        try:
            headings = _read_navigation(archive, name)
        except BadInput:
            continue
        if headings:
            return headings
    for name, kind, _ in files.values():
        if kind == "application/x-dtbncx+xml" or name.lower().endswith(".ncx"):
            try:
                return _read_ncx(archive, name)
            except BadInput:
                continue
    return {}


def _read_navigation(archive: Archive, name: str) -> dict[str, tuple[str, ...]]:
    from selectolax.lexbor import LexborHTMLParser

    from rag_vqa.formats.documents.web_source import parse_page

    tree: LexborHTMLParser = parse_page(archive.read(name, _MAX_PACKAGE_BYTES))[0]
    found: dict[str, tuple[str, ...]] = {}
    places = tree.css("nav")
    place = next((n for n in places if (n.attributes.get("epub:type") or "toc") == "toc"), None)
    for link in place.css("a[href]") if place is not None else []:
        path = [collapse_blanks(link.text(deep=True)).strip()]
        parent = link.parent
        while parent is not None and parent.tag != "nav" and len(path) < _MAX_DEPTH:
            if parent.tag == "ol" and parent.parent is not None and parent.parent.tag == "li":
                label = next((c for c in parent.parent.iter() if c.tag in ("a", "span")), None)
                if label is not None:
                    path.append(collapse_blanks(label.text(deep=True)).strip())
            parent = parent.parent
        _note_heading(found, posixpath.dirname(name), link.attributes.get("href") or "", path[::-1])
    return found


def _read_ncx(archive: Archive, name: str) -> dict[str, tuple[str, ...]]:
    root = _read_xml(archive, name)
    found: dict[str, tuple[str, ...]] = {}
    waiting: list[tuple[Any, list[str]]] = [(root, [])]
    while waiting:
        node, path = waiting.pop()
        below = path
        if _local_name(node) == "navPoint":
            label = next((c for c in node if _local_name(c) == "navLabel"), None)
            words = collapse_blanks("".join(label.itertext())).strip() if label is not None else ""
            below = [*path, words][:_MAX_DEPTH]
            target = next((c.get("src") or "" for c in node if _local_name(c) == "content"), "")
            _note_heading(found, posixpath.dirname(name), target, below)
        waiting += [(child, below) for child in reversed(node)]
    return found


def _note_heading(
    found: dict[str, tuple[str, ...]], folder: str, target: str, path: list[str]
) -> None:
    """A file has the headings that all places in it share; its own headings tell the rest."""
    name = resolve_name(folder, target).casefold()
    headings = tuple(heading for heading in path if heading)
    if not name or not headings:
        return
    known = found.setdefault(name, headings)
    same = 0
    while same < min(len(known), len(headings)) and known[same] == headings[same]:
        same += 1
    found[name] = known[:same]


def resolve_name(folder: str, target: str) -> str:
    """A target within an archive as the name of a member.

    >>> resolve_name("OPS", "../text/ch%201.xhtml#p2")
    'text/ch 1.xhtml'
    """
    try:
        path = unquote(urlsplit(target).path)
    except ValueError:
        return ""
    return posixpath.normpath(posixpath.join(folder, path)).lstrip("/") if path else ""


def _read_xml(archive: Archive, name: str) -> Any:
    """A part as XML. Books name public DTDs, which are not read; own declarations are refused.

    Raises:
        BadInput: it is missing, damaged, or no XML.
    """
    data = archive.read(name, _MAX_PACKAGE_BYTES)
    return parse_xml(_PUBLIC_DTD.sub(b"", data, count=1), name)


def _elements(root: Any, name: str) -> list[Any]:
    return [node for node in root.iter() if _local_name(node) == name]


def _local_name(node: Any) -> str:
    return str(node.tag).rpartition("}")[2] if isinstance(node.tag, str) else ""


register_reader(
    DocumentReader(
        name="epub", suffixes=(".epub",), parse=parse_epub, modules=("selectolax", "lxml")
    )
)
