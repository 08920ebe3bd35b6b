"""Parsers that hang, crash or grow, for the tests of isolation: the child finds them by name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from rag_vqa.errors import BadInput
from rag_vqa.formats.documents.isolated_child import PageLog
from rag_vqa.formats.sections import ParsedDocument, Section


def parse_pages(path: Path, pages: PageLog) -> ParsedDocument:
    """A page a line: text, or what goes wrong there."""
    lines = path.read_text("utf-8").splitlines()
    if lines[0] == "refused":
        raise BadInput("it is refused.")
    if lines[0] == "crash at once":
        os.abort()
    return ParsedDocument(_sections(lines, pages), "Title", {"lines": len(lines)}, "https://a.b/c")


def _sections(lines: list[str], pages: PageLog) -> Iterator[Section | BadInput]:
    for number, line in enumerate(lines, 1):
        if not pages.begin(number):
            continue
        if line == "crash":
            os.abort()
        if line == "hang":
            while True:
                pass
        if line == "grow":
            grown = [bytearray(2**24)]
            while True:
                grown.append(bytearray(2**24))
        if line == "fault":
            raise KeyError("a fault of ours")
        if line == "bad":
            yield BadInput(f"page {number} is bad.")
        else:
            images = (line.encode(), "a.png") if line == "picture" else ()
            yield Section(
                (f"Page {number}",), f"{line} {os.getpid()}", images, number, f"page={number}"
            )
