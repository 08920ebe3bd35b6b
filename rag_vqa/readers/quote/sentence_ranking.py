"""Sentence ranking: which sentence of some documents answers a question best, and how well.

Knows words of the question and of the sentences, titles, ranks, and kinds of answers. Does not know
prompts or completions. Nothing here was learned: the weights were set by hand on the development
half of benchmarks/museum_questions.jsonl.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from rag_vqa.formats.text_pieces import Piece, split_pieces
from rag_vqa.readers.quote.answer_kinds import UNITS, fits
from rag_vqa.readers.quote.language_words import Language, guess_language
from rag_vqa.readers.quote.words import compare_words, fold_text, split_words
from rag_vqa.types import Hit

_LONGEST = 400  # characters of a quotation
_GROUP_MATCH = 0.75  # of two words of one meaning
_PREVIOUS = 0.5  # weight of a word that stands in the sentence before
_NAME_WEIGHT = 2.0  # of a name, where it is asked what a document is about
_LEAST_COVERAGE = 0.35  # a document with less of the question is about another thing
_NAME_IN_SENTENCE = 0.5  # weight of a name, which the sentence itself seldom repeats
_NO_MEANING = re.compile("[a-z]|.?[\u3041-\u309f].?")  # one letter, or kana of Japanese grammar
_BEGINNING = 12  # characters within which "why" opens a question


@dataclass(frozen=True, slots=True)
class Question:
    """A question, analysed.

    Attributes:
        words: its words without function words.
        names: those that begin with a capital or a digit: what it is about.
        kinds: the kinds of answer that it asks for, e.g. ("weight",); none if it does not say.
    """

    language: Language
    words: tuple[str, ...]
    names: frozenset[str]
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence of a document.

    Attributes:
        document: number of the document among the hits, from 0.
        text: verbatim, except that blanks are single; "…" where a long sentence is cut.
        score: how well it answers the question, 0 to 1.
    """

    document: int
    text: str
    score: float = 0.0


@dataclass(slots=True)
class _Comparison:
    """How the words of one question match the words of sentences; each pair is compared once."""

    question: Question
    known: dict[tuple[str, str], float] = field(default_factory=dict)
    groups: dict[str, frozenset[int]] = field(default_factory=dict)

    def match(self, asked: str, words: Iterable[str]) -> float:
        """The best match of a word of the question among `words`."""
        best = 0.0
        for word in words:
            key = (asked, word)
            value = self.known.get(key)
            if value is None:
                value = self.known[key] = self._compare(asked, word)
            if value > best:
                best = value
                if best == 1:
                    break
        return best

    def _compare(self, asked: str, word: str) -> float:
        same = compare_words(asked, word)
        if same:
            return same
        return 0.0 if self._groups_of(asked).isdisjoint(self._groups_of(word)) else _GROUP_MATCH

    def _groups_of(self, word: str) -> frozenset[int]:
        if word not in self.groups:
            groups = enumerate(self.question.language.groups)
            self.groups[word] = frozenset(at for at, group in groups if group.fullmatch(word))
        return self.groups[word]


def analyse_question(text: str) -> Question:
    """The words of a question, and the kinds of answer it asks for."""
    language = guess_language(text)
    folded = " ".join(re.findall(r"[^\s\W]+", fold_text(text))) + " "
    kinds: dict[str, None] = {}
    cue_words: set[str] = set()
    for kind, pattern in language.cues:
        found = pattern.search(folded)
        if found and (kind != "why" or found.start() < _BEGINNING):
            kinds[kind] = None
            if kind == "when":
                cue_words.update(split_words(found.group()))
    words = [
        word
        for word in dict.fromkeys(split_words(text))
        if word not in language.stop | cue_words and not _NO_MEANING.fullmatch(word)
    ]
    return Question(
        language, tuple(words), frozenset(_names_in(text, language)), _drop_general(tuple(kinds))
    )


