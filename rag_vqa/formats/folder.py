"""Folders of pictures, texts and documents: `a/vase.jpg` and `a/vase.md` are one document.

Knows the order in which documents come, which pictures are documents by themselves, and what to say
about the rest. Does not know how names are compared (name_pairs.py), nor how a document is read
(folder_documents.py), and opens no picture.

The id is the path without its suffix, with `/` between its parts, and `#heading` after it if a
document has several sections. A text alone is a document, and so is a picture alone, unless a
document shows it: so documents come first, and then the pictures that none of them shows. Memory
is that of the names in one folder, and of the names of shown pictures.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rag_vqa.errors import BadInput, Missing
from rag_vqa.formats.document import Contents, Item
from rag_vqa.formats.document_format import DOCUMENT_FORMATS, DocumentFormat
from rag_vqa.formats.document_reader import DOCUMENT_READERS
from rag_vqa.formats.documents.foreign_files import describe_foreign_suffix
from rag_vqa.formats.folder_documents import PAGES, FolderDocument, shown_names
from rag_vqa.formats.folder_walk import PICTURES, TEXTS, WalkedFolder, split_name, walk_folder
from rag_vqa.formats.name_pairs import comparable_name, group_names
from rag_vqa.formats.sections import ParsedDocument
from rag_vqa.formatting import one_line, quote_value

_START_PAGES: Final = frozenset(("index", "default", "home"))
# What browsers call the folder of the pictures and styles of a saved page, by language.
_PAGE_FILES: Final = (
    "_files", ".files", "-filer", "-dateien", "_dateien", "_fichiers", "_archivos", "_file",
    "_bestanden", "_arquivos", "_pliki",
)  # fmt: skip
_SAMPLE_FILES: Final = 1_000  # names read when a folder is opened, for the suffixes that it has
_SUFFIXES_SHOWN: Final = 12


def contents(path: Path, links: Path | None = None, only: frozenset[str] | None = None) -> Contents:
    """Read the first names.

    Args:
        links: folder that links may lead into; by default that itself.
        only: suffixes of the documents that are read; None: of all that can be.

    Raises:
        Missing: no such folder.
        BadInput: not a folder.
    """
    if not path.exists():
        raise Missing(f"{path} does not exist: check the path.")
    if not path.is_dir():
        raise BadInput(f"{path} is not a folder.")
    root = path.resolve()
    found = itertools.chain.from_iterable(walked.names for walked in walk_folder(root))
    names = itertools.islice(found, _SAMPLE_FILES)
    suffixes = tuple(sorted({split_name(name)[1] or name for name in names}))
    reading = _FolderReader(root, links or root, only)
    return Contents(suffixes, (), (), reading.items, findings=reading.findings)


@dataclass(slots=True)
class FolderFindings:
    """Counts of one reading.

    Attributes:
        others: files that are not read, by suffix, or by name if they have none.
        texts, pictures: number of those alone; `text` and `picture` are the first of them.
        pairs: texts with a picture of their name.
        files: that are documents, refused ones too.
        encodings: of texts that are not UTF-8, for people.
        nothing: documents without any content, by the reason; `empty` is the first of each.
        shown: pictures that documents show, as comparable paths.
        is_site: whether there is a saved web site, or a part of one.
        unshown: pictures of saved pages that no page shows.
        installs: what must be installed to read more files, as the errors say it.
    """

    others: Counter[str] = field(default_factory=Counter)
    texts: int = 0
    text: str = ""
    pictures: int = 0
    picture: str = ""
    pairs: int = 0
    files: int = 0
    encodings: Counter[str] = field(default_factory=Counter)
    nothing: Counter[str] = field(default_factory=Counter)
    empty: dict[str, str] = field(default_factory=dict)
    shown: set[str] = field(default_factory=set)
    is_site: bool = False
    unshown: int = 0
    installs: dict[str, None] = field(default_factory=dict)

    def note_document(self, place: str, parsed: ParsedDocument) -> None:
        """Note what is unusual about a document that was opened."""
        if parsed.encoding not in ("", "UTF-8"):
            self.encodings[parsed.encoding] += 1
        if parsed.nothing:
            self.nothing[parsed.nothing] += 1
            self.empty.setdefault(parsed.nothing, place)

    def note_text(self, name: str, has_picture: bool) -> None:
        """Count a text; `has_picture`: it has one of its name, or shows one."""
        if has_picture:
            self.pairs += 1
        else:
            self.texts += 1
            self.text = self.text or name

    def note_picture(self, name: str) -> None:
        """Count a picture that is a document by itself."""
        self.pictures += 1
        self.picture = self.picture or name

    def lines(self) -> Iterator[str]:
        """Lines for the person who builds."""
        yield from self.installs
        if (self.pictures and self.texts) or (self.pairs and (self.pictures or self.texts)):
            yield self._pairing_line()
        for encoding, count in sorted(self.encodings.items()):
            yield f"{_count(count, 'text')} read as {encoding}"
        for reason, count in sorted(self.nothing.items()):
            yield f"left out: {_count(count, 'page')} ({one_line(self.empty[reason])}): {reason}"
        if self.unshown:
            yield f"left out: {_count(self.unshown, 'picture')} of saved pages that no page shows"
        others = sorted(self.others.items(), key=lambda pair: (-pair[1], pair[0]))
        foreign = [pair for pair in others if describe_foreign_suffix(pair[0])]
        for suffix, count in foreign:
            yield f"left out: {_count(count, f'{suffix} file')}: {describe_foreign_suffix(suffix)}"
        if listed := [pair for pair in others if pair not in foreign]:
            names = ", ".join(
                one_line(name) if count == 1 else f"{count:,} {one_line(name)}"
                for name, count in listed[:_SUFFIXES_SHOWN]
            )
            more = sum(count for _, count in listed[_SUFFIXES_SHOWN:])
            yield (
                "left out, neither picture nor document: "
                f"{names}{f' and {more:,} more' if more else ''}"
            )

    def _pairing_line(self) -> str:
        texts = f"{_count(self.texts, 'text')} without a picture"
        pictures = f"{_count(self.pictures, 'picture')} without a text"
        counts = [
            f"{line} ({one_line(name)}{', …' if number > 1 else ''})"
            for number, line, name in (
                (self.texts, texts, self.text), (self.pictures, pictures, self.picture)
            )
            if number
        ]  # fmt: skip
        return f"{', '.join(counts)}: a picture belongs to the text of its name"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class _FolderReader:
    """Reads a folder from its beginning, as often as it is asked, and tells what it found."""

    def __init__(self, root: Path, links: Path, only: frozenset[str] | None) -> None:
        self._root, self._links, self._only = root, links, only
        readers = (suffix for reader in DOCUMENT_READERS.entries() for suffix in reader.suffixes)
        self._suffixes = frozenset((*TEXTS, *readers)) if only is None else only
        self._found = FolderFindings()

    def findings(self) -> tuple[str, ...]:
        """What the last reading found."""
        return tuple(self._found.lines())

    def items(self) -> Iterator[Item]:
        """Documents, and then the pictures that none of them shows."""
        self._found = found = FolderFindings()
        has_pictures = False
        for walked in walk_folder(self._root):
            self._count_others(walked)
            for document in self._documents(walked):
                if document.group.document:
                    yield from self._read_document(document)
                else:
                    has_pictures = True
            for name, why in walked.refused:
                known = name if name != walked.inside else ""  # nobody knows what is in it
                yield Item(None, why, quote_value(name, 200), identity=known)
        if has_pictures and self._only is None:
            for walked in walk_folder(self._root):
                for document in self._documents(walked):
                    if not document.group.document:
                        yield from self._read_pictures(document, found)
        if not (found.files or found.pictures) and found.others:
            raise BadInput(f"{self._root} contains no documents. {' '.join(found.lines())}.")

    def _documents(self, walked: WalkedFolder) -> Iterator[FolderDocument]:
        names = walked.names
        if self._belongs_to_page(walked.inside):  # frames and advertisements: no pages of their own
            names = tuple(name for name in names if split_name(name)[1] in PICTURES)
        for group in group_names(names, self._suffixes):
            note = self._found.note_document
            yield FolderDocument(self._root, self._links, walked.inside, group, note)

    def _belongs_to_page(self, inside: str) -> bool:
        """Whether a folder contains what a browser saved with a page beside it."""
        return any(
            (self._root / f"{stem}{suffix}").is_file()
            for stem in _page_stems(inside)
            for suffix in PAGES
        )

    def _count_others(self, walked: WalkedFolder) -> None:
        for name in walked.names:
            stem, suffix = split_name(name)
            if suffix in PAGES and stem.lower() in _START_PAGES:
                self._found.is_site = True
            if suffix not in PICTURES and suffix not in self._suffixes:
                self._found.others[suffix or name] += 1

    def _read_document(self, document: FolderDocument) -> Iterator[Item]:
        found, shown = self._found, set[str]()
        found.files += 1
        try:
            for item in document.items():
                shown.update(map(comparable_name, shown_names(item)))
                yield item
        except Missing as error:
            found.installs.setdefault(str(error))
            yield document.refuse(BadInput(str(error)))
        found.shown |= shown
        if document.suffix in TEXTS and document.group.refused is None:
            found.note_text(document.place, bool(shown))

    def _read_pictures(self, document: FolderDocument, found: FolderFindings) -> Iterator[Item]:
        pictures = document.pictures(found.shown)
        if not pictures:
            return
        if found.is_site or self._belongs_to_page(document.inside):
            found.unshown += len(pictures)
            return
        found.note_picture(pictures[0])
        yield from document.items(found.shown)


def _page_stems(inside: str) -> Iterator[str]:
    """Paths without suffix of the pages that a folder may belong to: "a/x" of "a/x_files/b/"."""
    parts = inside.rstrip("/").split("/")
    for depth, part in enumerate(parts):
        for ending in _PAGE_FILES:
            if part.lower().endswith(ending) and len(part) > len(ending):
                yield "/".join([*parts[:depth], part[: -len(ending)]])


DOCUMENT_FORMATS.register(
    DocumentFormat(
        name="folder",
        options=frozenset(),
        refusals={
            "images": "a folder of images is for files: in a folder, pictures lie beside texts."
        },
        open=lambda path, options: contents(path, options.links),
    )
)
