"""Pages that are packed with their pictures: MHTML of browsers, Safari's archives."""

import plistlib
from email.mime.image import MIMEImage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path

import pytest
from picture_files import file, noise

from rag_vqa.errors import BadInput
from rag_vqa.formats.document_reader import find_reader
from rag_vqa.formats.sections import ParsedDocument, Section

KILN = file(noise(64, 48), "PNG")
OTHER = file(noise(32, 48), "PNG")
PAGE = (
    "<html><head><title>Vase – Museum</title></head><body><h1>Vase</h1><p>Bläue.</p>"
    "<h2>Foot</h2><img src='img/a%20b.png'><img src='cid:two@x'><img src='gone.png'></body></html>"
)


def read(path: Path) -> tuple[ParsedDocument, list[Section]]:
    reader = find_reader(path.suffix)
    assert reader is not None
    document = reader.read(path)
    return document, [one for one in document.sections if isinstance(one, Section)]


def mhtml(encoding: str) -> bytes:
    message = MIMEMultipart("related")
    message["Snapshot-Content-Location"] = "https://museum.example/vase?id=1"
    page = MIMEText(PAGE, "html", encoding)
    page["Content-Location"] = "https://museum.example/vase?id=1"
    message.attach(page)
    first = MIMEImage(KILN)
    first["Content-Location"] = "https://museum.example/img/a%20b.png"
    second = MIMEImage(OTHER)
    second["Content-ID"] = "<two@x>"
    message.attach(first)
    message.attach(second)
    return message.as_bytes()


@pytest.mark.parametrize("encoding", ["utf-8", "windows-1252"])
def test_mhtml(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "vase.mhtml").write_bytes(mhtml(encoding))
    document, (lead, foot) = read(tmp_path / "vase.mhtml")
    assert (document.title, document.url) == ("Vase", "https://museum.example/vase?id=1")
    assert lead.text == "Bläue." and foot.headings == ("Foot",)
    assert foot.images == (
        KILN, OTHER, "https://museum.example/gone.png",
    )  # fmt: skip


def test_webarchive(tmp_path: Path) -> None:
    main = {
        "WebResourceData": PAGE.encode(),
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
