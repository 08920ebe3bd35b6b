"""What a server's model wrote, as the answer that it is: no thoughts, one line if so wished.

It knows texts, and what servers put in their place. It does not know requests.
"""

from __future__ import annotations

import re
from typing import Any

_SURROGATES = re.compile("[\ud800-\udfff]")
_OPEN, _CLOSE = "<think>", "</think>"


def text_of(content: Any) -> str:
    """The text of a message's `content`: a string, nothing, or a list of parts.

    Halves of characters, which JSON can hold and UTF-8 cannot, become U+FFFD.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(content, list):
        return "".join(map(_part, content))
    if content is None:
        return ""
    if not isinstance(content, str):
        raise ValueError(f"its text is none but {type(content).__name__}")
    return _SURROGATES.sub("\ufffd", content)


def _part(part: Any) -> str:
    """Of a part its text; those of other types (thoughts) are no answer."""
    if isinstance(part, dict):
        return text_of(part.get("text")) if part.get("type", "text") == "text" else ""
    return text_of(part)


def count_of(usage: Any, name: str) -> int:
    """A count of tokens; 0 where it is not told, or is none."""
    told = getattr(usage, name, None)
    try:
        return max(0, int(told))  # type: ignore[arg-type]  # whatever a server sends
    except (TypeError, ValueError, OverflowError):
        return 0


def answered(text: str, one_line: bool, ended: bool = True) -> tuple[str, bool]:
    """(the answer in `text`, whether more cannot change it).

    A leading `<think>…</think>` is no part of it: nothing before its end is, where it has one yet.
    `one_line`: the answer ends before the first newline after a word, as the local reader's does.

    Args:
        ended: `text` is all that was written.

    >>> answered("<think>Hm.</think> Vess\\nIt is", one_line=True)
    ('Vess', True)
    """
    start = text.lstrip()
    if start.startswith(_OPEN):
        closed = start.find(_CLOSE)
        if closed < 0:
            return "", False
        text = start[closed + len(_CLOSE) :].lstrip()
    elif not ended and _OPEN.startswith(start):
        return "", False  # it may become one
    if one_line:
        end = text.find("\n", len(text) - len(text.lstrip()))
        if end >= 0:
            return text[:end], True
    return text, False
