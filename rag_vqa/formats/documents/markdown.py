"""Markdown: a note or a manual as people read it, without its marks.

Knows which marks are headings, lists, tables, code, pictures and links. Does not know front matter
(front_matter.py), nor the marks of Obsidian and of footnotes (markdown_marks.py).

The first heading of level one is the title, unless front matter gives one. Code between fences
stays as it is. Front matter's `image` and `images` name pictures of the first section; its title,
url, parent, section and retrieval_text are those fields, and all other keys are metadata.
"""

from __future__ import annotations

import itertools
import os
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from rag_vqa.formats.document_reader import DocumentReader, register_reader
from rag_vqa.formats.documents.front_matter import split_front_matter
from rag_vqa.formats.documents.html_fragment import HtmlFragments
from rag_vqa.formats.documents.markdown_marks import (
    clean_text,
    heading_anchor,
    make_parser,
    parse_inline,
    prepare_source,
)
from rag_vqa.formats.documents.plain_text import read_text
from rag_vqa.formats.documents.section_builder import SectionBuilder, fence_code
from rag_vqa.formats.documents.web_pictures import SavedPictures, caption_of
from rag_vqa.formats.sections import ParsedDocument

SUFFIXES: Final = (".md", ".markdown", ".mdown", ".mkd", ".mdx", ".qmd", ".rmd")
_FIELDS: Final[tuple[str, ...]] = ("parent", "section", "retrieval_text")
_SHORT_LINE: Final = 60  # characters: a longer line was wrapped, and goes on in the next one


def parse_markdown(path: Path) -> ParsedDocument:
    """The note in a file.

    Raises:
        BadInput: it is too large, or no text.
    """
    source, encoding = read_text(path)
    values, body = split_front_matter(source)
    metadata = dict(values)
    named = [metadata.pop(name) for name in ("image", "images") if name in metadata]
    fields: dict[str, str] = {name: str(metadata.pop(name)) for name in _FIELDS if name in metadata}
    title = str(metadata.pop("title", ""))
    url = str(metadata.pop("url", ""))
    builder = SectionBuilder()
    walk = _MarkdownWalk(builder, NotePictures(path), title)
    for name in _picture_names(named):
        walk.add_picture(name, "")
    walk.read(body)
    return ParsedDocument(
        sections=builder.finish(),
        title=walk.title,
        metadata=metadata,
        url=url,
        fields=fields,
        encoding=encoding,
    )


def _picture_names(values: Sequence[Any]) -> list[str]:
    """Names of pictures: one, or a list of them."""
    names: list[str] = []
    for value in values:
        names += [str(v) for v in (value if isinstance(value, tuple) else [value])]
    return names


class NotePictures:
    """Pictures of a note: names relative to its folder, or anywhere in its vault (Obsidian)."""

    def __init__(self, note: Path) -> None:
        self._saved = SavedPictures(note)
        self._note = note
        self._places: dict[str, str] | None = None

    def find(self, name: str, anywhere: bool = False) -> str | None:
        """The name of a picture as ingest opens it; None if it shows nothing."""
        found = self._saved.find([name])
        if anywhere and isinstance(found, str) and not (self._note.parent / found).is_file():
            return self._vault_places().get(posixpath.basename(name).casefold(), found)
        return found if isinstance(found, str) else None

    def _vault_places(self) -> dict[str, str]:
        """Where files of a name are in the note's vault."""
        if self._places is None:
            self._places = find_vault_files(self._note)
        return self._places


_VAULTS: dict[Path, dict[str, Path]] = {}
_MAX_VAULTS: Final = 50  # whose files are kept
_MAX_VAULT_FILES: Final = 200_000
# Where vaults keep pictures. Looked through if a vault was copied without its hidden `.obsidian`.
_ATTACHMENTS: Final = ("attachments", "assets", "files", "images", "media", "_resources")
_MAX_FOLDERS_ABOVE: Final = 4


def find_vault_files(note: Path) -> dict[str, str]:
    """Files of the vault by name in lower case, as paths relative to the note's folder.

    A vault is the folder above the note with `.obsidian`. Without one, the files are those in the
    folders for attachments beside the note and above it; the nearest one goes first.
    """
    folder = note.absolute().parent
    vault = next((f for f in (folder, *folder.parents) if (f / ".obsidian").is_dir()), None)
    if vault is not None:
        return _relative_places(_files_below(vault), folder)
    places: dict[str, Path] = {}
    for above in (folder, *folder.parents[:_MAX_FOLDERS_ABOVE]):
        for attachments in _attachment_folders(above):
            places = _files_below(attachments) | places
    return _relative_places(places, folder)


