"""Guesses an 8-bit encoding: is a text that is not UTF-8 plausibly Windows-1252, or rather another?

Knows which letters the languages of an encoding use, and that no symbol stands within a word. Does
not know files (file_encoding.py). A guess is only ever proposed: text that is read in the wrong
encoding is spoiled without a sign.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

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
    ("cp949", re.compile(r"[\uac00-\ud7a3]"), 0.5),
    ("gb18030", re.compile(f"[{_CHINESE}]"), 0.05),
    ("big5", re.compile(r"[\u4e00-\u9fff]"), 0.5),
)
_WORD: Final = re.compile(r"[^\W\d_]+(?:[^\x00-\x7f\s][^\W\d_]+)*")
_HIGH: Final = re.compile(r"[^\x00-\x7f]")
_GREEK: Final = "\u0370"  # Latin letters come before it
_LONGEST_HIGH: Final = 3  # letters of a Western word that has none of A to Z
_MARGIN: Final = 0.2  # by which another encoding must be likelier than Windows-1252
_ENOUGH: Final = 0.55


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
    found = {name: _plausibility(sample, name) for name in _LETTERS if name != "cp1252"}
    best = max(found, key=lambda name: (found[name], -len(_LETTERS[name][0])))
    if western >= _ENOUGH and found[best] < western + _MARGIN:
        return None
    wide = _find_wide(sample) if western < _ENOUGH else None
    if wide:
        return wide
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


def _find_wide(sample: bytes) -> str | None:
    """An encoding of several bytes a character, if the text is full of its script."""
    for name, usual, least in _SCRIPTS:
        text = sample.decode(name, "replace")
        high = _HIGH.findall(text)
        wrong = text.count("\ufffd")
        if high and wrong <= len(high) / 50 and len(usual.findall(text)) >= least * len(high):
            return name
    return None
