"""Items of a source → Records, and what becomes of those that are refused.

It knows rejects, strictness and subsets. It does not know any file format: a format gives Items,
whose fields already bear the names of document.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import Record, Rejected, from_line

Report = Callable[[Rejected], None]


@dataclass(frozen=True, slots=True)
class Item:
    """What will be one document: its fields, or why it has none.

    Attributes:
        line: its line or row in its file; None if it is a file of its own.
        place: what else tells where it is: its file among several, its key.
        unit: what `line` counts.
    """

    line: int | None
    fields: Mapping[str, Any] | BadInput
    place: str = ""
    unit: str = "line"

    @property
    def where(self) -> str:
        """Its place for a message that names the source already."""
        counted = "" if self.line is None else f"{self.unit} {self.line}"
        return ", ".join(part for part in (self.place, counted) if part)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a format found in a file on opening it.

    Attributes:
        columns: names of what each item has, in order.
        metadata: those of them that become metadata.
        unknown: those of them that are left out, because nobody said what they are.
        items: reads the file from its beginning.
    """

    columns: tuple[str, ...]
    metadata: tuple[str, ...]
    unknown: tuple[str, ...]
    items: Callable[[], Iterator[Item]]


def read_records(
    items: Iterable[Item],
    path: Path,
    folder: Path,
    on_reject: Report | None = None,
    strict: bool = False,
    wanted: frozenset[str] | None = None,
) -> Iterator[Record]:
    """Read the items of `path` one by one.

    Args:
        folder: what the pictures may not leave, an absolute path.
        on_reject: is told of each item that is refused. Without it the first one raises.
        strict: the first refused item raises.
        wanted: ids, parents, addresses or titles: all other documents are passed over.

    Raises:
        BadInput: there are no documents; under `strict` the first refused item.
    """
    read, first = 0, ""
    for item in items:
        try:
            if isinstance(item.fields, BadInput):
                raise item.fields
            record = from_line(item.fields, item.line, folder)
        except BadInput as error:
            if strict or on_reject is None:
                raise BadInput(f"{path}, {item.where}: {error}") from error
            reason = f"{item.place}: {error}" if item.place else str(error)
            first = first or f"{item.where} was refused: {error}"
            on_reject(Rejected(item.line, _id_of(item), reason))
        else:
            if wanted is None or not wanted.isdisjoint(
                (record.id, record.parent, record.url, record.title)
            ):
                read += 1
                yield record
    if not read:
        nothing = (
            "it is empty." if wanted is None else f"none of the {len(wanted)} wanted is there."
        )
        raise BadInput(f"{path} holds no documents: {first or nothing}")


def _id_of(item: Item) -> str | None:
    """The id of a refused item, where it can be told."""
    identity = None if isinstance(item.fields, BadInput) else item.fields.get("id")
    return identity if isinstance(identity, str) else None
