"""Shown metadata: which names readers and people see beside title, section and text, and how.

Knows how a knowledge base records names, how names are asked for, and how values are written. Does
not know prompts, pages or terminals: they find names and texts in `Hit.shown`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rag_vqa.formatting import did_you_mean, format_value, one_line
from rag_vqa.retriever.store.database import Database
from rag_vqa.types import Document, Hit

MOST_NAMES = 32  # a knowledge base from elsewhere may record any number
_LONGEST_VALUE = 300  # characters; the rest of a longer value is left out
_META_NAME = "shown"
_ALWAYS = ("title", "section", "text")  # shown without being asked for
_FIELDS = ("id", "parent", "url")  # shown if they are asked for


@dataclass(frozen=True, slots=True)
class ShownNames:
    """What a knowledge base records.

    Attributes:
        are_chosen: a person named them; else a build chose those of short texts.
    """

    names: tuple[str, ...] = ()
    are_chosen: bool = False


def read_record(db: Database) -> ShownNames | None:
    """What an open database records; None if it is older, or if the record makes no sense."""
    found = db.rows("SELECT value FROM meta WHERE name = ?", [_META_NAME])
    try:
        record = json.loads(found[0][0]) if found else {}
        names = [name for name in record["names"] if isinstance(name, str)]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return ShownNames(tuple(names[:MOST_NAMES]), record.get("chosen") is True)


def read_names(db: Database) -> tuple[str, ...]:
    """The names that an open database records."""
    found = read_record(db)
    return () if found is None else found.names


def write_record(db: Database, shown: ShownNames) -> None:
    """Record names in one commit, if they are others than before."""
    if shown != read_record(db):
        with db.commit() as commit:
            commit.add_meta(
                _META_NAME, json.dumps({"names": shown.names, "chosen": shown.are_chosen})
            )


def resolve_names(asked: Iterable[str], known: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names that exist, as they are spelled, and those that do not.

    Capitals, blanks and the form of accents make no difference. Title, section and text count as
    known, but are not returned: they are shown in any case.

    >>> resolve_names(["artist", "text", "Yeer"], ["Artist", "Year"])
    (['Artist'], ['Yeer'])
    """
    spelled = {_fold_name(name): name for name in reversed([*known, *_FIELDS, *_ALWAYS])}
    found: dict[str, None] = {}
    unknown = []
    for name in _join_names(list(asked), spelled):
        match = name if name in known else spelled.get(_fold_name(name))
        if match is None:
            unknown.append(name)
        elif match not in _ALWAYS or match in known:
            found[match] = None
    return list(found), unknown


def _join_names(asked: list[str], spelled: Mapping[str, str]) -> Iterator[str]:
    """The names, those with commas of their own in one piece again."""
    start = 0
    while start < len(asked):
        runs = (asked[start:end] for end in range(len(asked), start + 1, -1))
        run = next((run for run in runs if _fold_name(",".join(run)) in spelled), [asked[start]])
        yield ", ".join(run)
        start += len(run)


def describe_unknown(unknown: Iterable[str], known: Sequence[str]) -> Iterator[str]:
    """A line for each name that was asked for and does not exist."""
    there = f"Names: {one_line(', '.join(known[:MOST_NAMES]))}." if known else "There is none."
    for name in unknown:
        hint = did_you_mean(name, known) or f" {there}"
        yield f"--show {one_line(name)}: no document has such metadata.{hint}"


def add_shown_metadata(hits: Iterable[Hit], names: Sequence[str]) -> list[Hit]:
    """The hits with the names and texts of their shown metadata."""
    if not names:
        return list(hits)
    return [replace(hit, shown=tuple(_shown_values(hit.document, names))) for hit in hits]


def _shown_values(document: Document, names: Sequence[str]) -> Iterable[tuple[str, str]]:
    own = {name: getattr(document, name) for name in _FIELDS}
    values: Mapping[str, object] = {**own, **document.metadata}
    for name in names:
        text = one_line(format_value(values.get(name)))
        if text:
            whole = len(text) <= _LONGEST_VALUE
            yield name, text if whole else f"{text[: _LONGEST_VALUE - 1].rstrip()}…"


def _fold_name(name: str) -> str:
    plain = re.sub(r"\s*,\s*", ",", " ".join(name.split()))
    return unicodedata.normalize("NFC", plain).casefold()
