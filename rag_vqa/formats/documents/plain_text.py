"""Plain text: a file is one document, in whatever encoding it was written.

Knows how large a text may be. Does not know what it means: in a text, `#` is no heading.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rag_vqa.errors import BadInput
from rag_vqa.formats.document_reader import DocumentReader, register_reader
from rag_vqa.formats.encodings import decode_text
from rag_vqa.formats.sections import ParsedDocument, Section

MAX_TEXT_BYTES: Final = 16 * 2**20  # a long novel has 3 MB


def read_text(path: Path) -> tuple[str, str]:
    """The text of a file with `\\n` as its line ends, and its encoding for people.

    Raises:
        BadInput: it is too large, no text, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise BadInput(f"the text cannot be read ({error.strerror}).") from error
    if len(data) > MAX_TEXT_BYTES:
        raise BadInput(f"the text is over {MAX_TEXT_BYTES // 2**20} MB: split it.")
    text, encoding = decode_text(data)
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"), encoding


def parse_text(path: Path) -> ParsedDocument:
    """The text of a file as one section.

    Raises:
        BadInput: it is too large, or no text.
    """
    text, encoding = read_text(path)
    return ParsedDocument([Section(text=text.strip())], encoding=encoding)


register_reader(DocumentReader(name="text", suffixes=(".txt", ".text"), parse=parse_text))
