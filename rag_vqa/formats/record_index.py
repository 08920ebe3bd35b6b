"""Fields of records that only number them, as pandas writes an index into Parquet and JSON.

Apart because JSONL, JSON and Parquet share it; tables have headers (table_header.py).
Knows the names that pandas gives. Does not know where records come from.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from rag_vqa.errors import BadInput
from rag_vqa.formatting import quote_value

_UNNAMED: Final = re.compile(r"Unnamed: \d+(?:[._]\w+)*|__index_level_\d+__")
_SAMPLE_RECORDS: Final = 1_000


def find_index_fields(records: Iterator[Mapping[str, Any] | BadInput]) -> frozenset[str]:
    """Names without meaning whose values, in the first records, are different whole numbers."""
    sample = [record for record in islice(records, 1) if not isinstance(record, BadInput)]
    names = {name for record in sample for name in record if _UNNAMED.fullmatch(name)}
    if not names:  # a field without a name is there from the beginning
        return frozenset()
    sample += [one for one in islice(records, _SAMPLE_RECORDS) if not isinstance(one, BadInput)]
    return frozenset(name for name in names if _are_numbers([one.get(name) for one in sample]))


def drop_fields(
    record: dict[str, Any] | BadInput, names: Collection[str]
) -> dict[str, Any] | BadInput:
    """The record without these fields."""
    if not names or isinstance(record, BadInput):
        return record
    return {name: value for name, value in record.items() if name not in names}


def describe_index(names: Collection[str]) -> tuple[str, ...]:
    """What to say about fields that are left out."""
    return tuple(
        f"{quote_value(name)} only numbers the records and is left out" for name in sorted(names)
    )


def _are_numbers(values: Sequence[Any]) -> bool:
    """Whether all are whole numbers, and no two are equal."""
    whole = [
        value
        for value in values
        if isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0
    ]
    return len(set(whole)) == len(values)
