"""The language of filters: what users write for `--where` and `where=`, as conditions on names.

Knows the signs, quotes, commas, and Python's forms. Does not know which documents match
(filters.py), nor in which ways a value can be stored (filter_values.py).

    year>=1780      kind=cup,plate      maker='Family, Given'      acquired<1998-05
    {"year": {">=": 1780, "<": 1850}, "kind": ["cup", "plate"], "maker": "Family, Given"}
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, get_args

from rag_vqa.errors import UsageError
from rag_vqa.formats.plain_values import plain_value
from rag_vqa.formatting import did_you_mean, quote_value
from rag_vqa.retriever.search.filter_values import (
    RangeBound,
    Value,
    exact_text,
    read_bound,
    read_value,
)
from rag_vqa.retriever.search.periods import Operator
from rag_vqa.types import Scalar, Where

_SIGN = re.compile(r"[<>]=|==|[=<>≥≤]")
_SAME_SIGN: Mapping[str, Operator] = {
    "==": "=", "≥": ">=", "≤": "<=", "$eq": "=", "$in": "=", "in": "=",
    "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<=",
}  # fmt: skip
_SIGNS: Mapping[str, Operator] = {
    **{sign: sign for sign in get_args(Operator)},
    **_SAME_SIGN,
}
_QUOTED = re.compile(r"""\s*(?:'(.*?)'|"(.*?)")\s*(?:,|\Z)""", re.DOTALL)
_UNQUOTED = re.compile(r"\s*([^,]*?)\s*(?:,|\Z)")
_NO_SIGN = "is no sign of a filter. Known are =, >=, <=, > and <"
_SHOWN_NAMES = 20
_LISTS = (list, tuple, set, frozenset)
Parts: TypeAlias = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Values of which a document needs one.

    Attributes:
        whole: the text with its commas: if a document has it, it is meant instead.
    """

    values: Parts
    whole: Value | None = None


@dataclass(frozen=True, slots=True)
class NameFilter:
    """What a filter asks of one name: one value of a document must pass all of it.

    Attributes:
        choices: None asks for no particular value.
        texts: the conditions as they were written, for messages.
    """

    name: str
    choices: tuple[Choice, ...] | None = None
    bounds: tuple[RangeBound, ...] = ()
    texts: tuple[str, ...] = ()

    def in_range(self, stored: Scalar) -> bool:
        """Whether a stored value passes all bounds."""
        return all(bound.holds(stored) for bound in self.bounds)

    def joined_with(self, other: NameFilter) -> NameFilter:
        """Both filters of one name: any of the values, and all bounds."""
        choices = self.choices
        if other.choices is not None:
            choices = (*(choices or ()), *other.choices)
        return replace(
            self,
            choices=choices,
            bounds=self.bounds + other.bounds,
            texts=self.texts + other.texts,
        )


def read_where(where: Where, names: Sequence[str]) -> list[NameFilter]:
    """What a filter asks of each name.

    Args:
        names: those that metadata uses. A name counts regardless of capitals, blanks around it and
            the form of its accents, if it is not there as it is written.

    Raises:
        UsageError: it cannot be read, or names what is not there, or several.
    """
    found: dict[str, NameFilter] = {}
    for each in _read_conditions(where, names):
        before = found.get(each.name)
        found[each.name] = each if before is None else before.joined_with(each)
    return list(found.values())


def check_texts(conditions: Sequence[str]) -> None:
    """Refuse what is no condition at all, before a knowledge base is opened."""
    for text in conditions:
        _read_sign(text, ())


def plain_where(where: Where | None) -> Any:
    """A filter as plain data for JSON; None if there is none."""
    if not where or isinstance(where, str):
        return where or None
    return _plain_data(where)


def _plain_data(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain_data(each) for name, each in value.items()}
    plain = plain_value(value)
    if isinstance(plain, _LISTS):
        return [_plain_data(each) for each in plain]
    return plain


def _read_conditions(where: Where, names: Sequence[str]) -> Iterator[NameFilter]:
    if isinstance(where, Mapping):
        for name, value in where.items():
            yield from _read_pair(find_name(name, names), value)
        return
    texts = [where] if isinstance(where, str) else where
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise UsageError(
            f"where = {quote_value(where)}: give names and values, {{'kind': 'boat'}}, or texts, "
            "['kind=boat', 'year>=1780']."
        )
    for text in texts:
        name, sign, value = _read_sign(text, names)
        yield _read_text(find_name(name, names), sign, value, text)


def _read_sign(text: str, names: Sequence[str]) -> tuple[str, Operator, str]:
    """The name, the sign and the value of a condition.

    Usually the first sign parts them. A name that itself contains one is known from `names`.
    """
    splits = [(_unquote_name(text[: m.start()]), m) for m in _SIGN.finditer(text)]
    splits = [(name, sign) for name, sign in splits if name]
    if not splits:
        raise UsageError(
            f"{quote_value(text)} is no condition: expected name=value, or name>=value."
        )
    name, sign = splits[0]
    folded = {_fold(known) for known in names}
    exact = [pair for pair in splits if pair[0] in names]
    known = exact or [pair for pair in splits if _fold(pair[0]) in folded]
    if known:
        name, sign = known[-1]
    value = text[sign.end() :].strip()
    if name[-1] in "!~" and name not in names:
        raise UsageError(f"{quote_value(text)}: {name[-1]}{sign[0]} {_NO_SIGN}.")
    if value[:1] in ("<", ">", "="):
        raise UsageError(
            f"{quote_value(text)}: write >=, <=, >, < or =. A value that begins with a sign needs "
            f"quotes: {name}={value!r}"
        )
    return name, _SIGNS[sign[0]], value


