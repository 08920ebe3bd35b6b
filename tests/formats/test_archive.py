"""Zips and XML that would cost memory or read other files are refused by name."""

from __future__ import annotations

import zipfile

import pytest

from rag_vqa.errors import BadInput
from rag_vqa.formats import archive
from rag_vqa.formats.archive import Archive, parse_xml


def make_zip(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def test_members_are_read_whatever_their_capitals_and_slashes(tmp_path) -> None:
    path = make_zip(tmp_path / "a.docx", {"Word\\Document.xml": b"<a/>", "folder/": b""})
    with Archive(path) as opened:
        assert opened.names() == ("Word/Document.xml",) or opened.names() == ("Word\\Document.xml",)
        assert "word/document.xml" in opened and "other" not in opened
        assert opened.read("/word/document.XML") == b"<a/>"
        assert opened.size("word/document.xml") == 4 and opened.size("other") == 0
        with opened.open("word/document.xml") as stream:
            assert stream.read() == b"<a/>"
        with pytest.raises(BadInput, match="'other' is missing"):
            opened.read("other")


def test_what_is_no_zip_is_refused(tmp_path) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(BadInput, match="damaged or cut short"):
        Archive(path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path) -> None:
    path = make_zip(tmp_path / "a.docx", {"bomb.xml": bytes(64 * 2**20)})
    with pytest.raises(BadInput, match=r"'bomb.xml' unpacks to 1,\d\d\d times its size.*zip bomb"):
        Archive(path)


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [("MAX_MEMBERS", 2, "3 parts"), ("MAX_UNPACKED_BYTES", 2 * 2**20, "unpacks to 3 MB"),
     ("MAX_ARCHIVE_BYTES", 100, "over 0 MB")],
)  # fmt: skip
def test_limits(tmp_path, monkeypatch, limit, value, reason) -> None:
    path = make_zip(tmp_path / "a.zip", dict.fromkeys("abc", bytes(2**20)))
    monkeypatch.setattr(archive, limit, value)
    with pytest.raises(BadInput, match=reason):
        Archive(path)


def test_a_member_over_the_limit_is_refused(tmp_path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a": bytes(2**21)})
    with Archive(path) as opened, pytest.raises(BadInput, match="'a' is over 1 MB"):
        opened.read("a", limit=2**20)


def test_a_member_that_lies_about_its_size_or_is_damaged(tmp_path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a": b"0123456789" * 1000}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[100] ^= 0xFF
    path.write_bytes(data)
    with Archive(path) as opened, pytest.raises(BadInput, match="'a' is damaged"):
        opened.read("a")


def test_a_member_with_a_password_is_refused(tmp_path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a": b"x"})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    path.write_bytes(data)
    with Archive(path) as opened, pytest.raises(BadInput, match="encrypted"):
        opened.read("a")


EXTERNAL = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
LAUGHS = (
    b'<!DOCTYPE a [<!ENTITY x0 "ha">'
    + b"".join(b'<!ENTITY x%d "%s">' % (i, b"&x%d;" % (i - 1) * 10) for i in range(1, 12))
    + b"]><a>&x11;</a>"
)


@pytest.mark.parametrize("data", [EXTERNAL, LAUGHS, EXTERNAL.decode().encode("utf-16")])
def test_xml_with_entities_is_refused(data) -> None:
    with pytest.raises(BadInput, match="declares a DTD"):
        parse_xml(data, "word/document.xml")


def test_deep_xml_does_not_crash() -> None:
    root = parse_xml(b"<a>" * 100_000, "deep.xml")
    assert sum(1 for _ in root.iter()) < 1000


@pytest.mark.parametrize("data", [b"", b"no xml", b"\0\0\0"])
def test_what_is_no_xml_is_refused(data) -> None:
    with pytest.raises(BadInput, match="not XML"):
        parse_xml(data, "a.xml")


def test_small_faults_are_mended() -> None:
    assert parse_xml(b"<a>one\x01 &unknown; two<b></a>", "a.xml").tag == "a"
