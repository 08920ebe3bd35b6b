"""The language of an answer: a name that a template holds as trusted text.

It knows what may be such a name. It does not know languages: whether the reader has heard of this
one is seen in its answers.
"""

from __future__ import annotations

import unicodedata

from rag_vqa.errors import UsageError

_LONGEST = 40


def checked(language: str) -> str:
    """The name, if it can be one: letters, and single spaces or hyphens between them; "" too.

    It stands among the words of the template, which nothing neutralises: a name that came from
    elsewhere must not bring a sentence, a marker or a line of its own.

    >>> checked("Brazilian Portuguese"), checked("")
    ('Brazilian Portuguese', '')

    Raises:
        UsageError: anything else.
    """
    words = language.replace("-", " ").split(" ")
    if language and (len(language) > _LONGEST or not all(map(_is_word, words))):
        raise UsageError(
            f"the language {language[:_LONGEST]!r}: give its name in letters, at most {_LONGEST}, "
            "for instance --language German"
        )
    return language


def _is_word(word: str) -> bool:
    """Letters, and the vowel signs that some scripts write as marks."""
    return word[:1].isalpha() and all(
        c.isalpha() or unicodedata.category(c)[0] == "M" for c in word
    )
