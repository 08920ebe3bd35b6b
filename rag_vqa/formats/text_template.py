r"""Text templates: `--text "{Title}. {Description}\nMade by {Artist} in {Year}."` becomes texts.

Knows how a template is written and cut into parts. Does not know how parts are filled
(template_parts.py), nor tables: mapping.py passes columns and rows.

A template is cut where a reader would pause: lines, sentences (. ! ? …), phrases (, ; : | · and a
dash between blanks) and brackets. The rules, from large to small:

- A row that fills no field gives no text. A line, sentence, phrase or pair of brackets vanishes if
  it has fields and all of them are absent. One without fields stays; a line such as "Provenance:"
  goes with the lines below it.
- The words before a field go with it, and so do the words after the last field of a phrase:
  "Made by {Artist} in {Year}" is "Made by Rembrandt" without the year. Without the artist it is
  "Made in 1650": "Made" stays, because a preposition follows it in both.
- Fields with only x, ×, /, +, &, a dash, "and" or "or" between them share the words around them:
  "{Height} × {Width} cm" is "30 cm" without the height.
- The full stop after a value that ends with its own is left out. A sentence that loses its first
  words begins with a capital again.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rag_vqa.errors import UsageError
from rag_vqa.formats.plain_values import plain_value, texts_of_list
from rag_vqa.formats.template_parts import (
    AND,
    CLOSERS,
    STOPS,
    Group,
    Line,
    Phrase,
    Sentence,
    Unit,
    is_preposition,
)
from rag_vqa.formatting import did_you_mean, format_value, quote_value

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_ESCAPE = re.compile(r"\\([nt\\])")
_REPEATED_STOP = re.compile(rf"^([{re.escape(CLOSERS)}]*)\.(?=\s|$)")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,15}\.0", re.ASCII)
# While a line is parsed, a field is one character of a private plane, a pair of brackets another.
_FIRST_FIELD, _FIRST_NOTE = 0xF0000, 0x100000
_FIELD, _NOTE = "[\U000f0000-\U000ffffd]", "[\U00100000-\U0010fffd]"
_UNIT = re.compile(f"({_FIELD}|{_NOTE})")
_NOTES = tuple(
    re.compile(rf"(\{a})([^\{a}\{b}]*)(\{b})") for a, b in ("()", "[]", "{}", "（）", "【】")
)
_QUOTES = (
    *(re.compile(f"({a})([^{a}{b}]*)({b})") for a, b in ("“”", "„“", "«»", "「」", "『』", "《》")),
    re.compile('(")([^"]*)(")'),
    re.compile(rf"((?<!\w)'|[*_`~]+)({_FIELD})(\1)"),
)
_PREFIX = re.compile(r"\s*(?:(?:[-*•>]|#{1,6}|\d{1,3}[.)])\s+)?")
_STOP = re.compile(r"([.!?…]+(?=\s|$)|[。！？]+)(\s*)")
_PAUSE = re.compile(
    rf"\s*[,;](?=\s|$)\s*|\s*[、，；]\s*|\s*[|·•]\s*|\s+[-–—]+\s+|(?<={_FIELD}):\s+|(?<={_FIELD})：\s*"
)
_SHARING = re.compile(
    rf"(.*?)(\s*[×/&+–—-]\s*|\s+(?:{AND})\s+|(?<!.)\.|)", re.IGNORECASE | re.DOTALL
)
_SHORT_WORDS = """
no nr nos inv cat acc vol fig figs pl approx ca c p pp dr st mr mrs ms prof b d fl ed eds art ref
ser geb gest nº n° núm bd abb e.g i.e z.b u.a
"""
_ABBREVIATIONS = frozenset(_SHORT_WORDS.split())


@dataclass(frozen=True, slots=True)
class TextTemplate:
    """A parsed template.

    Attributes:
        columns: the columns that it uses, in order of first use, as the table spells them.
    """

    columns: tuple[str, ...]
    _encoded: str = field(repr=False)
    _lines: tuple[Line, ...] = field(repr=False)

    @classmethod
    def parse(cls, text: str, columns: Sequence[str]) -> TextTemplate:
        r"""Parse a template for a table with these columns.

        `{{` and `}}` are braces. A backslash followed by n is a line break, as shells pass it.

        >>> columns = ("Title", "Artist", "Year")
        >>> template = TextTemplate.parse(r"{title}\nMade by {ARTIST} in {year}.", columns)
        >>> template.columns
        ('Title', 'Artist', 'Year')
        >>> template.fill({"Title": "Vase", "Year": 1780})
        'Vase\nMade in 1780.'

        Raises:
            UsageError: the table has no such column, a brace stands alone, or there is no field.
        """
        used: dict[str, int] = {}
        encoded = _encode_fields(text, columns, used)
        if not used:
            raise UsageError(
                f"--text {quote_value(text)} names no column, so all documents would have the same "
                f"text. Write columns in braces, for instance {{{next(iter(columns), 'Title')}}}."
            )
        names = tuple(used)
        lines = tuple(_parse_line(line, names) for line in encoded.split("\n"))
        return cls(names, encoded, lines)

    def fill(self, row: Mapping[str, Any], written: bool = False) -> str:
        """The text of a row; "" if it fills no field. A missing column is an absent field.

        Args:
            written: cells are text as a program wrote it: 1650.0, True and [] are taken as what
                other formats have.
        """
        if any(name not in row for name in self.columns):  # JSON may spell a name in two ways
            row = {_fold_name(name): value for name, value in row.items()} | dict(row)
        texts = {
            name: _value_text(row.get(name, row.get(_fold_name(name))), written)
            for name in self.columns
        }
        if not any(texts.values()):
            return ""
        if all(texts.values()):
            return _fill_whole(self._encoded, list(texts.values()))
        filled = [line.fill(texts.__getitem__) for line in self._lines]
        kept: list[str] = []
        for place, (line, text) in enumerate(zip(self._lines, filled, strict=True)):
            gone = text is None or (line.is_heading and self._is_alone(place, filled))
            repeats_blank = not text and (not kept or not kept[-1])
            if text is not None and not gone and not repeats_blank:
                kept.append(text)
        return "\n".join(kept).rstrip()

    def _is_alone(self, place: int, filled: Sequence[str | None]) -> bool:
        """True if all lines below a heading vanished, up to a blank line or one without fields."""
        below = place + 1
        while below < len(filled) and self._lines[below].has_fields and filled[below] is None:
            below += 1
        ends = below == len(filled) or not self._lines[below].has_fields
        return ends and below > place + 1


def _fill_whole(encoded: str, texts: Sequence[str]) -> str:
    """The template with all its fields, as typed, but no full stop after a value with its own."""
    pieces = _UNIT.split(encoded)
    whole = pieces[0]
    for mark, words in zip(pieces[1::2], pieces[2::2], strict=True):
        value = texts[ord(mark) - _FIRST_FIELD]
        if value.rstrip(CLOSERS)[-1:] in STOPS:
            words = _REPEATED_STOP.sub(r"\1", words)
        whole += value + words
    return "\n".join(line.rstrip() for line in whole.split("\n")).strip("\n")


def names_in_template(text: str) -> list[str]:
    """The names that a template uses, whether a table has them or not.

    >>> names_in_template("{{x}} {Title} in { Year }")
    ['Title', 'Year']
    """
    return [found[1].strip() for found in _TOKEN.finditer(text) if found[1]]


def _value_text(value: Any, written: bool) -> str:
    """A cell of any library as text for people; "" if it is absent or cannot be written."""
    plain = plain_value(value)
    if isinstance(plain, str):
        listed = texts_of_list(plain)
        if listed is not None:
            return format_value(listed)
        return _unwritten_text(plain.strip()) if written else format_value(plain)
    if isinstance(plain, list | tuple | set | frozenset):
        parts = [plain_value(part) for part in plain]
        return format_value([part for part in parts if isinstance(part, str | int | float)])
    return format_value(plain) if isinstance(plain, int | float) else ""


def _unwritten_text(cell: str) -> str:
    """A cell as the same value of another format would be written."""
    if cell in ("[]", "{}"):
        return ""
    if cell in ("True", "False"):
        return cell.lower()
    return cell[:-2] if _WHOLE_NUMBER.fullmatch(cell) else format_value(cell)


def _encode_fields(text: str, columns: Sequence[str], used: dict[str, int]) -> str:
    """The template with one character for each field; `used` gets the columns."""
    known = {_fold_name(name): name for name in reversed(columns)} | {
        name: name for name in columns
    }
    text = "".join(c for c in text.replace("\r\n", "\n") if ord(c) < _FIRST_FIELD)
    text = _ESCAPE.sub(lambda found: {"n": "\n", "t": "\t", "\\": "\\"}[found[1]], text)

    def encode(found: re.Match[str]) -> str:
        if found[0] in ("{{", "}}"):
            return found[0][0]
        if found[1] is None:
            raise UsageError(
                f"--text has a single {found[0]} before {quote_value(text[found.end() :][:20])}: "
                f"write columns as {{Title}}, and {found[0] * 2} for a brace."
            )
        name = found[1].strip()
        column = known.get(name, known.get(_fold_name(name)))
        if column is None:
            hint = did_you_mean(name, columns) or f" Columns: {', '.join(columns[:20])}."
            raise UsageError(f"--text {{{name}}}: there is no such column.{hint}")
        return chr(_FIRST_FIELD + used.setdefault(column, len(used)))

    return _TOKEN.sub(encode, text)


def _fold_name(name: str) -> str:
    return unicodedata.normalize("NFC", " ".join(name.split())).casefold()


def _parse_line(line: str, columns: Sequence[str]) -> Line:
    found = _PREFIX.match(line)
    prefix = found[0] if found else ""
    encoded = line[len(prefix) :].rstrip()
    units: dict[str, Unit] = {
        chr(_FIRST_FIELD + number): Unit(column=name) for number, name in enumerate(columns)
    }
    size = len(encoded) + 1
    while size > len(encoded):  # innermost pairs first
        size = len(encoded)
        for patterns, first in ((_QUOTES, _FIRST_FIELD), (_NOTES, _FIRST_NOTE)):
            for pattern in patterns:
                encoded = pattern.sub(_bracket_encoder(units, first), encoded)
    return Line(prefix if prefix.strip() else "", tuple(_parse_sentences(encoded, units)))


def _bracket_encoder(units: dict[str, Unit], first: int) -> Callable[[re.Match[str]], str]:
    """Replaces a pair of brackets that has fields by one character, and adds its unit."""

    def encode(found: re.Match[str]) -> str:
        if not _UNIT.search(found[2]):
            return found[0]
        character = chr(first + len(units))
        units[character] = Unit(
            opening=found[1], inner=tuple(_parse_sentences(found[2], units)), closing=found[3]
        )
        return character

    return encode


def _parse_sentences(text: str, units: Mapping[str, Unit]) -> list[Sentence]:
    sentences, start, gap = [], 0, ""
    for found in _STOP.finditer(text):
        word = text[start : found.start()].split()[-1:]
        if found[1] == "." and word and word[0].casefold() in _ABBREVIATIONS:
            continue
        sentences.append(_parse_sentence(text[start : found.start()], found[1], gap, units))
        start, gap = found.end(), found[2]
    if text[start:].strip():
        sentences.append(_parse_sentence(text[start:], "", gap, units))
    return sentences


def _parse_sentence(text: str, stop: str, gap: str, units: Mapping[str, Unit]) -> Sentence:
    phrases: list[Phrase] = []
    start, pause, opening = 0, "", ""
    for found in _PAUSE.finditer(text):
        if text[start : found.start()].strip() or phrases:
            phrases.append(_parse_phrase(text[start : found.start()], pause, units))
        else:
            opening += text[start : found.end()]
        start, pause = found.end(), found[0]
    if text[start:].strip() or not phrases:
        phrases.append(_parse_phrase(text[start:], pause, units))
    else:
        stop = pause.rstrip() + stop
    begin = text.lstrip()[:1]
    return Sentence(
        opening, tuple(phrases), stop, gap, begin.isupper() or bool(stop and _UNIT.match(begin))
    )


def _parse_phrase(text: str, pause: str, units: Mapping[str, Unit]) -> Phrase:
    first, *rest = _UNIT.split(text)
    if not rest:
        return Phrase(pause, text)
    marks, gaps = rest[::2], rest[1::2]
    is_free = marks[0] >= chr(_FIRST_NOTE)
    stem, lead = (first, "") if is_free else _split_lead(first)
    groups = [Group(lead, (units[marks[0]],))]
    for before, mark, gap in zip(marks, marks[1:], gaps, strict=False):
        _add_unit(groups, gap, mark, before, units[mark])
    if marks[-1] >= chr(_FIRST_NOTE):
        return Phrase(pause, stem, tuple(groups), is_free, gaps[-1])
    groups[-1] = _end_group(groups[-1], gaps[-1])
    return Phrase(pause, stem, tuple(groups), is_free)


def _split_lead(words: str) -> tuple[str, str]:
    """Words before a field, split before the prepositions at their end.

    >>> _split_lead("Made by "), _split_lead("Year of origin: ")
    (('Made ', 'by '), ('', 'Year of origin: '))
    """
    parts = re.findall(r"\s*\S+\s*", words)
    start = len(parts)
    while start and is_preposition(parts[start - 1].strip()):
        start -= 1
    return ("", words) if start == len(parts) else ("".join(parts[:start]), "".join(parts[start:]))


def _add_unit(groups: list[Group], gap: str, mark: str, before: str, unit: Unit) -> None:
    """Add a unit to the last group or to a new one; `gap` stands between it and unit `before`."""
    if before >= chr(_FIRST_NOTE):
        groups.append(Group(gap, (unit,)))
    elif mark >= chr(_FIRST_NOTE):
        groups[-1] = _end_group(groups[-1], gap.rstrip())
        groups.append(Group(gap[len(gap.rstrip()) :], (unit,)))
    else:
        words, separator = _split_gap(gap)
        if gap and not separator:
            groups.append(Group(gap, (unit,)))
        else:
            last = groups[-1]
            groups[-1] = replace(
                last,
                units=(*last.units, unit),
                separators=(*last.separators, separator),
                suffixes=(*last.suffixes[:-1], words, ""),
            )


def _split_gap(gap: str) -> tuple[str, str]:
    """Words after a field, and the separator at their end; "" if they have none."""
    found = _SHARING.fullmatch(gap)
    return (found[1], found[2]) if found else (gap, "")


def _end_group(group: Group, words: str) -> Group:
    """The group with the words after it: of its last field, if other fields have their own."""
    if any(group.suffixes):
        return replace(group, suffixes=(*group.suffixes[:-1], words))
    return replace(group, tail=words)