def _attachment_folders(folder: Path) -> list[Path]:
    if not os.access(folder, os.R_OK):
        return []
    with os.scandir(folder) as entries:
        return sorted(
            Path(entry) for entry in entries
            if entry.name.casefold() in _ATTACHMENTS and entry.is_dir(follow_symlinks=False)
        )  # fmt: skip


def _files_below(folder: Path) -> dict[str, Path]:
    """Files other than notes in a folder by name; of one name, the first path."""
    if folder not in _VAULTS:
        if len(_VAULTS) >= _MAX_VAULTS:
            _VAULTS.clear()
        places: dict[str, Path] = {}
        for path in sorted(itertools.islice(folder.rglob("*"), _MAX_VAULT_FILES)):
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if path.suffix.lower() not in (".md", "") and not hidden:
                places.setdefault(path.name.casefold(), path)
        _VAULTS[folder] = places
    return _VAULTS[folder]


def _relative_places(places: dict[str, Path], folder: Path) -> dict[str, str]:
    return {
        name: posixpath.relpath(path.as_posix(), folder.as_posix()) for name, path in places.items()
    }


@dataclass(slots=True)
class _MarkdownWalk:
    """Goes through the tokens of a note; `title` is what it found or was given."""

    builder: SectionBuilder
    pictures: NotePictures
    title: str
    _has_title: bool = False  # a heading was taken for it
    _numbers: list[int | None] = field(default_factory=list)  # of the next items of open lists
    _cells: list[str] = field(default_factory=list)
    _alternatives: list[str] = field(default_factory=list)  # what pictures in a cell say
    _in_cell: bool = False
    _heading: int = 0  # level of the open one
    _html: HtmlFragments | None = None

    def read(self, body: str) -> None:
        """Read the text of a note into the builder."""
        self._html = HtmlFragments(self.builder, self.add_picture, self.end_heading)
        parser, environment = make_parser(), dict[str, Any]()
        for token in parser.parse(prepare_source(body), environment):
            kind = token.type
            if kind == "inline":
                self._add_inline(parse_inline(parser, token.content, environment), token.content)
            elif kind in ("fence", "code_block"):
                self._add_code(token)
            elif kind == "html_block":
                self._html.add_block(token.content)
            elif kind.startswith("heading"):
                self._take_heading(token)
            elif kind in _LIST_TOKENS:
                self._take_list(token)
            elif kind in _TABLE_TOKENS:
                self._take_table(token)
            else:
                self._end_block()

    def add_picture(self, address: str, caption: str, anywhere: bool = False) -> None:
        """A picture of the section under way."""
        name = self.pictures.find(address, anywhere) if address.strip() else None
        caption = caption_of({"alt": caption})
        if name is None:
            self.builder.buffer.add_text(caption)
        elif self._in_cell or self.builder.is_apart:
            self.builder.add_picture(name)
            self._alternatives.append(caption)
        else:
            self.builder.add_picture(name, caption)

    def end_heading(self, level: int, heading: str) -> None:
        """A heading, its words taken from the builder's open buffer."""
        heading, anchor = heading_anchor(heading)
        heading = heading or " ".join(self._alternatives)
        self._alternatives = []
        is_title = level == 1 and not self._has_title
        if is_title and heading and (not self.title or same_words(heading, self.title)):
            self.title, self._has_title = self.title or heading, True
            self.builder.end_paragraph()
        else:
            self.builder.begin_section(level, heading, anchor)

    def _end_block(self) -> None:
        if self._numbers:
            self.builder.end_line()
        else:
            self.builder.end_paragraph()

    def _add_inline(self, tokens: Sequence[Any], content: str) -> None:
        lines = content.split("\n")
        at = 0
        for token in tokens:
            if token.type != "html_inline" and self._html is not None and self._html.is_unseen:
                continue
            if token.type == "text":
                self.builder.buffer.add_text(clean_text(token.content))
            elif token.type in ("code_inline", "text_special"):
                self.builder.buffer.add_text(token.content)
            elif token.type in ("softbreak", "hardbreak"):
                at += 1
                self._break_line(lines, at, is_hard=token.type == "hardbreak")
            elif token.type == "image":
                self.add_picture(
                    unquote(str(token.attrs.get("src", ""))),
                    plain_words(token) or str(token.attrs.get("title", "")),
                    anywhere=bool(token.meta.get("anywhere")),
                )
            elif token.type == "html_inline" and self._html is not None:
                self._html.add_inline(token.content)
        if self._html is not None:
            self._html.end_inline()

    def _break_line(self, lines: Sequence[str], at: int, *, is_hard: bool) -> None:
        """A line of a paragraph ends: one that was not wrapped stays a line."""
        if self._in_cell or self._heading:
            self.builder.buffer.add_text(" ")
            return
        before, after = (lines[at - 1].strip(), lines[at].strip()) if at < len(lines) else ("", "")
        goes_on = len(before) >= _SHORT_LINE or after[:1].islower()
        if is_hard or (before and not goes_on) or after.startswith("[^") or before.startswith("[!"):
            self.builder.end_line()
        else:
            self.builder.buffer.add_text(" ")

    def _add_code(self, token: Any) -> None:
        self.builder.end_paragraph()
        lines = token.content.rstrip("\n")
        if token.type == "fence":
            lines = f"{token.markup}{token.info}\n{lines}\n{token.markup}"
        else:
            lines = fence_code(lines)
        self.builder.buffer.add_verbatim(lines)
        self.builder.end_paragraph()

    def _take_heading(self, token: Any) -> None:
        if token.type == "heading_open":
            self.builder.end_paragraph()
            self.builder.open_buffer()
            self._heading = int(token.tag[1:])
        else:
            level, self._heading = self._heading, 0
            self.end_heading(level, self.builder.close_buffer())

    def _take_list(self, token: Any) -> None:
        if token.type == "list_item_open":
            number = self._numbers[-1]
            marker = "- " if number is None else f"{number}. "
            self._numbers[-1] = None if number is None else number + 1
            self.builder.buffer.begin_item(marker, len(self._numbers) - 1)
        elif token.type in ("bullet_list_open", "ordered_list_open"):
            self._end_block()
            is_ordered = token.type == "ordered_list_open"
            self._numbers.append(int(token.attrs.get("start", 1)) if is_ordered else None)
        elif token.type != "list_item_close":
            self._numbers.pop()
            self._end_block()

    def _take_table(self, token: Any) -> None:
        if token.type in ("th_open", "td_open"):
            self.builder.open_buffer()
            self._in_cell = True
        elif token.type in ("th_close", "td_close"):
            text, shown = self.builder.close_buffer(), " ".join(filter(None, self._alternatives))
            self._in_cell, self._alternatives = False, []
            if text and shown:
                self.builder.add_caption(shown)
            self._cells.append(text or shown)
        elif token.type == "tr_close":
            line = " | ".join(self._cells).strip() if any(self._cells) else ""
            self._cells = []
            if line:
                self.builder.end_line()
                self.builder.buffer.add_verbatim(line)
        elif token.type in ("table_open", "table_close"):
            self.builder.end_paragraph()


_LIST_TOKENS: Final = frozenset(
    f"{kind}_{end}"
    for kind in ("bullet_list", "ordered_list", "list_item")
    for end in ("open", "close")
)
_TABLE_TOKENS: Final = frozenset(
    f"{kind}_{end}"
    for kind in ("table", "thead", "tbody", "tr", "th", "td")
    for end in ("open", "close")
)


def plain_words(token: Any) -> str:
    """The text of a picture's description, without its marks."""
    children = token.children or ()
    return "".join(
        " " if child.type in ("softbreak", "hardbreak") else child.content
        for child in children
        if child.type in ("text", "text_special", "code_inline", "softbreak", "hardbreak")
    )


def same_words(one: str, other: str) -> bool:
    """Whether two titles differ at most in capitals and blanks."""
    return re.sub(r"\s+", " ", one).casefold() == re.sub(r"\s+", " ", other).casefold()


register_reader(DocumentReader(name="markdown", suffixes=SUFFIXES, parse=parse_markdown))