def _unquote_name(text: str) -> str:
    name = text.strip()
    is_quoted = len(name) > 2 and name[0] == name[-1] and name[0] in "'\""
    return name[1:-1] if is_quoted else name


def _read_text(name: str, sign: Operator, text: str, condition: str) -> NameFilter:
    parts = list(_split_values(text))
    if sign == "=":
        values = tuple(exact_text(part) if quoted else read_value(part) for part, quoted in parts)
        whole = exact_text(text) if len(parts) > 1 else None
        return NameFilter(name, (Choice(values, whole),), texts=(condition,))
    if len(parts) != 1 or not parts[0][0]:
        example = f"{name}{sign}1780"
        if not parts[0][0]:
            raise UsageError(f"{quote_value(condition)} has no value. Give one: {example}")
        raise UsageError(
            f"{quote_value(condition)} has several values, and a range has one: {example}. Write "
            f"decimals with a point, and a text with a comma in quotes: {name}{sign}'Family, Given'"
        )
    return NameFilter(name, bounds=(RangeBound(sign, read_bound(parts[0][0])),), texts=(condition,))


def _split_values(text: str) -> Iterator[tuple[str, bool]]:
    """Values between commas, and whether each was in quotes. Empty ones are left out.

    >>> list(_split_values("a, 'b, c' ,d'e,"))
    [('a', False), ('b, c', True), ("d'e", False)]
    """
    place, found = 0, False
    while place < len(text):
        quoted = _QUOTED.match(text, place)
        if quoted is not None:
            yield next(group for group in quoted.groups() if group is not None), True
            place, found = quoted.end(), True
            continue
        plain = _UNQUOTED.match(text, place)
        if plain is None:
            raise UsageError(f"{quote_value(text)} cannot be read as values.")
        if plain[1]:
            yield plain[1], False
            found = True
        place = max(plain.end(), place + 1)
    if not found:
        yield "", False


def _read_pair(name: str, value: Any) -> Iterator[NameFilter]:
    """Conditions of one name in Python's form."""
    if not isinstance(value, Mapping):
        yield _equal_to(name, value)
        return
    if not value:
        raise UsageError(f"where: nothing is asked of {name!r}: {{{name!r}: {{'>=': 1780}}}}")
    for sign, operand in value.items():
        if sign not in _SIGNS:
            raise UsageError(
                f"where: {quote_value(sign)} {_NO_SIGN}: {{'year': {{'>=': 1780, '<': 1850}}}}"
            )
        operator = _SIGNS[sign]
        if operator == "=":
            yield _equal_to(name, operand)
        else:
            yield _bounded_by(name, operator, operand)


def _equal_to(name: str, value: Any) -> NameFilter:
    listed = value if isinstance(value, _LISTS) else plain_value(value)
    listed = listed if isinstance(listed, _LISTS) else [value]
    values = tuple(_typed_value(name, each) for each in listed)
    shown = ", ".join("null" if each is None else str(each) for each in map(plain_value, listed))
    return NameFilter(name, (Choice(values),), texts=(f"{name}={shown}",))


def _bounded_by(name: str, operator: Operator, value: Any) -> NameFilter:
    plain = plain_value(value)
    if plain is None or isinstance(plain, bool) or not isinstance(plain, str | int | float):
        raise UsageError(
            f"where: {name} {operator} {quote_value(value)}: give a number, a date or a text."
        )
    if isinstance(plain, str):
        bound = read_bound(plain)
    else:
        bound = replace(read_bound(_number_text(plain)), number=plain)
    return NameFilter(
        name, bounds=(RangeBound(operator, bound),), texts=(f"{name}{operator}{plain}",)
    )


def _typed_value(name: str, value: Any) -> Value:
    """A value of Python: a text is this text only; others are meant in all their ways."""
    plain = plain_value(value)
    if plain is None:
        return Value(null=True)
    if isinstance(value, datetime.datetime):
        day = value.time() == datetime.time() and value.tzinfo is None
        texts = (plain, *((plain[:10], f"{plain[:10]} 00:00:00") if day else ()))
        return Value(texts, period=read_value(plain).period)
    if isinstance(value, datetime.date):
        return Value((plain,), period=read_value(plain).period)
    if isinstance(plain, str):
        return exact_text(plain) if isinstance(value, str) else read_value(plain)
    if isinstance(plain, bool):
        return Value(boolean=plain)
    if isinstance(plain, int | float):
        return replace(read_value(_number_text(plain)), texts=())
    raise UsageError(
        f"where: {name} = {quote_value(value)}: give a text, a number, a boolean, a date, None, "
        "a list of these, or bounds: {'>=': 1780}."
    )


def _number_text(number: int | float) -> str:
    is_whole = isinstance(number, float) and number.is_integer()
    return str(int(number)) if is_whole else repr(number)


def find_name(name: object, names: Sequence[str]) -> str:
    """The name of metadata that is meant.

    Raises:
        UsageError: there is no such name, or there are several.
    """
    if name in names:
        return str(name)
    near = [known for known in names if isinstance(name, str) and _fold(known) == _fold(name)]
    if len(near) == 1:
        return near[0]
    if near:
        listed = ", ".join(map(quote_value, near))
        raise UsageError(f"{quote_value(name)} may mean {listed}: write one of them exactly.")
    shown = ", ".join(names[:_SHOWN_NAMES])
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    known = f"there is: {shown}{more}" if names else "no document has any"
    raise UsageError(
        f"No document has metadata {quote_value(name)}; {known}.{did_you_mean(str(name), names)}"
    )


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", " ".join(name.split()).casefold())
