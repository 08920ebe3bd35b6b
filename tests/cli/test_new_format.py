"""A new document format is one file: this one. Registered, it is detected, its options are checked,
and `kb build` and `kb sync` read it; nothing else is edited.

The toy: a file whose first line is "notes", then one note a line; with the unit "word", each word
is a document of its own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.formats.detection import format_names
from rag_vqa.formats.document import Contents, Item
from rag_vqa.formats.document_format import (
    DOCUMENT_FORMATS,
    DocumentFormat,
    SourceOptions,
    SourceSample,
)
from rag_vqa.formats.source import open_source


def is_notes(sample: SourceSample) -> bool:
    return sample.path.is_file() and sample.path.read_bytes().startswith(b"notes\n")


def open_notes(path: Path, options: SourceOptions) -> Contents:
    def items() -> Iterator[Item]:
        for number, line in enumerate(path.read_text("utf-8").splitlines()[1:], 2):
            parts = line.split() if options.unit == "word" else [line]
            for part, text in enumerate(parts):
                yield Item(number, {"id": f"{number}.{part}", "text": text})

    return Contents(("id", "text"), (), (), items)


NOTES = DocumentFormat(
    name="notes",
    recognises=is_notes,
    open=open_notes,
    options=frozenset({"unit"}),
    units=("line", "word"),
)


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "today"
    path.write_text("notes\npuffins nest in burrows\nstorks nest on roofs\n")
    with DOCUMENT_FORMATS.temporary_entry(NOTES):
        yield path


def texts(path: Path, **options: Any) -> list[str]:
    return [record.text for record in open_source(path, **options).records()]


def test_it_is_detected_and_its_options_are_checked(notes: Path, tmp_path: Path) -> None:
    assert "notes" in format_names() and open_source(notes).kind == "notes"
    assert texts(notes) == ["puffins nest in burrows", "storks nest on roofs"]
    assert texts(notes, kind="notes", unit="word")[:2] == ["puffins", "nest"]
    with pytest.raises(UsageError, match="no unit 'page': give line or word"):
        open_source(notes, unit="page")
    with pytest.raises(
        UsageError, match=r"a mapping is for csv and .* and parquet.*: notes has none"
    ):
        open_source(notes, mapping={"id": ["x"]})
    (tmp_path / "kb.csv").write_text("id,text\na,b\n")
    with pytest.raises(UsageError, match="a unit is for notes and evqa: csv has none"):
        open_source(tmp_path / "kb.csv", unit="word")


def test_a_knowledge_base_is_built_and_synced_from_it(
    cli: Any, notes: Path, tmp_path: Path
) -> None:
    kb = tmp_path / "notes.kb"
    built = cli("kb", "build", notes, "--out", kb)
    assert (built.code, "2 documents (notes)" in built.err) == (0, True), built.err
    found = cli("search", kb, "where do storks nest?", "-k", 1, "--json")
    assert found.json[0]["id"] == "3.0"
    notes.write_text("notes\npuffins nest in burrows\n")
    assert cli("kb", "sync", notes, "--out", kb, "--force").code == 0
    assert cli("kb", "stats", kb, "--json").json["documents"] == 1


def test_without_its_file_it_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "today"
    path.write_text("notes\nx\n")
    with pytest.raises(UsageError, match="'notes' is not a format of documents"):
        open_source(path, "notes")
    with pytest.raises(BadInput, match="of no known format"):
        open_source(path)
