"""Encodings: what is found out from bytes, what is only declared, and what is no text."""

import pytest

from rag_vqa.errors import BadInput
from rag_vqa.formats.encodings import decode_text, find_declared, find_encoding

TEXT = "Café – 12 € à la carte: déjà vu"


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("utf-8", "UTF-8"),
        ("utf-8-sig", "UTF-8"),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("utf-32", "UTF-32"),
        ("cp1252", "Windows-1252"),
    ],
)
def test_what_is_found_out(codec: str, name: str) -> None:
    assert decode_text(TEXT.encode(codec)) == (TEXT, name)


def test_other_scripts_are_utf_8_or_utf_16() -> None:
    for text in ("青花の花瓶。" * 9, "Κεραμικό αγγείο", "مزهرية زرقاء"):
        assert decode_text(text.encode()) == (text, "UTF-8")
        assert decode_text(text.encode("utf-16")) == (text, "UTF-16")


def test_a_sample_may_end_within_a_character() -> None:
    sample = TEXT.encode()[:4]  # between the two bytes of é
    assert find_encoding(sample, is_whole=False) == "utf-8"
    assert find_encoding(sample) == "cp1252"


def test_latin_1_is_what_windows_1252_does_not_have() -> None:
    assert decode_text(b"\x8d caf\xe9") == ("\x8d café", "Latin-1")
    assert decode_text(b"") == ("", "UTF-8")


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("ISO-8859-1", "cp1252"),
        ("us-ascii", "cp1252"),
        ("GB2312", "gb18030"),
        (" Shift_JIS ", "cp932"),
        ("x-sjis", "cp932"),
        ("windows-1251", "cp1251"),
        ("UTF8", "utf-8"),
        ("hex", None),
        ("base64", None),
        ("a\0b", None),
        ("", None),
        ("klingon", None),
    ],
)
def test_declared_names(label: str, codec: str | None) -> None:
    assert find_declared(label) == codec


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a\0b", "NUL"),
        (bytes(range(256)) * 9, "NUL"),
        (bytes(range(1, 256)) * 9, "binary data"),
        (b"\xff\xfea", "no UTF-16"),
        ("lone \ud800 surrogate".encode("utf-16", "surrogatepass"), "no UTF-16"),
    ],
)
def test_what_is_no_text(data: bytes, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        decode_text(data)
