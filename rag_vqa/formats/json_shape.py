"""The shape of a JSON file: where its records are, as an array, within an object, or by columns.

Knows the shapes that pandas, web services and people write. Does not know fields (mapping.py), and
keeps no values: a file of any size is looked through once, in little memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from rag_vqa.errors import BadInput
from rag_vqa.formats.json_stream import JsonText, iterate_items
from rag_vqa.formats.mapping import normal_name
from rag_vqa.formatting import quote_value

# Of arrays of objects in one file, the one that is called so contains the records.
_USUAL_NAMES: Final = (
    "documents", "docs", "records", "data", "items", "rows", "entries", "results", "objects",
)  # fmt: skip
_KEPT_MEMBERS: Final = 1_000  # whose kinds are remembered
_SPLIT: Final = frozenset({"columns", "data"})


@dataclass(frozen=True, slots=True)
class JsonShape:
    """Where the records of a file are.

    Attributes:
        kind: "array": items of one array; "values": one object after another; "member": an array
            within an object; "keys": an object of objects; "columns": an object of columns;
            "split": as pandas' orient="split"; "rows": an array of arrays, the first of names;
            "single": one object.
        path: names of members that lead to the array.
        left_out: fields of records that only number them.
        has_numbers: the keys of an object of objects only number its records.
        remarks: what the user should know, one line each.
    """

    kind: str
    path: tuple[str, ...] = ()
    left_out: frozenset[str] = frozenset()
    has_numbers: bool = False
    remarks: tuple[str, ...] = ()


@dataclass(slots=True)
class _Members:
    """What the members of an object are."""

    kinds: dict[str, str] = field(default_factory=dict)
    count: int = 0
    nested: dict[str, str] = field(default_factory=dict)  # member → its only array of objects
    inner: set[str] = field(default_factory=set)  # names within objects
    numbers: bool = True  # all names are whole numbers
    inner_numbers: bool = True
    lengths: set[int] = field(default_factory=set)  # of arrays of scalars
    index: frozenset[str] = frozenset()

    def add(self, name: str, kind: str) -> None:
        self.count += 1
        self.numbers &= name.isdecimal()
        if len(self.kinds) < _KEPT_MEMBERS:
            self.kinds[name] = kind

    def names_of(self, kind: str) -> list[str]:
        """Names of the members of this kind."""
        return [name for name, found in self.kinds.items() if found == kind]


def find_shape(text: JsonText, known_names: Collection[str], ids: Collection[str]) -> JsonShape:
    """The shape of a file.

    Args:
        known_names: normal names of columns that mean something: fields, and mapped ones.
        ids: those of them that may be the id.

    Raises:
        BadInput: several arrays could be meant.
        BrokenJson: the file is damaged.
    """
    if text.skip() == "[":
        text.take("[")
        first = text.value() if text.skip() not in ("]", "") else None
        return JsonShape("rows" if isinstance(first, list) else "array")
    members = _look_through(text)
    if text.skip():
        return JsonShape("values")
    names = {normal_name(name) for name in members.kinds}
    kinds = set(members.kinds.values())
    if names >= _SPLIT and members.kinds.get("data") == "lists":
        return JsonShape("split")
    if kinds == {"object"}:
        return _shape_of_objects(members, names, known_names)
    if kinds == {"scalars"} and len(members.lengths) == 1 and not names.isdisjoint(ids):
        return JsonShape("columns")
    texts = names & set(known_names) - set(ids)
    if not names.isdisjoint(ids) and (texts or not members.names_of("objects")):
        return JsonShape("single")
    return _shape_of_container(members)


def _shape_of_objects(
    members: _Members, names: Collection[str], known_names: Collection[str]
) -> JsonShape:
    """Of an object that holds only objects: records by key, or columns by name."""
    is_columns = not set(known_names).isdisjoint(names) or (
        set(known_names).isdisjoint(map(normal_name, members.inner)) and members.inner_numbers
    )
    if is_columns:
        return JsonShape("columns")
    if members.nested and set(known_names).isdisjoint(map(normal_name, members.inner)):
        return _shape_of_container(members)
    return JsonShape("keys", has_numbers=members.numbers)


def _shape_of_container(members: _Members) -> JsonShape:
    """
    Raises:
        BadInput: several arrays could be meant.
    """
    paths: list[tuple[str, ...]] = [(name,) for name in members.names_of("objects")]
    paths = paths or [(name, inner) for name, inner in members.nested.items()]
    if not paths:
        return (
            JsonShape("member", (members.names_of("empty")[0],))
            if (members.names_of("empty") and not members.names_of("scalars"))
            else JsonShape("single")
        )
    usual = [path for path in paths if normal_name(path[-1]) in _USUAL_NAMES]
    chosen = paths if len(paths) == 1 else usual
    if len(chosen) != 1:
        raise BadInput(
            f"it contains several arrays: {', '.join('.'.join(path) for path in paths[:5])}. "
            "Write the one with the documents into a file of its own."
        )
    others = [".".join(path) for path in paths if path != chosen[0]]
    place = ".".join(chosen[0])
    remark = f"the documents are read from {quote_value(place)} in the JSON file"
    if others:
        remark += f", without {', '.join(map(quote_value, others[:5]))}"
    return JsonShape("member", chosen[0], left_out=members.index, remarks=(remark,))


def _look_through(text: JsonText) -> _Members:
    """What the members of the object are that begins here. It is read to its end."""
    found = _Members()
    text.take("{")
    if text.skip() == "}":
        text.take("}")
        return found
    while True:
        name = str(text.value())
        text.take(":")
        if text.skip() == "[":
            found.add(name, _kind_of_array(text, found))
        else:
            value = text.value()
            found.add(name, _kind_of_value(name, value, found))
        if text.skip() == "}":
            text.take("}")
            return found
        text.take(",")


def _kind_of_array(text: JsonText, found: _Members) -> str:
    kind, count = "empty", 0
    for item in iterate_items(text):
        if kind == "empty":
            kind = _array_of(item)
        count += 1
    if kind == "scalars":
        found.lengths.add(count)
    return kind


def _array_of(item: Any) -> str:
    if isinstance(item, dict | BadInput):
        return "objects"
    return "lists" if isinstance(item, list) else "scalars"


def _kind_of_value(name: str, value: Any, found: _Members) -> str:
    if not isinstance(value, dict):
        return "scalar"
    if name == "schema":
        found.index = _index_of_schema(value)
    arrays = [
        key
        for key, inner in value.items()
        if isinstance(inner, list) and inner and isinstance(inner[0], dict)
    ]
    if len(arrays) == 1:
        found.nested[name] = arrays[0]
    if len(found.inner) < _KEPT_MEMBERS:
        found.inner.update(value)
    found.inner_numbers &= all(key.isdecimal() for key in value)
    return "object"


def _index_of_schema(schema: dict[str, Any]) -> frozenset[str]:
    """The index of pandas' orient="table", if it has no name of its own and numbers the rows."""
    fields = schema.get("fields")
    if schema.get("primaryKey") != ["index"] or not isinstance(fields, list):
        return frozenset()
    kinds = {one.get("name"): one.get("type") for one in fields if isinstance(one, dict)}
    return frozenset({"index"}) if kinds.get("index") == "integer" else frozenset()


def find_items(text: JsonText, path: tuple[str, ...]) -> Iterator[Any]:
    """The items of the array that these names lead to; of a nested one from memory."""
    text.take("{")
    while True:
        name = text.value()
        text.take(":")
        if name == path[0]:
            if len(path) == 1:
                yield from iterate_items(text)
            else:
                value = text.value()
                yield from value.get(path[1], []) if isinstance(value, dict) else []
            return
        if text.skip() == "[":
            for _ in iterate_items(text):
                pass
        else:
            text.value()
        if text.skip() != ",":
            return
        text.take(",")
