"""Periods: the year, month, day, minute or second that a text in ISO's form means, and their order.

Knows dates of different precision and time zones. Does not know filters.
"""

from __future__ import annotations

import re
from datetime import MAXYEAR, datetime, timedelta, timezone
from typing import Literal, NamedTuple, TypeAlias

Operator: TypeAlias = Literal["=", ">", ">=", "<", "<="]
DAY_LENGTH = len("1998-05-01")
_DAY = timedelta(days=1)
_ISO = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?"
    r" ?(Z|[+-]\d\d(?::?\d\d)?)?)?)?)?",
    re.ASCII,
)


class Period(NamedTuple):
    """A year, month, day, minute or second: from `start` until before `end`.

    Attributes:
        offset: difference to UTC, if it is stated; the other two are local time.
    """

    start: datetime
    end: datetime
    offset: timedelta | None = None

    @property
    def is_longer_than_a_day(self) -> bool:
        """Whether it is a month or a year."""
        return self.end - self.start > _DAY

    def is_within(self, other: Period) -> bool:
        """Whether all of it lies in the other one."""
        own = self._as_seen_from(other)
        return other.start <= own.start and own.end <= other.end

    def compare(self, operator: Operator, bound: Period) -> bool:
        """Whether it begins after (">"), in or after (">="), … the bound."""
        start = self._as_seen_from(bound).start
        if operator in (">=", "<"):
            return (start >= bound.start) == (operator == ">=")
        return (start >= bound.end) == (operator == ">")

    def _as_seen_from(self, other: Period) -> Period:
        """In the other's local time, if both say how far theirs is from UTC."""
        if self.offset is None or other.offset is None:
            return self
        shift = other.offset - self.offset
        return Period(shift_moment(self.start, shift), shift_moment(self.end, shift), self.offset)


def read_period(text: str) -> Period | None:
    """The time that a text in ISO's form means; None if it is none.

    >>> read_period("1998-05").end.isoformat(), read_period("May 1998")
    ('1998-06-01T00:00:00', None)
    """
    if len(text) == DAY_LENGTH and text[4] == text[7] == "-":
        return _read_day(text)
    if len(text) < 4 or not (match := _ISO.fullmatch(text)):
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        start = datetime(
            int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0),
            int(second or 0), int((fraction or "")[:6].ljust(6, "0")),
        )  # fmt: skip
        offset = _read_offset(zone)
    except ValueError:  # the 31st of April
        return None
    if day is None:
        months = start.month - 1 + (12 if month is None else 1)
        if start.year + months // 12 > MAXYEAR:
            return Period(start, datetime.max, offset)
        end = start.replace(year=start.year + months // 12, month=months % 12 + 1)
        return Period(start, end, offset)
    if hour is None:
        length = timedelta(days=1)
    elif second is None:
        length = timedelta(minutes=1)
    else:
        length = timedelta(seconds=1) if fraction is None else timedelta(microseconds=1)
    return Period(start, shift_moment(start, length), offset)


def _read_day(text: str) -> Period | None:
    """A day, by far the most frequent form, fast."""
    try:
        start = datetime.fromisoformat(text)
    except ValueError:
        return None
    return Period(start, shift_moment(start, _DAY))


def read_stored_period(text: str) -> Period | None:
    """The time that a stored text means: further words after a day do not matter.

    >>> read_stored_period("1998-05-01 (gift)") == read_period("1998-05-01")
    True
    """
    if (period := read_period(text)) is not None or len(text) <= DAY_LENGTH:
        return period
    return read_period(text[:DAY_LENGTH])


def shift_moment(moment: datetime, by: timedelta) -> datetime:
    """The moment after that time; the first or last one there is, if it would be beyond."""
    try:
        return moment + by
    except OverflowError:
        return datetime.max if by > timedelta(0) else datetime.min


def _read_offset(zone: str | None) -> timedelta | None:
    if zone is None or zone == "Z":
        return None if zone is None else timedelta(0)
    digits = zone[1:].replace(":", "").ljust(4, "0")
    ahead = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    timezone(ahead)  # refuses a day or more
    return -ahead if zone[0] == "-" else ahead
