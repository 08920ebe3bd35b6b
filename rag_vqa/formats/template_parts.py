"""Parts of a text template: how each is filled from a row, and which words vanish with a field.

Knows fields, brackets, groups, phrases, sentences, lines, and prepositions of some languages. Does
not know how a template is written (text_template.py parses it). Each part's `fill` returns None if
the part vanishes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Lookup: TypeAlias = Callable[[str], str]  # column → its text, "" if it is absent

CLOSERS, STOPS = "”\"'»)", tuple(".!?…。！？")
AND = "x|and|or|und|oder|et|ou|y|og|och"
_LEADING = re.compile(rf"[\s,;:/&+×–—-]*(?:(?:{AND})\s+)?", re.IGNORECASE)
_WORDS = """
a an the by in on at of from for with to into as since until after before near about around circa
ca c von vom durch im am an aus bei zu zum zur der die das dem den des um nach vor seit par en de du
la le les à au aux dans pour sur depuis por del el los las con da do di dal dalla della nel nella
door uit van te het een op voor av af på i från till
"""
_PREPOSITIONS = frozenset(_WORDS.split())


@dataclass(frozen=True, slots=True)
class Unit:
    """A field (`column`), or a pair of brackets or quotes around sentences."""

    column: str = ""
    opening: str = ""
    inner: tuple[Sentence, ...] = ()
    closing: str = ""

    def fill(self, lookup: Lookup) -> str | None:
        if self.column:
            return lookup(self.column) or None
        inner = fill_sentences(self.inner, lookup)
        return None if inner is None else f"{self.opening}{inner}{self.closing}"


@dataclass(frozen=True, slots=True)
class Group:
    """Units that share the words before and after them.

    Attributes:
        suffixes: words after each unit that are its own ("cm"); `tail` belongs to all.
        separators: one before each unit; the first is empty.
    """

    lead: str
    units: tuple[Unit, ...]
    separators: tuple[str, ...] = ("",)
    suffixes: tuple[str, ...] = ("",)
    tail: str = ""

    def fill(self, lookup: Lookup) -> str | None:
        text = ""
        for unit, separator, suffix in zip(self.units, self.separators, self.suffixes, strict=True):
            filled = unit.fill(lookup)
            if filled is not None:
                text += f"{separator if text else ''}{filled}{suffix}"
        return text + self.tail if text else None


@dataclass(frozen=True, slots=True)
class Phrase:
    """Groups between two pauses.

    Attributes:
        pause: what separates it from the phrase before.
        stem: its first words, if a later group can continue them.
        is_free: the stem stays with any group, else only before a preposition.
        ending: words after a closing bracket, which stay with any group.
    """

    pause: str
    stem: str
    groups: tuple[Group, ...] = ()
    is_free: bool = True
    ending: str = ""

    def fill(self, lookup: Lookup) -> tuple[str, bool] | None:
        """Its text, and whether that begins with a word of the template."""
        if not self.groups:
            return self.stem, True
        text, literal = "", False
        for place, group in enumerate(self.groups):
            filled = group.fill(lookup)
            if filled is None:
                continue
            if not text:
                stays = not place or self.is_free or _begins_with_preposition(group.lead)
                text = self.stem if stays else ""
                begins = place and not text.strip()
                lead = _LEADING.sub("", group.lead, count=1) if begins else group.lead
                literal = bool((text + lead).strip())
                text = _append(text, lead) + filled
            else:
                text = _append(text, group.lead) + filled
        return (_append(text, self.ending), literal) if text else None


@dataclass(frozen=True, slots=True)
class Sentence:
    """Phrases up to a full stop.

    Attributes:
        opening: a pause before its first words, as of a table's row: "| ".
        gap: the blank before it.
        is_capital: its first word has a capital.
    """

    opening: str
    phrases: tuple[Phrase, ...]
    stop: str
    gap: str
    is_capital: bool

    @property
    def has_fields(self) -> bool:
        return any(phrase.groups for phrase in self.phrases)

    def fill(self, lookup: Lookup) -> str | None:
        filled = [(phrase, phrase.fill(lookup)) for phrase in self.phrases]
        if self.has_fields and not any(phrase.groups and found for phrase, found in filled):
            return None
        text = ""
        for phrase, found in filled:
            if found is None:
                continue
            if text:
                text = _append(text, phrase.pause) + found[0].lstrip()
            else:
                text, literal = found[0].lstrip(), found[1]
                if literal and self.is_capital:
                    text = text[:1].upper() + text[1:]
        own_stop = self.stop == "." and text.rstrip(CLOSERS)[-1:] in STOPS
        return self.opening + text.rstrip() + ("" if own_stop else self.stop)


@dataclass(frozen=True, slots=True)
class Line:
    """A line; `prefix` is a bullet or the mark of a heading."""

    prefix: str
    sentences: tuple[Sentence, ...]

    @property
    def has_fields(self) -> bool:
        return any(sentence.has_fields for sentence in self.sentences)

    @property
    def is_heading(self) -> bool:
        """True for a line without fields that announces the lines below it."""
        stop = self.sentences[-1].phrases[-1].stem if self.sentences else ""
        return not self.has_fields and (stop.endswith((":", "：")) or "#" in self.prefix)

    def fill(self, lookup: Lookup) -> str | None:
        text = fill_sentences(self.sentences, lookup)
        return None if text is None else self.prefix + text


def fill_sentences(sentences: Sequence[Sentence], lookup: Lookup) -> str | None:
    """Sentences of a line or in brackets; None if they have fields and all of them are absent."""
    filled = [(sentence, sentence.fill(lookup)) for sentence in sentences]
    present = [(sentence, text) for sentence, text in filled if text is not None]
    with_fields = [sentence.has_fields for sentence in sentences]
    if any(with_fields) and not any(sentence.has_fields for sentence, _ in present):
        return None
    return "".join(
        f"{sentence.gap if place else ''}{text}" for place, (sentence, text) in enumerate(present)
    )


def _append(text: str, words: str) -> str:
    """Text and words, with one blank where both have one, and none before a stop or pause."""
    if not text or text[-1].isspace():
        words = words.lstrip(" ")
    if words[:1] in tuple(",.;:!?"):
        text = text.rstrip(" ")
    return text + words


def _begins_with_preposition(words: str) -> bool:
    return is_preposition(next(iter(words.split()), ""))


def is_preposition(word: str) -> bool:
    """True for a preposition or an article, such as "by" or "ca."."""
    return word.rstrip(".").casefold() in _PREPOSITIONS
