"""HTML: a web page that was saved as a file, with its pictures beside it or in it.

Knows which steps lead from a file to sections. Does not know the steps: the source (web_source.py),
the frame (web_furniture.py), the text (web_text.py), the pictures (web_pictures.py), and what the
page says about itself (web_metadata.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rag_vqa.errors import BadInput
from rag_vqa.formats.document_reader import DocumentReader, register_reader
from rag_vqa.formats.documents.section_builder import SectionBuilder, collapse_blanks
from rag_vqa.formats.documents.web_furniture import PageParts, find_parts
from rag_vqa.formats.documents.web_headings import heading_text
from rag_vqa.formats.documents.web_metadata import PageFacts, read_facts
from rag_vqa.formats.documents.web_pictures import PictureFinder, SavedPictures
from rag_vqa.formats.documents.web_source import MAX_PAGE_BYTES, parse_page
from rag_vqa.formats.documents.web_text import read_sections
from rag_vqa.formats.documents.web_tree import Node
from rag_vqa.formats.sections import ParsedDocument, Section

SUFFIXES = (".html", ".htm", ".xhtml", ".xht", ".shtml")


def parse_html(path: Path) -> ParsedDocument:
    """The page in a file.

    Raises:
        BadInput: it is too large, or no text.
    """
    data = read_file(path, MAX_PAGE_BYTES)
    return read_page(
        data, lambda facts: SavedPictures(path, facts.base, facts.url), SectionBuilder()
    )


def read_page(
    data: bytes,
    find_pictures: Callable[[PageFacts], PictureFinder],
    builder: SectionBuilder,
    label: str = "",
    *,
    is_part: bool = False,
) -> ParsedDocument:
    """A page, given its bytes.

    Args:
        find_pictures: where the page's pictures are, given what it says about itself.
        label: its encoding as its server or its archive says.
        is_part: whether it is a chapter of a book: then its title is a heading like others.

    Raises:
        BadInput: it is over a limit, or no text.
    """
    tree, encoding = parse_page(data, label)
    body = tree.body
    parts = PageParts([]) if body is None else find_parts(body)
    heads = [] if body is None else _main_headings(body, parts)
    facts = read_facts(tree, heads[0] if heads else "", len(heads) == 1)
    read_sections(parts, builder, find_pictures(facts), "" if is_part else facts.title)
    sections = builder.finish()
    if not sections and heads:  # nothing but its title
        sections = [Section(text=heads[0])]
    return ParsedDocument(
        sections=sections,
        title=facts.title,
        metadata=facts.metadata,
        url=facts.url,
        encoding=encoding,
        nothing="" if sections else _reason_of_nothing(facts),
    )


def read_file(path: Path, limit: int) -> bytes:
    """The bytes of a file.

    Raises:
        BadInput: it is too large, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise BadInput(f"the file cannot be read ({error.strerror}).") from error
    if len(data) > limit:
        raise BadInput(f"the file is over {limit // 2**20} MB: divide it.")
    return data


def _main_headings(body: Node, parts: PageParts) -> list[str]:
    """Headings of level one, of the main text first."""
    places = [*(root for root in parts.roots if root is not body), body]
    found = [heading_text(node, parts) for place in places for node in place.css("h1")]
    return [heading for heading in dict.fromkeys(found) if heading]


def _reason_of_nothing(facts: PageFacts) -> str:
    if facts.frames:
        names = ", ".join(dict.fromkeys(facts.frames[:5]))
        return f"it is a set of frames: its text is in {collapse_blanks(names)}. Give their folder."
    if facts.redirect:
        return f"it only leads to {collapse_blanks(facts.redirect)[:200]}."
    return "the page shows neither text nor picture: it may build its text by a script."


register_reader(
    DocumentReader(name="html", suffixes=SUFFIXES, parse=parse_html, modules=("selectolax",))
)
