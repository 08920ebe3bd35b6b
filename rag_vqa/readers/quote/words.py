"""Words: cuts a text of any script into comparable words, and compares two of them.

Knows case, accents, numbers, and scripts without blanks, of which every two neighbouring characters
count as a word. Does not know what a word means (language_words.py).
"""

from __future__ import annotations

import re
import unicodedata

# Scripts that write no blanks between words: Thai to Khmer, kana, and Chinese characters.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_PIECE = re.compile(rf"[{_UNSPACED}]+|\d+(?:[.,]\d+)*|[^\W_{_UNSPACED}]+")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_SHORTEST_STEM, _SHARED = 4, 0.57  # of the longer word
_PREFIX_MATCH = 0.9


def fold_text(text: str) -> str:
    """Small letters without accents: "Größe" → "grosse", "İstanbul" → "istanbul"."""
    if text.isascii():
        return text.lower()
    parts = unicodedata.normalize("NFKD", text).casefold()
    folded = "".join(c for c in parts if not _is_accent(c))
    return unicodedata.normalize("NFC", folded)


def _is_accent(character: str) -> bool:
    """Marks that are an accent on a letter, but not the voice marks of kana nor vowel signs."""
    return "\u0300" <= character <= "\u036f"


def split_words(text: str) -> list[str]:
    """The folded words of a text, in order.

    >>> split_words("L'Été de 5,640 mètres")
    ['l', 'ete', 'de', '5,640', 'metres']
    >>> split_words("雪の橋 2枚")
    ['雪の', 'の橋', '2', '枚']
    """
    words: list[str] = []
    for piece in _PIECE.findall(fold_text(text)):
        if len(piece) > 1 and _IS_UNSPACED.match(piece):
            words += (piece[at : at + 2] for at in range(len(piece) - 1))
        else:
            words.append(piece)
    return words


def compare_words(one: str, other: str) -> float:
    """1 for the same word, less for two that share their beginning, 0 for others.

    >>> compare_words("painted", "painter"), compare_words("sword", "swift")
    (0.9, 0.0)
    """
    if one == other:
        return 1.0
    longer = max(len(one), len(other))
    least = max(_SHORTEST_STEM, longer * _SHARED)
    shared = int(least) + (least > int(least))
    if min(len(one), len(other)) < shared or one[:shared] != other[:shared] or one[0].isdigit():
        return 0.0
    return _PREFIX_MATCH
