"""Name pairs: which pictures and which documents of one folder belong together by their names.

Knows capitals, forms of accents, doubled suffixes (`vase.jpg.txt`), and what happens if several
documents have one name. Does not know files: these are names.

`vase.jpg` and `vase.txt` belong together, and so do `Vase.JPG` and `vase.jpg.txt`. If several
texts have one name but for capitals, each keeps the pictures that are spelled like it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rag_vqa.errors import BadInput
from rag_vqa.formats.folder_walk import PICTURES, TEXTS, split_name
from rag_vqa.formatting import quote_value


@dataclass(frozen=True, slots=True)
class NameGroup:
    """Files of one name, which are one document.

    Attributes:
        name: of the document within its folder.
        document: the file with its text, or its pages; "" if there are only pictures.
        pictures: in the order of their names.
        refused: why the files are refused; None if they are not.
    """

    name: str
    document: str
    pictures: tuple[str, ...]
    refused: BadInput | None = None

    @property
    def first_file(self) -> str:
        """A file that stands for all of them in a message."""
        return self.document or self.pictures[0]


@dataclass(frozen=True, slots=True)
class _File:
    """A file's name; `base` is what it has in common with the others of its document."""

    name: str
    base: str
    suffix: str

    @classmethod
    def parse(cls, name: str) -> _File:
        stem, suffix = split_name(name)
        base, inner = split_name(stem)
        doubled = suffix in TEXTS and inner in PICTURES and base != ""
        return cls(name, base if doubled else stem, suffix)

    @property
    def is_picture(self) -> bool:
        return self.suffix in PICTURES

    @property
    def described_picture(self) -> str:
        """The picture that `vase.jpg.txt` names; "" of `vase.txt`."""
        stem = split_name(self.name)[0]
        return "" if stem == self.base else stem


def comparable_name(name: str) -> str:
    """A name without capitals, and with composed accents.

    >>> comparable_name("CAFE\\u0301")
    'café'
    """
    return name.lower() if name.isascii() else _fold_name(name)


def _fold_name(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def group_names(names: Iterable[str], documents: Container[str]) -> Iterator[NameGroup]:
    """The documents of one folder, sorted by name.

    Args:
        names: of all files; those that are neither picture nor document are left out.
        documents: suffixes of documents.
    """
    files = [_File.parse(name) for name in names]
    files = [one for one in files if one.is_picture or one.suffix in documents]
    files.sort(key=lambda one: (comparable_name(one.base), one.base, one.name))
    groups: list[NameGroup] = []
    for _, same in groupby(files, lambda one: comparable_name(one.base)):
        groups += _groups_of_one_name(list(same))
    groups.sort(key=lambda group: (group.name, group.first_file))
    yield from groups


def _groups_of_one_name(files: list[_File]) -> Iterator[NameGroup]:
    """Groups of files whose names are equal but for capitals and forms of accents."""
    texts = [one for one in files if one.suffix in TEXTS]
    documents = texts or [one for one in files if not one.is_picture]
    if len(documents) == 1 or (
        not texts and len({_compose_accents(one.base) for one in files}) == 1
    ):
        yield from _groups_of_one_text(files, texts)
        return
    for _, same in groupby(files, lambda one: one.base):
        spelled = list(same)
        yield from _groups_of_one_spelling(spelled, [one for one in texts if one in spelled])


def _compose_accents(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _groups_of_one_spelling(files: list[_File], texts: list[_File]) -> Iterator[NameGroup]:
    """Groups of files of exactly one name; texts that name their picture take it for themselves."""
    if len(texts) > 1:
        for text in [one for one in texts if one.described_picture]:
            wanted = comparable_name(text.described_picture)
            own = [one for one in files if one.is_picture and comparable_name(one.name) == wanted]
            if own:
                yield NameGroup(own[0].name, text.name, (own[0].name,))
                files = [one for one in files if one not in (own[0], text)]
        texts = [one for one in texts if one in files]
    if len(texts) > 1:
        names = [quote_value(one.name) for one in texts[:2]]
        why = BadInput(f"{names[0]} and {names[1]} are texts of one name: join them or rename one.")
        yield NameGroup(texts[0].base, texts[0].name, _picture_names(files), why)
        files = [one for one in files if not one.is_picture and one not in texts]
        texts = []
    if files:
        yield from _groups_of_one_text(files, texts)


def _groups_of_one_text(files: Sequence[_File], texts: list[_File]) -> Iterator[NameGroup]:
    """The text with the pictures; a second document of the name keeps its suffix in its own."""
    others = sorted(
        (one for one in files if not one.is_picture and one not in texts),
        key=lambda one: (one.suffix, one.name),
    )
    documents = [*texts, *others]
    pictures = _picture_names(files)
    if not documents:
        yield NameGroup(files[0].base, "", pictures)
        return
    yield NameGroup(documents[0].base, documents[0].name, pictures)
    for one in documents[1:]:
        yield NameGroup(one.name, one.name, ())


def _picture_names(files: Sequence[_File]) -> tuple[str, ...]:
    return tuple(sorted(one.name for one in files if one.is_picture))
