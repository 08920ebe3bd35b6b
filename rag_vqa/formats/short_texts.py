"""Short texts: which metadata of a source are short texts, such as an artist or a licence.

Knows metadata of records, and looks at the first ones only. Does not know what is shown to whom
(jobs/shown_choice.py).
Apart because it is about showing, and the survey of a source is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

SHORT: Final = 80  # characters
_RECORDS: Final = 10_000  # the first ones
_NAMES: Final = 1_000
_FEW: Final = 0.05  # share of longer texts that makes a name's texts no less short
_CITED: Final = ("page", "file")  # where a document is, which is cited by itself
_ADDRESS: Final = ("http://", "https://", "data:", "file:")


class ShortTexts:
    """Counts texts of metadata by name, as records come."""

    def __init__(self) -> None:
        self._left = _RECORDS
        self._seen: dict[str, list[int]] = {}  # name → [texts, longer ones, other values]

    def add(self, metadata: Mapping[str, Any]) -> None:
        """Count the values of one record."""
        if not self._left:
            return
        self._left -= 1
        for name, value in metadata.items():
            counts = self._seen.get(name)
            if counts is None:
                if len(self._seen) >= _NAMES:
                    continue
                counts = self._seen[name] = [0, 0, 0]
            listed = value if isinstance(value, tuple) else (value,)
            if not all(isinstance(each, str) for each in listed):
                counts[2] += 1
            elif any(map(str.strip, listed)):
                counts[0] += 1
                counts[1] += sum(map(len, listed)) > SHORT or _is_address(listed[0])

    def all_names(self) -> Iterator[str]:
        """Every name, in order of appearance."""
        return iter(self._seen)

    def short_names(self) -> Iterator[str]:
        """Names whose values are texts, nearly all of them short and none an address."""
        for name, (texts, longer, others) in self._seen.items():
            if texts > others and longer <= _FEW * texts and name.strip().lower() not in _CITED:
                yield name


def _is_address(text: str) -> bool:
    return text.lstrip().lower().startswith(_ADDRESS)
