"""Encodings of text files: found out from their bytes, or from a name that the file declares.

Knows byte order marks, UTF-8, UTF-16 and UTF-32 without a mark, Windows-1252 and Latin-1. Does not
know what a text means, nor any file.

Text that is UTF-8 is UTF-8: other encodings hardly ever make valid sequences by chance. All other
8-bit text is read as Windows-1252, the usual one of old files in Western Europe; other encodings
look the same, so their files must declare them, or the user must.
"""

from __future__ import annotations

import codecs

from rag_vqa.errors import BadInput

UTF_8 = "utf-8"
_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NAMES = {  # as people write them
    "utf-8-sig": "UTF-8",
    "utf-8": "UTF-8",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
    "utf-32": "UTF-32",
    "iso8859-1": "Latin-1",
}
# What browsers understand by a declared name: the superset that people really used.
_SUPERSETS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "tis-620": "cp874",
    "iso8859-11": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "johab": "cp949",
    "big5": "big5hkscs",
    "utf-7": "cp1252",
}
_NO_CP1252 = frozenset(b"\x81\x8d\x8f\x90\x9d")
_CONTROLS = dict.fromkeys((*range(9), *range(14, 27), *range(28, 32), 0x7F))  # not tab, escape


def find_encoding(sample: bytes, is_whole: bool = True) -> str:
    """Python's name of the encoding of a text.

    Args:
        sample: the text, or its beginning.
        is_whole: whether the sample is the whole text: if not, it may end within a character.

    >>> find_encoding("café".encode("cp1252"))
    'cp1252'
    """
    for mark, name in _MARKS:
        if sample.startswith(mark):
            return name
    wide = _find_wide(sample[:4096])
    if wide:
        return wide
    try:
        codecs.getincrementaldecoder(UTF_8)().decode(sample, final=is_whole)
    except UnicodeDecodeError:
        return "iso8859-1" if _NO_CP1252.intersection(sample) else "cp1252"
    return UTF_8


def find_declared(label: str) -> str | None:
    """Python's name of an encoding that a file declares, as browsers take it; None if unknown.

    >>> find_declared("ISO-8859-1"), find_declared("x-unknown")
    ('cp1252', None)
    """
    try:
        name = codecs.lookup(label.strip().lower().removeprefix("x-")).name
        "".encode(name)  # codecs such as "hex" are no encodings of text
    except (LookupError, ValueError, TypeError):
        return None
    return _SUPERSETS.get(name, name)


def decode_text(data: bytes) -> tuple[str, str]:
    """The text, and the name of its encoding for people.

    Raises:
        BadInput: the data is no text.

    >>> decode_text(b"caf\\xe9")
    ('café', 'Windows-1252')
    """
    name = find_encoding(data)
    try:
        text = data.decode(name)
    except UnicodeDecodeError as error:
        raise BadInput(
            f"the text is no {name_encoding(name)}: byte 0x{data[error.start]:02x} at "
            f"{error.start}. Save it as UTF-8."
        ) from error
    if "\0" in text:
        raise BadInput("the text contains a NUL character: it is not text.")
    if is_binary(text):
        raise BadInput("the file is binary data under a text's name.")
    return text, name_encoding(name)


def is_binary(text: str) -> bool:
    """Whether the text is none: many control characters are in it.

    >>> is_binary("\x01\x02\x03 PK")
    True
    """
    sample = text[:65_536]
    return len(sample.translate(_CONTROLS)) < 0.98 * len(sample)


def name_encoding(name: str) -> str:
    """An encoding as people write it.

    >>> name_encoding("cp1252")
    'Windows-1252'
    """
    if name.startswith("cp125"):
        return f"Windows-{name[2:]}"
    return _NAMES.get(name, name.upper().replace("_", "-"))


def _find_wide(sample: bytes) -> str:
    """UTF-16 without a mark: half of the bytes of Western text are zero, and no others."""
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    most, least = max(even, odd), min(even, odd)
    if len(sample) < 4 or most < len(sample) // 4 or least > most // 10:
        return ""
    return "utf-16-be" if even > odd else "utf-16-le"
