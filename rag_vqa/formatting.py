"""Numbers, times, sizes and untrusted text, formatted for people.

Knows units and which characters a terminal would obey. Does not know where text is printed.
"""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Joiners of emoji and of several scripts, the only invisible characters that are let through.
_JOINERS = "\u200c\u200d"
GB = 1e9
_ISO_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(\.\d+)?(Z|[+-]\d\d:\d\d)?", re.ASCII
)


def escape_invisible(text: str, keep: str = "\n\t") -> str:
    """The text with control, bidi and other invisible characters as escapes.

    >>> escape_invisible("a\\x1b[2Jb\\u202ec")
    'a\\\\x1b[2Jb\\\\u202ec'
    """
    return "".join(
        character
        if character in keep or not is_invisible(character)
        else _escape_character(character)
        for character in text
    )


def one_line(text: str) -> str:
    """The text on one line without invisible characters, for titles and file names."""
    return escape_invisible(" ".join(text.split()), keep="")


def shorten_line(text: str, width: int) -> str:
    """The text on one line of at most `width` characters; blanks at its beginning stay.

    >>> shorten_line("  a\\nlong text", 8)
    '  a lon…'
    """
    indentation = " " * (len(text) - len(text.lstrip(" ")))
    line = indentation + one_line(text[: 4 * width])
    whole = len(line) <= width and len(text) <= 4 * width
    return line if whole else f"{line[: width - 1]}…"


def format_duration(seconds: float) -> str:
    """A short duration, in milliseconds or seconds.

    >>> format_duration(0.0384), format_duration(1.94)
    ('38 ms', '1.9 s')
    """
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def format_value(value: Any) -> str:
    """A value of a table or of metadata as text for people; "" if it is absent.

    Lists are joined by commas. A time of ISO 8601 loses its T, and midnight is only a date. What is
    neither a scalar nor a list of scalars counts as absent.

    >>> format_value(1650.0), format_value(["oil", "canvas"]), format_value(None)
    ('1650', 'oil, canvas', '')
    """
    if isinstance(value, list | tuple):
        return ", ".join(text for text in map(format_value, value) if text)
    if value is None or isinstance(value, bytes | bytearray | Mapping):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _format_time(value.strip())
    if isinstance(value, float):
        if not math.isfinite(value):
            return ""
        if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        return repr(value) if len(repr(value)) <= 16 else f"{value:.12g}"
    return _format_time(value.isoformat() if hasattr(value, "isoformat") else str(value).strip())


def _format_time(text: str) -> str:
    found = _ISO_TIME.fullmatch(text)
    if found is None:
        return text
    day, time, fraction, zone = found.groups("")
    fraction = fraction.rstrip("0").rstrip(".")
    is_midnight = time in ("00:00", "00:00:00") and not fraction and zone in ("", "Z", "+00:00")
    return day if is_midnight else f"{day} {time}{fraction}{zone}"


def format_table(rows: Sequence[Mapping[str, str]]) -> str:
    """A table in columns, with the keys of the first row as its heads."""
    heads = list(rows[0])
    widths = {head: max(len(head), *(len(row[head]) for row in rows)) for head in heads}
    lines = [heads, *([row[head] for head in heads] for row in rows)]
    return "\n".join(
        "  ".join(
            f"{cell:<{widths[head]}}" for head, cell in zip(heads, line, strict=True)
        ).rstrip()
        for line in lines
    )


def is_invisible(character: str) -> bool:
    """True of a control character or one without a glyph of its own."""
    if character.isascii():
        return not character.isprintable()
    return character not in _JOINERS and unicodedata.category(character) in (
        "Cc", "Cf", "Cs", "Co", "Zl", "Zp",
    )  # fmt: skip


def _escape_character(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def format_rate_and_eta(done: int, total: int | None, seconds: float, first: int = 0) -> str:
    """How many are done, the rate, and the time left or taken.

    Args:
        first: number that an earlier run did; they do not count towards the rate.

    >>> format_rate_and_eta(29_400, 48_210, 71.36)
    '29,400/48,210  412/s  0:00:46 left'
    >>> format_rate_and_eta(48_210, 48_210, 117.0)
    '48,210/48,210  412/s  in 0:01:57'
    """
    rate = (done - first) / seconds if seconds > 0 else 0.0
    count = f"{done:,}" if total is None else f"{done:,}/{total:,}"
    speed = f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s"
    if total is None or not rate:
        return f"{count}  {speed}"
    if done >= total:
        return f"{count}  {speed}  in {format_clock(seconds)}"
    return f"{count}  {speed}  {format_clock((total - done) / rate)} left"


def format_clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds: 0:01:05."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def format_bytes(count: float) -> str:
    """A size in kB, MB or GB.

    >>> format_bytes(17.53e9), format_bytes(3.6e6), format_bytes(900)
    ('17.5 GB', '4 MB', '1 kB')
    """
    if count < 0.95e6:
        return f"{count / 1e3:.0f} kB"
    return f"{count / GB:.1f} GB" if count >= 0.05 * GB else f"{count / 1e6:.0f} MB"


def did_you_mean(name: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """` Did you mean 'text'?`, or nothing if no known name is as like it, between 0 and 1."""
    near = difflib.get_close_matches(name, list(known), 1, likeness)
    return f" Did you mean {near[0]!r}?" if near else ""


def quote_value(value: object, limit: int = 60) -> str:
    """A user's value as it may stand in a message: escaped, and not longer than a line."""
    text = " ".join(ascii(value).splitlines())  # some objects print themselves on several
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def format_time_needed(seconds: float) -> str:
    """A duration of any length: as `format_duration` up to a minute, else as `format_clock`.

    >>> format_time_needed(1.94), format_time_needed(125)
    ('1.9 s', '0:02:05')
    """
    return format_duration(seconds) if seconds < 60 else format_clock(seconds)


def format_token_count(tokens: float) -> str:
    """A rounded number of tokens, in thousands, millions or billions.

    >>> format_token_count(1234), format_token_count(2_500_000), format_token_count(7.1e9)
    ('1 k', '2.5 M', '7.1 G')
    """
    for size, unit in ((1e9, "G"), (1e6, "M")):
        if tokens >= size:
            return f"{tokens / size:.1f} {unit}"
    return f"{tokens / 1e3:.0f} k"


def format_rough_time(seconds: float) -> str:
    """A rounded duration, for an estimate.

    >>> format_rough_time(30), format_rough_time(90), format_rough_time(7000)
    ('30 s', '2 min', '1.9 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
