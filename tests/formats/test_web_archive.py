"""Pages that are packed with their pictures: MHTML of browsers, Safari's archives."""

import plistlib
from pathlib import Path

import pytest
from web_documents import ARCHIVED_PAGE, KILN, OTHER, web_archive

from rag_vqa.errors import BadInput
from rag_vqa.formats.document_reader import find_reader
from rag_vqa.formats.sections import ParsedDocument, Section


def read(path: Path) -> tuple[ParsedDocument, list[Section]]:
    reader = find_reader(path.suffix)
    assert reader is not None
    document = reader.read(path)
    return document, [one for one in document.sections if isinstance(one, Section)]


@pytest.mark.parametrize("encoding", ["utf-8", "windows-1252"])
def test_mhtml(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "vase.mhtml").write_bytes(web_archive(encoding))
    document, (lead, foot) = read(tmp_path / "vase.mhtml")
    assert (document.title, document.url) == ("Vase", "https://museum.example/vase?id=1")
    assert lead.text == "Bläue." and foot.headings == ("Foot",)
    assert foot.images == (
        KILN, OTHER, "https://museum.example/gone.png",
    )  # fmt: skip


def test_webarchive(tmp_path: Path) -> None:
    main = {
        "WebResourceData": ARCHIVED_PAGE.encode(),
        "WebResourceURL": "https://museum.example/vase",
        "WebResourceTextEncodingName": "UTF-8",
    }
    picture = {
        "WebResourceURL": "https://museum.example/img/a%20b.png",
        "WebResourceData": KILN,
    }
    archive = {"WebMainResource": main, "WebSubresources": [picture]}
    (tmp_path / "v.webarchive").write_bytes(plistlib.dumps(archive, fmt=plistlib.FMT_BINARY))
    document, (lead, foot) = read(tmp_path / "v.webarchive")
    assert (document.url, lead.text) == ("https://museum.example/vase", "Bläue.")
    assert foot.images[0] == KILN


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.mhtml", b"From: x\n\ntext only", "contains no page"),
        ("a.mht", b"", "contains no page"),
        ("a.webarchive", b"bplist00 no", "is damaged"),
        ("a.webarchive", plistlib.dumps({"WebMainResource": 1}), "contains no page"),
        ("a.webarchive", plistlib.dumps([1]), "contains no page"),
    ],
)
def test_what_is_refused(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=reason):
        read(tmp_path / name)
