"""JSONL whose fields have other names → Items: what the benchmarks' formats have in common.

It knows how fields are renamed and which are left out. It knows no benchmark: those say which
field is which.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag_vqa.errors import BadInput
from rag_vqa.formats.items import Contents, Item
from rag_vqa.formats.jsonl import field_names, objects


@dataclass(frozen=True, slots=True)
class Names:
    """A benchmark's fields.

    Attributes:
        fields: field of document.py → theirs; of several, the first that is neither null nor "".
        metadata: theirs that are kept as metadata, by their own names.
        left_out: theirs that are known and not kept.
    """

    fields: Mapping[str, tuple[str, ...]]
    metadata: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def read(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """One record as fields of document.py. An id that is an integer becomes its digits.

        Raises:
            BadInput: there is no id.
        """
        fields = {name: _first(record, theirs) for name, theirs in self.fields.items()}
        identity = fields["id"]
        if identity is None:
            raise BadInput(f"the id, {' or '.join(self.fields['id'])}, is missing.")
        if isinstance(identity, int) and not isinstance(identity, bool):
            fields["id"] = str(identity)
        kept = {name: record[name] for name in self.metadata if record.get(name) is not None}
        return {**fields, "metadata": kept}

    def contents(self, path: Path) -> Contents:
        """What a file of such records holds."""
        columns = field_names(path)
        taken = {name for theirs in self.fields.values() for name in theirs}
        metadata = tuple(name for name in columns if name in self.metadata)
        known = {*taken, *metadata, *self.left_out}
        unknown = tuple(name for name in columns if name not in known)
        return Contents(columns, metadata, unknown, lambda: self._items(path))

    def _items(self, path: Path) -> Iterator[Item]:
        for number, record in objects(path):
            fields: Mapping[str, Any] | BadInput
            try:
                fields = record if isinstance(record, BadInput) else self.read(record)
            except BadInput as error:
                fields = error
            yield Item(number, fields)


def _first(record: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((v for name in names if (v := record.get(name)) not in (None, "")), None)
