"""Encodings of text files: found out from their bytes, declared by the file, or only proposed.

Knows byte order marks, UTF-8, UTF-16 and UTF-32 without a mark, Windows-1252 and Latin-1. Does not
know what a text means, nor any file.

Text that is UTF-8 is UTF-8: other encodings hardly ever make valid sequences by chance. All other
8-bit text is read as Windows-1252, the usual one of old files in Western Europe; other encodings
look the same, so their files must declare them, or the user must. `find_likelier` proposes one, by
the letters that the languages of an encoding use. Text that is read in the wrong encoding is
spoiled without a sign, so it is only proposed.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from typing import Final

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


_WESTERN: Final = "äöüßàâçéèêëîïôùûœæáíóúñìòãõåøÿêŵŷ"
_COMMON_MARKS: Final = "’‘“”„…–—·«»€°§ºª²³½¼¾×±µ£¥©®™¡¿\xa0\xad´•"
_CYRILLIC: Final = "абвгдежзийклмнопрстуфхцчшщъыьэюя"
# Of each encoding the small letters of its languages, one language at a time.
_LETTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "cp1252": (_WESTERN,),
    "cp1250": (
        "áčďéěíňóřšťúůýžäöüß", "ąćęłńóśźż", "áéíóöőúüű", "áäčďéíĺľňóôŕšťúýž", "čćđšž", "ăâîșțşţ",
    ),
    "cp1254": ("çğıöşüâîû",),
    "cp1257": ("āčēģīķļņšūž", "ąčęėįšųūž"),
    "mac_roman": (_WESTERN,),
    "cp850": (_WESTERN,),
    "cp1251": (_CYRILLIC + "ёіїєўґ", _CYRILLIC + "ђјљњћџ"),
    "koi8-r": (_CYRILLIC + "ё",),
    "cp866": (_CYRILLIC + "ё",),
    "cp1253": ("αβγδεζηθικλμνξοπρστυφχψωςάέήίόύώϊϋΐΰ",),
    "cp1255": ("אבגדהוזחטיכלמנסעפצקרשתךםןףץ",),
    "cp1256": ("ابتثجحخدذرزسشصضطظعغفقكلمنهويةىءآأؤإئپچژگں",),
}  # fmt: skip
_WITHIN_WORDS: Final = "’·\xad–"
# Icelandic, Estonian; the same bytes are frequent in Turkish, and in texts of an old Mac.
_SELDOM: Final = "þðýšž"
_CHINESE: Final = (
    "的一是不了在人有我他这个中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然"
    "家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日"
)
_SCRIPTS: Final = (  # encodings of several bytes a character, what their texts are full of, a share
    ("cp932", re.compile(r"[\u3040-\u30ff]"), 0.2),
    ("euc_kr", re.compile(r"[\uac00-\ud7a3]"), 0.5),
    ("gb18030", re.compile(f"[{_CHINESE}]"), 0.05),
    ("big5", re.compile(r"[\u4e00-\u9fff]"), 0.5),
)
_WORD: Final = re.compile(r"[^\W\d_]+(?:[^\x00-\x7f\s][^\W\d_]+)*")
_HIGH: Final = re.compile(r"[^\x00-\x7f]")
_HIGH_BYTES: Final = re.compile(rb"[\x80-\xff]+")
_MOST: Final = 0.9
_GREEK: Final = "\u0370"  # Latin letters come before it
_LONGEST_HIGH: Final = 3  # letters of a Western word that has none of A to Z
_MARGIN: Final = 0.2  # by which another encoding must be likelier than Windows-1252
_ENOUGH: Final = 0.55


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


def find_likelier(sample: bytes) -> str | None:
    """The encoding that a text which is not UTF-8 is in rather than in Windows-1252.

    Returns:
        None: Windows-1252 is plausible. "": it is not, and neither is any other.

    >>> find_likelier("Vase, groß; größer".encode("cp1252")) is None
    True
    >>> find_likelier("Ваза синяя с птицами".encode("cp1251"))
    'cp1251'
    """
    western = _plausibility(sample, "cp1252")
    if western < _ENOUGH or _is_paired(sample):
        wide = _find_multibyte(sample)
        if wide:
            return wide
    found = {name: _plausibility(sample, name) for name in _LETTERS if name != "cp1252"}
    best = max(found, key=lambda name: (found[name], -len(_LETTERS[name][0])))
    if western >= _ENOUGH and found[best] < western + _MARGIN:
        return None
    return best if found[best] >= _ENOUGH else ""


def _plausibility(sample: bytes, name: str) -> float:
    """Share of the characters beyond ASCII that are where a text of this encoding has them."""
    text = sample.decode(name, "replace")
    high = len(_HIGH.findall(text))
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    marks = sum(mark in _COMMON_MARKS for mark in _HIGH.findall(_WORD.sub(" ", text)))
    good = max(
        sum(_word_weight(word, letters, letters[0] < _GREEK) for word in words)
        for letters in _LETTERS[name]
    )
    return (good + marks) / high if high else 1.0


def _word_weight(word: str, letters: str, is_latin: bool) -> float:
    """The sum over the characters beyond ASCII of how usual each is in its place, from 0 to 1."""
    high = [place.start() for place in _HIGH.finditer(word)]
    if len(high) == len(word) > _LONGEST_HIGH if is_latin else len(high) < len(word):
        return 0.0  # a word of another script, or one of two scripts
    weight = 0.0
    for at in high:
        letter, before, behind = word[at], word[:at], word[at + 1 :]
        is_capital_inside = (
            letter.isupper() and before and (before[-1].islower() or behind[:1].islower())
        )
        if letter in _WITHIN_WORDS or (letter in _COMMON_MARKS and not behind):
            weight += 1.0
        elif not is_capital_inside:
            weight += (
                1.0 if letter.lower() in letters else 0.5 if letter.lower() in _SELDOM else 0.0
            )
    return weight


def _is_paired(sample: bytes) -> bool:
    """Whether bytes beyond ASCII come in pairs, as in Chinese and Korean; in the West, alone."""
    runs = [len(run) for run in _HIGH_BYTES.findall(sample)]
    return bool(runs) and sum(run for run in runs if run % 2 == 0) > _MOST * sum(runs)


def _find_multibyte(sample: bytes) -> str | None:
    """An encoding of several bytes a character, if the text is full of its script."""
    for name, usual, least in _SCRIPTS:
        text = sample.decode(name, "replace")
        high = _HIGH.findall(text)
        wrong = text.count("\ufffd")
        if high and wrong <= len(high) / 50 and len(usual.findall(text)) >= least * len(high):
            return _SUPERSETS.get(name, name)
    return None
