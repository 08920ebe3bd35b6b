"""Old and foreign documents are named as what they are, with the next step."""

from __future__ import annotations

import pytest

from rag_vqa.formats.documents.foreign_files import describe_foreign_suffix, describe_other_kind

OLE = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(3000)


def stream(name: str) -> bytes:
    return OLE + name.encode("utf-16-le") + bytes(200)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"), (bytes(5000), "zeros"), (b"hello world", "begins with"),
        (OLE, "before 2007"), (stream("WordDocument"), "Word 97 to 2003: open it and save it"),
        (stream("Workbook"), "Excel 97 to 2003"), (stream("PowerPoint Document"), "as .pptx"),
        (stream("EncryptedPackage"), "encrypted with a password"),
        (b"{\\rtf1\\ansi hello}", "RTF document"), (b"%PDF-1.4", "a PDF"),
        (b"\xef\xbb\xbf\n<HTML><body>Not found", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"PK\x03\x04\n\0\0\0\0\0mimetypeapplication/vnd.oasis.opendocument.text", "OpenDocument"),
        (b"\x89PNG\r\n", "a picture"), (b"\xff\xd8\xff\xe0", "a picture"),
    ],
)  # fmt: skip
def test_what_a_file_is(tmp_path, content, said) -> None:
    (tmp_path / "a.docx").write_bytes(content)
    assert said in describe_other_kind(tmp_path / "a.docx")


def test_what_a_suffix_means() -> None:
    assert describe_foreign_suffix(".ODT") == "an OpenDocument text: open it and save it as .docx"
    assert describe_foreign_suffix(".docx") is describe_foreign_suffix(".jpg") is None
