"""Documents in a folder: the files of one name become items, one a section.

Knows notes (plain text, Markdown), which fields they keep, and where a picture of the note's own
name goes. Does not know how other documents are read (document_reader.py), nor which files belong
together (name_pairs.py).
"""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import Item
from rag_vqa.formats.document_reader import find_reader
from rag_vqa.formats.documents.plain_text import parse_text
from rag_vqa.formats.folder_walk import MARKDOWN, TEXTS, check_file, split_name
from rag_vqa.formats.name_pairs import NameGroup, comparable_name
from rag_vqa.formats.sections import ParsedDocument, section_items
from rag_vqa.formatting import quote_value

PAGES: Final = frozenset((".html", ".htm", ".xhtml", ".shtml"))
_SHOWS_PICTURES: Final = MARKDOWN | PAGES  # by their names; other documents contain them


@dataclass(frozen=True, slots=True)
class FolderDocument:
    """The files of one document.

    Attributes:
        root: folder of the source.
        links: folder that links may lead into.
        inside: path of their folder within `root`, with a slash at the end.
        on_parsed: is called with the path of a document that was opened, and with that.
    """

    root: Path
    links: Path
    inside: str
    group: NameGroup
    on_parsed: Callable[[str, ParsedDocument], None] = lambda place, parsed: None

    @property
    def place(self) -> str:
        """Path within the source of the file that stands for all."""
        return f"{self.inside}{self.group.first_file}"

    @property
    def suffix(self) -> str:
        """Of the document, in lower case; "" of pictures alone."""
        return split_name(self.group.document)[1] if self.group.document else ""

    def pictures(self, without: Collection[str] = ()) -> list[str]:
        """Paths within the source of the pictures of its name.

        Args:
            without: paths that are left out, as `comparable_name`.
        """
        names = (f"{self.inside}{name}" for name in self.group.pictures)
        return [name for name in names if comparable_name(name) not in without]

    @property
    def identity(self) -> str:
        """Its id; sections have `#` and a name after it."""
        return f"{self.inside}{self.group.name}"

    def refuse(self, error: BadInput) -> Item:
        """The item of a document that is refused."""
        return Item(None, error, quote_value(self.place, 200), identity=self.identity)

    def items(self, without: Collection[str] = ()) -> Iterator[Item]:
        """One item a section; what cannot be read is an item with the reason.

        Args:
            without: pictures that are left out, as `comparable_name` of their paths.

        Raises:
            Missing: a library that reads such files is not installed.
        """
        try:
            if self.group.refused is not None:
                raise self.group.refused
            for name in filter(None, (self.group.document, *self.group.pictures)):
                check_file(self.root, self.inside + name, self.links)
            pictures = self.pictures(without)
            yield from self._add_own_pictures(self._sections(bool(pictures)), pictures)
        except BadInput as error:
            yield self.refuse(error)

    def _sections(self, has_pictures: bool) -> Iterator[Item]:
        """Items of the document; at least one, so that an empty one is refused and counted."""
        if not self.suffix:
            yield self._item({})
            return
        path = self.root / self.place
        reader = find_reader(self.suffix)
        parsed = parse_text(path) if reader is None else reader.read(path)
        self.on_parsed(self.place, parsed)
        found = section_items(self.identity, parsed, self.place, self.inside)
        first = next(found, None)
        second = next(found, None)
        if first is None:
            if has_pictures or not parsed.nothing:
                yield self._item({})
            return
        if second is None and self.suffix in TEXTS:
            first = _plain_note(first, self.place)
        yield _find_site_pictures(first, self.root, self.inside)
        if second is not None:
            for item in itertools.chain([second], found):
                yield _find_site_pictures(item, self.root, self.inside)

    def _item(self, fields: dict[str, Any]) -> Item:
        shown = quote_value(self.identity, 200)
        return Item(None, {"id": self.identity, "images": [], **fields}, shown)

    def _add_own_pictures(self, items: Iterator[Item], pictures: list[str]) -> Iterator[Item]:
        """The pictures of its name go to the first section, unless another section shows them."""
        if pictures and self.suffix in _SHOWS_PICTURES:
            listed = list(items)
            elsewhere = {comparable_name(name) for item in listed for name in shown_names(item)}
            pictures = [name for name in pictures if comparable_name(name) not in elsewhere]
            items = iter(listed)
        for item in items:
            if pictures and not isinstance(item.fields, BadInput):
                images = [*pictures, *(item.fields.get("images") or ())]
                item = item._replace(fields={**item.fields, "images": images})
                pictures = []
            yield item


def shown_names(item: Item) -> Iterator[str]:
    """Names of the pictures of an item, as paths within the source."""
    if not isinstance(item.fields, BadInput):
        yield from (name for name in item.fields.get("images") or () if isinstance(name, str))


def _plain_note(item: Item, place: str) -> Item:
    """A note with one section has no parent but one of its own, and is no page with an address."""
    if isinstance(item.fields, BadInput):
        return item
    fields = dict(item.fields)
    if fields.get("url") == place:
        del fields["url"]
    if fields.get("parent") == fields["id"]:
        del fields["parent"]
    if fields.get("title") == split_name(posixpath.basename(place))[0]:
        del fields["title"]
    metadata = dict(fields.get("metadata") or {})
    metadata.pop("file", None)
    return item._replace(fields={**fields, "metadata": metadata})


def _find_site_pictures(item: Item, root: Path, inside: str) -> Item:
    """Names that begin with `/` are looked for from the folder of the site on."""
    if isinstance(item.fields, BadInput):
        return item
    images = item.fields.get("images") or ()
    if not any(isinstance(name, str) and name.startswith("/") for name in images):
        return item
    found = [_find_in_site(name, root, inside) for name in images]
    return item._replace(fields={**item.fields, "images": found})


def _find_in_site(name: Any, root: Path, inside: str) -> Any:
    if not isinstance(name, str) or not name.startswith("/"):
        return name
    parts = [part for part in inside.split("/") if part]
    for depth in range(len(parts) + 1):  # the folder of a host may be any of them
        tried = posixpath.normpath("/".join([*parts[:depth], name.lstrip("/")]))
        if not tried.startswith("..") and (root / tried).is_file():
            return tried
    return name.lstrip("/")