def _drop_general(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Without "count" where a unit says more: "how many kilograms", "how much does it cost"."""
    if any(kind in UNITS or kind in ("often", "age") for kind in kinds):
        return tuple(kind for kind in kinds if kind not in ("count", "name", "who", "when"))
    return kinds


def _names_in(text: str, language: Language) -> set[str]:
    if language.name == "de":  # all nouns have capitals
        return set()
    _, *others = re.findall(r"[^\W_]\w*", text) or [""]
    names = [each for each in others if each[0].isupper() or each[0].isdigit()]
    return {word for name in names for word in split_words(name)}


def find_answers(question: str, hits: Sequence[Hit], texts: Sequence[str]) -> list[Candidate]:
    """The sentences of the documents, best first.

    Args:
        hits: the documents, best first: their titles, sections and shown metadata count.
        texts: the part of each document's text that may be quoted.
    """
    asked = analyse_question(question)
    comparison = _Comparison(asked)
    titles = [split_words(f"{hit.document.title} {hit.document.section}") for hit in hits]
    units = [[*_quotable(hit, text)] for hit, text in zip(hits, texts, strict=True)]
    things = [hit.document.parent or f"\0{number}" for number, hit in enumerate(hits)]
    coverage = [_coverage(comparison, thing, things, titles, units) for thing in things]
    found = []
    for number, own in enumerate(units):
        factor = _document_factor(coverage, number)
        previous: list[str] = []
        for unit in own:
            words = split_words(unit.text)
            context = [*titles[number], *split_words(unit.heading)]
            support = _support(comparison, unit.text, words, previous, context)
            found.append(Candidate(number, unit.text, support * factor))
            previous = words
    return sorted(found, key=lambda each: -each.score)


@dataclass(frozen=True, slots=True)
class _Unit:
    """What can be quoted: a sentence, a row or an item. `heading`: what introduces it."""

    text: str
    heading: str = ""


def _quotable(hit: Hit, text: str) -> Iterator[_Unit]:
    """Sentences, rows and items of the text, and the lines of shown metadata."""
    heading = ""
    for piece in (leaf for whole in split_pieces(text) for leaf in _leaves(whole)):
        if piece.leads and piece.text.startswith("#"):
            heading = piece.text
        elif any(map(str.isalnum, piece.text)):
            yield from (_Unit(part, f"{heading} {piece.header}") for part in _cut(piece.text))
    yield from (_Unit(part) for name, value in hit.shown for part in _cut(f"{name}: {value}"))


def _cut(text: str) -> Iterator[str]:
    """The text; of a very long one, parts that overlap by half, cut between words.

    >>> [*_cut("It weighs   3 kg.")]
    ['It weighs 3 kg.']
    """
    text = " ".join(text.split())
    start = 0
    while len(text) - start > _LONGEST:
        blank = text.rfind(" ", start + _LONGEST // 2, start + _LONGEST)
        end = blank if blank > 0 else start + _LONGEST
        yield f"{'… ' * bool(start)}{text[start:end]} …"
        blank = text.find(" ", start + _LONGEST // 3, end)
        start = blank + 1 if blank > 0 else start + _LONGEST // 2
    yield f"{'… ' * bool(start)}{text[start:]}"


def _leaves(piece: Piece) -> Iterator[Piece]:
    """The smallest pieces within a piece."""
    if not piece.parts:
        yield piece
    for part in piece.parts:
        yield from _leaves(part)


def _coverage(
    comparison: _Comparison,
    thing: str,
    things: Sequence[str],
    titles: Sequence[Sequence[str]],
    units: Sequence[Sequence[_Unit]],
) -> float:
    """The share of the question's words in all documents on one thing, whose titles count most."""
    asked = comparison.question.words
    weights = [_NAME_WEIGHT if word in comparison.question.names else 1.0 for word in asked]
    own = [number for number, each in enumerate(things) if each == thing]
    title = {word for number in own for word in titles[number]}
    words = {w for number in own for unit in units[number] for w in split_words(unit.text)}
    found = sum(
        weight * max(comparison.match(word, title), 0.85 * comparison.match(word, words))
        for word, weight in zip(asked, weights, strict=True)
    )
    return found / sum(weights) if asked else 1.0


def _document_factor(coverage: Sequence[float], number: int) -> float:
    """How far a document is what the question is about: by its words, and by its rank."""
    own, best = coverage[number], max(coverage)
    relative = own / best if best else 1.0
    absolute = min(1.0, max(0.0, (own - _LEAST_COVERAGE) / 0.2))
    factor: float = absolute * relative**1.5 * 0.98**number
    return factor


def _support(
    comparison: _Comparison,
    unit: str,
    words: Sequence[str],
    previous: Sequence[str],
    introduced_by: Sequence[str],
) -> float:
    """How well one sentence answers, given that its document is the right one.

    Args:
        previous: words of the sentence before; `introduced_by`: of the title and the heading.
    """
    question = comparison.question
    about = matched = total = 0.0
    for word in question.words:
        own = comparison.match(word, words)
        about += own / len(question.words)
        context = comparison.match(word, introduced_by)
        if context < 0.9:  # else the title says it, and no sentence need repeat it
            weight = _NAME_IN_SENTENCE if word in question.names else 1.0
            total += weight
            before = _PREVIOUS * comparison.match(word, previous)
            matched += weight * max(own, before, 0.5 * context)
    is_open = total > 0
    matched = matched / total if is_open else about
    if not question.kinds:
        return 0.9 * matched + 0.1 * about
    fit = max(fits(kind, unit, question.language) for kind in question.kinds)
    if any(kind in UNITS for kind in question.kinds):
        return fit * (0.6 + 0.3 * (matched if is_open else 0.7) + 0.1 * about)
    if not is_open:
        return fit * (0.75 + 0.25 * about)
    return (0.5 * fit + 0.4 * matched + 0.1 * about) * min(1.0, matched / 0.3)
