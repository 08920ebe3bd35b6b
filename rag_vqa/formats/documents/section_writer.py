"""A section writer: blocks of text, headings and pictures, in order, become Sections.

Knows how headings nest, and that blocks are parted by an empty line. Does not know where they come
from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rag_vqa.formats.sections import Section


class SectionWriter:
    """Collects what stands below one heading until the next heading comes."""

    def __init__(self) -> None:
        self._path: list[tuple[int, str]] = []
        self._blocks: list[str] = []
        self._notes: list[str] = []
        self._images: list[bytes | str] = []

    def add_text(self, text: str) -> None:
        """Add a paragraph, a list or a table."""
        if text.strip():
            self._blocks.append(text.strip("\n"))

    def add_note(self, text: str) -> None:
        """Add a footnote: it stands at the end of the section."""
        if text.strip():
            self._notes.append(text)

    def add_image(self, image: bytes | str) -> None:
        """Add a picture; one that the section has is not repeated."""
        if image not in self._images:
            self._images.append(image)

    def open_heading(self, level: int, text: str) -> Iterator[Section]:
        """Begin a section at a heading; gives the one before, if there is anything in it."""
        yield from self.close()
        while self._path and self._path[-1][0] >= level:
            self._path.pop()
        self._path.append((level, text))

    def close(self) -> Iterator[Section]:
        """Give the section that was collected, if there is anything in it."""
        if self._blocks or self._images or self._notes:
            text = "\n\n".join([*self._blocks, *self._notes])
            headings = tuple(text for _, text in self._path)
            yield Section(headings, text, tuple(self._images))
        self._blocks, self._notes, self._images = [], [], []


def format_row(cells: Sequence[str]) -> str:
    """A row of a table as one line of text; "" if all cells are empty.

    >>> format_row(["Seal  ring", "", "4711"])
    'Seal ring |  | 4711'
    """
    lines = [" ".join(cell.split()) for cell in cells]
    return " | ".join(lines).rstrip() if any(lines) else ""
