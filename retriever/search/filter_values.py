"""Values of a filter: which stored values each one means, and where they lie in the store's order.

Knows how users and tables write the same value in several ways: 12.5 and 12.50, true and True, a
day and a time on it, two forms of an accent. Does not know names, nor how a filter is written
(filter_language.py).

Stored are numbers (booleans too, as 0 and 1) and texts. Each value of a filter gives spans of that
order, and a test of what lies in them, so that few values are tested and no document is opened.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeAlias

from rag_vqa.retriever.search.periods import (
    Operator,
    Period,
    read_period,
    read_stored_period,
    shift_moment,
)
from rag_vqa.retriever.store.metadata_table import LAST_CHARACTER, NUMBERS, TEXTS, Span
from rag_vqa.types import Scalar

Number: TypeAlias = int | float

_NUMERAL = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
# As programs write numbers. Other texts that write one (+12, 10e2) equal themselves only.
_PLAIN_NUMERAL = re.compile(
    r"-?(?:0|[1-9]\d*)(?:\.\d*)?|-?\.\d+|-?[1-9](?:\.\d*)?[eE][+-]?\d+", re.ASCII
)
_ZERO_FIRST = re.compile(r"[+-]?0\d", re.ASCII)  # a code, not a number: 007, 02134
_LONGEST_NUMERAL = 400  # int() takes quadratic time
_NUMERALS = Span("+", ":", high_open=True)  # texts that begin with a sign, a point or a digit
_NEAR = timedelta(days=2)
_NOTHING = Span(0, 0, low_open=True)


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a filter, in all the ways in which it can be stored.

    Attributes:
        texts: texts that it equals, composed (NFC).
        number: numbers of this value, and texts that write it.
        boolean: this boolean, and texts that write it in any capitals.
        period: dates and times in it; of a year or a month, if nothing equals the value itself.
        null: documents without a value.
    """

    texts: tuple[str, ...] = ()
    number: Number | None = None
    boolean: bool | None = None
    period: Period | None = None
    null: bool = False

    def equals(self, stored: Scalar) -> bool:
        """Whether a stored value (of the spans of `spans`) is this one."""
        if isinstance(stored, str):
            if _compose(stored) in self.texts:
                return True
            if self.boolean is not None and stored.casefold() == str(self.boolean).casefold():
                return True
            return (
                self.number is not None
                and _PLAIN_NUMERAL.fullmatch(stored) is not None
                and read_number(stored) == self.number
            )
        return stored is not None and stored in (self.number, self.boolean)

    def spans(self) -> Iterator[Span]:
        """Where stored values may lie that equal this one."""
        for text in self.texts:
            yield from _text_spans(text)
        if self.boolean is not None:
            yield Span.single_value(int(self.boolean))
            letters = [(letter.lower(), letter.upper()) for letter in str(self.boolean)]
            yield from (Span.single_value("".join(word)) for word in itertools.product(*letters))
        if self.number is not None:
            yield Span.single_value(_storable(self.number))
            yield from _numeral_spans(self.number)
            if not self.number:
                yield Span("-0", f"-0{LAST_CHARACTER}")

    def period_spans(self) -> Iterator[Span]:
        """Where stored dates may lie that are within the period."""
        if self.period is None:
            return
        start, end = self.period.start, self.period.end
        if self.period.offset is not None:
            yield _year_span(start.year - 1, end.year + 1)
            return
        day, length = start.date().isoformat(), end - start
        head = day[: 4 if length.days > 31 else 7 if length.days > 1 else 10]
        yield Span(head, head + LAST_CHARACTER)


@dataclass(frozen=True)
class RangeBound:
    """One end of a range: `>= 1780`.

    Numbers compare with numbers and with texts that write one; dates with dates, and with years
    that are numbers; other texts with texts, in alphabetical order.
    """

    operator: Operator
    value: Value

    def holds(self, stored: Scalar) -> bool:
        """Whether a stored value lies on the right side."""
        number, period = self.value.number, self.value.period
        if isinstance(stored, str):
            if number is not None and (found := read_number(stored)) is not None:
                return _compare(found, self.operator, number)
            if period is not None and (date := read_stored_period(stored)) is not None:
                return date.compare(self.operator, period)
            if number is None and period is None:
                return _compare(_sort_key(stored), self.operator, _sort_key(self.value.texts[0]))
            return False
        if stored is None:
            return False
        if number is not None:
            return _compare(stored, self.operator, number)
        year = read_period(str(stored)) if period is not None else None
        return year is not None and period is not None and year.compare(self.operator, period)

    def holds_all_day(self, day: Period) -> bool | None:
        """Whether all times on a day lie on the right side; None: it depends on the time."""
        if self.value.period is None:
            return None
        first, last = self._uncertain_days
        return None if first <= day.start <= last else day.compare(self.operator, self.value.period)

    @functools.cached_property
    def _uncertain_days(self) -> tuple[datetime, datetime]:
        """Between these a day may lie on either side, in some time zone."""
        period = self.value.period
        if period is None:
            return datetime.max, datetime.min
        return shift_moment(period.start, -_NEAR), shift_moment(period.end, _NEAR)

    @property
    def numbers(self) -> Span:
        """Where numbers may lie that pass; if the bound is a number, all of them do."""
        number, period = self.value.number, self.value.period
        if number is not None:
            end = _storable(number)
            if self.operator in (">", ">="):
                return replace(NUMBERS, low=end, low_open=self.operator == ">")
            return replace(NUMBERS, high=end, high_open=self.operator == "<")
        if period is not None:
            return Span(0, 9999)
        return _NOTHING

    @property
    def texts(self) -> Span:
        """Where texts may lie that pass."""
        number, period = self.value.number, self.value.period
        if number is not None:
            return _NUMERALS
        if period is not None:  # the years beside it, because of time zones
            rising = self.operator in (">", ">=")
            first, last = period.start.year - 1, period.end.year + 1
            return _year_span(first, 9999) if rising else _year_span(0, last)
        return TEXTS


