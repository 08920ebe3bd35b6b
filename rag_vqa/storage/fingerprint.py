"""Fingerprints: what a job was started with, so that it resumes only with the same options.

Knows JSON trees, and the state of files without reading them. Does not know what options mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rag_vqa.errors import UsageError

_SHOWN = 60  # characters of a value in a message


class Change(NamedTuple):
    """One option that differs; `name` leads to it through the tree, as "data.workers"."""

    name: str
    before: Any
    now: Any


def find_changes(
    before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> Iterator[Change]:
    """All values in which two JSON trees differ; a value that one of them lacks counts as None.

    >>> list(find_changes({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}))
    [Change(name='b.c', before=2, now=3)]
    """
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from find_changes(old, new, f"{prefix}{name}.")
        elif old != new:
            yield Change(f"{prefix}{name}", old, new)


def describe_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The differences between two JSON trees, as a list for a message; "" if they are equal.

    >>> describe_changes({"steps": 10, "where": None}, {"steps": 20, "where": "here"})
    'steps was 10, is 20; where was none, is here'
    """
    return "; ".join(
        f"{change.name} was {_shorten(change.before)}, is {_shorten(change.now)}"
        for change in find_changes(before, now)
    )


def check_unchanged(
    place: object, before: Mapping[str, Any], now: Mapping[str, Any], next_step: str
) -> None:
    """Refuse to resume a job with other options than it was started with.

    Args:
        place: the folder or file that the job writes.
        next_step: what to do instead, as a sentence.

    Raises:
        UsageError: names every option that differs.
    """
    if changes := describe_changes(before, now):
        raise UsageError(f"{place} was started with other options: {changes}. {next_step}")


def file_state(path: Path) -> tuple[str, int, int]:
    """Path, bytes and time of change (ns) of a file: other content has another state.

    A link that leads nowhere has a state, too.
    """
    found = path.stat(follow_symlinks=path.exists())
    return str(path.resolve()), found.st_size, found.st_mtime_ns


def _shorten(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
