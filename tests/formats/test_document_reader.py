"""A reader's files are a source by themselves; a missing extra is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag_vqa.errors import BadInput, Missing
from rag_vqa.formats.document_format import DOCUMENT_FORMATS
from rag_vqa.formats.document_reader import (
    DOCUMENT_READERS,
    DocumentReader,
    find_reader,
    register_reader,
)
from rag_vqa.formats.sections import ParsedDocument, Section
from rag_vqa.formats.source import open_source


def parse_lines(path: Path) -> ParsedDocument:
    """A section a line; the first is the title."""
    title, *lines = path.read_text("utf-8").splitlines()
    if not lines:
        raise BadInput("it has no lines.")
    return ParsedDocument([Section((line,), line) for line in lines], title, {"lines": len(lines)})


@pytest.fixture
def registered():
    reader = DocumentReader(name="lines", suffixes=(".lines",), parse=parse_lines)
    register_reader(reader)
    yield reader
    for registry in (DOCUMENT_READERS, DOCUMENT_FORMATS):
        del registry._entries["lines"]


def test_a_file_of_a_reader_is_a_source(registered, tmp_path) -> None:
    (tmp_path / "a.LINES").write_text("Title\none\ntwo\n", "utf-8")
    source = open_source(tmp_path / "a.LINES")
    assert (source.kind, source.metadata) == ("lines", ("file", "lines"))
    assert [(record.id, record.title, record.metadata) for record in source.records()] == [
        ("a#one", "Title", {"file": "a.LINES", "lines": 2}),
        ("a#two", "Title", {"file": "a.LINES", "lines": 2}),
    ]


def test_a_file_that_is_refused_is_refused_when_it_is_opened(registered, tmp_path) -> None:
    (tmp_path / "a.lines").write_text("Title\n", "utf-8")
    with pytest.raises(BadInput, match="no lines"):
        open_source(tmp_path / "a.lines")


def test_find_reader(registered) -> None:
    assert find_reader(".Lines") is registered
    assert find_reader(".unheard") is None


def test_a_missing_module_names_the_extra(tmp_path) -> None:
    reader = DocumentReader(
        name="lines", suffixes=(".lines",), parse=parse_lines, modules=("not_installed",)
    )
    with pytest.raises(Missing, match=r"pip install 'rag-vqa\[documents\]'"):
        reader.read(tmp_path / "a.lines")