def range_spans(bounds: Sequence[RangeBound]) -> tuple[Span, Span, bool]:
    """Where numbers and where texts may lie that pass all bounds; whether all numbers there do."""
    numbers, texts = NUMBERS, TEXTS
    for bound in bounds:
        numbers, texts = numbers.overlap(bound.numbers), texts.overlap(bound.texts)
    return numbers, texts, all(bound.value.number is not None for bound in bounds)


def read_value(text: str) -> Value:
    """A value as users write it without quotes: in every way in which it can be meant."""
    word = text.casefold()
    return Value(
        texts=(_compose(text),),
        number=None if _ZERO_FIRST.match(text) else read_number(text),
        boolean={"true": True, "false": False}.get(word),
        period=read_period(text),
        null=word == "null",
    )


def read_bound(text: str) -> Value:
    """A value at the end of a range: a number, else a date, else a text.

    Digits after a zero are a number here: the texts 02134 and 10001 are in order.
    """
    return replace(read_value(text), number=read_number(text))


def exact_text(text: str) -> Value:
    """A value that is this text only, as in quotes."""
    return Value(texts=(_compose(text),))


def read_number(text: str) -> Number | None:
    """The number that a text writes; None if it is none, or infinite.

    >>> [read_number(text) for text in ("12.50", "007", "-3", "1e3", "12 cm", "nan")]
    [12.5, 7, -3, 1000.0, None, None]
    """
    if len(text) > _LONGEST_NUMERAL or not _NUMERAL.fullmatch(text):
        return None
    if text.lstrip("+-").isdigit():
        return int(text)
    number = float(text)
    return number if math.isfinite(number) else None


def _storable(number: Number) -> Number:
    """The number, or the nearest of floating point if SQLite has no such integer."""
    if isinstance(number, float) or -(2**63) <= number < 2**63:
        return number
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _compare(left: Number | str, operator: Operator, right: Number | str) -> bool:
    if operator in (">=", "<"):
        return (left >= right) == (operator == ">=")  # type: ignore[operator]
    return (left > right) == (operator == ">")  # type: ignore[operator]


def _compose(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _sort_key(text: str) -> str:
    """Texts in alphabetical order: letters with accents after their own, capitals as small."""
    return (text if text.isascii() else unicodedata.normalize("NFD", text)).casefold()


def _text_spans(text: str) -> Iterator[Span]:
    """Where texts may lie that are this one, with accents in either form.

    The characters before the first accent are the same in both forms.
    """
    decomposed = unicodedata.normalize("NFD", text)
    if text == decomposed:
        yield Span.single_value(text)
        return
    same = next(
        place for place, character in enumerate(text)
        if unicodedata.normalize("NFD", character) != character
        or (place + 1 < len(text) and unicodedata.combining(text[place + 1]))
    )  # fmt: skip
    letters = unicodedata.normalize("NFD", text[same])
    starts = {_compose(letters[:count])[0] for count in range(1, len(letters) + 1)}
    for start in sorted(starts):
        # A letter that is decomposed is followed by its accent, which is no ASCII.
        low = "" if start == text[same] else "\u0080"
        yield Span(text[:same] + start + low, text[:same] + start + LAST_CHARACTER)


def _numeral_spans(number: Number) -> Iterator[Span]:
    """Where texts may lie that write this number: 12.5, 12.50, 1.25e+1."""
    if isinstance(number, float) and not math.isfinite(number):
        return
    plain = format(Decimal(repr(number)), "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    yield Span.single_value(plain)
    starts = [plain + ("0" if "." in plain else ".")]
    if plain.removeprefix("-").startswith("0."):
        starts.append(plain.replace("0.", ".", 1))
    elif plain == "0":
        starts.append(".0")
    digits = f"{Decimal(plain):e}".partition("e")[0]
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    starts += [
        f"{digits}{more}" for more in ("e", "E", *("0" if "." in digits else (".e", ".E", ".0")))
    ]
    yield from (Span(start, start + LAST_CHARACTER) for start in starts)


def _year_span(first: int, last: int) -> Span:
    """Texts that begin with one of these years."""
    return Span(f"{max(first, 0):04}", f"{min(last, 9999):04}{LAST_CHARACTER}")
