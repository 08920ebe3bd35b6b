"""Words of ten languages: question words, function words, and groups of one meaning.

Knows how language_words.txt is written. For each language it has words without a meaning of their
own (stop), phrases that ask for one kind of answer (who, when, count, weight, …), groups of words
that stand for each other in a question and its answer (=: "made", "built", "painted"), numbers, and
words that give a reason. "weigh*" stands for all words that begin so. Does not know how sentences
are compared. A question in another language is matched by its words alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rag_vqa.readers.quote.words import fold_text, split_words

_FILE = Path(__file__).with_suffix(".txt")


@dataclass(frozen=True, slots=True)
class Language:
    """The words of one language, folded as `split_words` gives them.

    Attributes:
        cues: (kind of answer, pattern over the folded question).
        groups: one pattern for each group of words that stand for each other.
        numbers: words that are numbers.
        reasons: words that give a reason.
    """

    name: str
    stop: frozenset[str]
    cues: tuple[tuple[str, re.Pattern[str]], ...]
    groups: tuple[re.Pattern[str], ...]
    numbers: re.Pattern[str]
    reasons: re.Pattern[str]


@cache
def find_language(name: str) -> Language:
    """The words of a language; for "" those that hold in any: none."""
    texts = [(kind, fold_text(text)) for kind, text in _read_languages().get(name, ())]
    named = dict(texts)
    without_blanks = name in ("ja", "zh")
    return Language(
        name,
        frozenset(split_words(named.get("stop", ""))),
        tuple(
            (kind, _phrase_pattern(phrase, without_blanks))
            for kind, text in texts
            if kind not in ("stop", "=", "numbers", "because")
            for phrase in text.split("|")
            if phrase.strip()
        ),
        tuple(_words_pattern(text) for kind, text in texts if kind == "="),
        _words_pattern(named.get("numbers", "")),
        _words_pattern(named.get("because", "")),
    )


@cache
def _read_languages() -> Mapping[str, list[tuple[str, str]]]:
    """The (kind, words) of each language, as the file has them; an indented line goes on."""
    languages: dict[str, list[tuple[str, str]]] = {}
    entries: list[tuple[str, str]] = []
    for line in _FILE.read_text("utf-8").splitlines():
        if line.startswith("["):
            entries = languages[line.strip("[]")] = []
        elif line.startswith("    "):
            kind, text = entries[-1]
            entries[-1] = (kind, f"{text} {line.strip()}")
        elif line:
            kind, text = ("=", line[1:]) if line.startswith("=") else line.split(":", 1)
            entries.append((kind, text.strip()))
    return languages


def guess_language(text: str) -> Language:
    """The language with most of a question's words among its function words; "" if none has any.

    >>> guess_language("Wer hat das Bild gemalt?").name, guess_language("Qui l'a peint ?").name
    ('de', 'fr')
    """
    if re.search("[\u3040-\u30ff]", text):
        return find_language("ja")
    if re.search("[\u4e00-\u9fff]", text):
        return find_language("zh")
    words = split_words(text)
    names = [name for name in _read_languages() if name not in ("ja", "zh")]
    scores = {name: sum(word in find_language(name).stop for word in words) for name in names}
    best = max(names, key=lambda name: scores[name])
    return find_language(best if scores[best] else "")


def _phrase_pattern(phrase: str, without_blanks: bool) -> re.Pattern[str]:
    """A phrase of whole words; " * " stands for up to nine words, "weigh*" for a beginning."""
    if without_blanks:
        return re.compile(re.escape(phrase.strip()))
    words = [
        r"(?:\S+ ){0,9}?" if word == "*" else re.escape(word).replace(r"\*", r"\S*") + " "
        for word in phrase.split()
    ]
    return re.compile("(?<!\\S)" + "".join(words))


def _words_pattern(words: str) -> re.Pattern[str]:
    """Matches a whole word, or the beginning or end of one where the list has a star."""
    each = (re.escape(word).replace(r"\*", r"\w*") for word in words.split())
    return re.compile("|".join(each) or r"(?!)")
