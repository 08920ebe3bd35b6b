"""Folder findings: what one reading of a folder found, as lines for the person who builds.

Knows what is worth saying: what was left out, what has no partner of its name, what is to be
installed. Does not know how a folder is read (folder.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from rag_vqa.formats.documents.foreign_files import describe_foreign_suffix
from rag_vqa.formatting import one_line

_SUFFIXES_SHOWN: Final = 12


@dataclass(slots=True)
class FolderFindings:
    """Counts of one reading.

    Attributes:
        others: files that are not read, by suffix, or by name if they have none.
        texts, pictures: number of those alone; `text` and `picture` are the first of them.
        pairs: texts with a picture of their name.
        documents: files that are documents, refused ones too.
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
    documents: int = 0
    shown: set[str] = field(default_factory=set)
    is_site: bool = False
    unshown: int = 0
    installs: dict[str, None] = field(default_factory=dict)

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
