"""Front matter: lines of `key: value` before a note, between two lines `---`.

Knows the part of YAML that notes use: texts, numbers, quotes, lists, texts of several lines. Does
not know the rest of YAML, builds no objects, and refuses no note: a line that is no `key: value`
belongs to the value above it. TOML between two lines `+++` is read too.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rag_vqa.formats.mapping import parse_scalar

_FRONT: Final = re.compile(
    r"\s{0,100}---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE
)
_TOML: Final = re.compile(
    r"\s{0,100}\+\+\+[ \t]*\r?\n(.*?)^\+\+\+[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE
)
_MAX_FRONT: Final = 256 * 1024  # characters
_PAIR: Final = re.compile(r"(\"[^\"]+\"|'[^']+'|[^\s:#\-][^:]*?)[ \t]*:(?:[ \t]+(.*))?")
_COMMENT: Final = re.compile(r"\s#(?=\s|$)")
_BLOCK: Final = re.compile(r"[|>][+-]?\d?")
_ESCAPES: Final = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "/": "/"}


def split_front_matter(source: str) -> tuple[dict[str, Any], str]:
    """The values of the front matter by key, and the text after it.

    >>> split_front_matter("---\\nyear: 1750\\ntags: [blue, 'china']\\n---\\nText.")
    ({'year': 1750, 'tags': ('blue', 'china')}, 'Text.')
    """
    front = _FRONT.match(source)
    if front and len(front[1]) <= _MAX_FRONT:
        lines = [line for line in front[1].splitlines() if line.strip()]
        first = next((line for line in lines if not line.lstrip().startswith("#")), "")
        if not first or _PAIR.fullmatch(first.rstrip()):
            return dict(_read_pairs(front[1])), source[front.end() :]
    toml = _TOML.match(source)
    if toml and len(toml[1]) <= _MAX_FRONT:
        try:
            return _plain(tomllib.loads(toml[1])), source[toml.end() :]
        except (tomllib.TOMLDecodeError, RecursionError):
            return {}, source
    return {}, source


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}


@dataclass(slots=True)
class _Value:
    """A value under way: what stands after its key, and the lines below."""

    first: str
    lines: list[str] = field(default_factory=list)

    def read(self) -> Any:
        first = _without_comment(self.first)
        if _BLOCK.fullmatch(first):
            return _join_block(self.lines, folds=first[0] == ">")
        lines = [line.strip() for line in self.lines if line.strip()]
        lines = [line for line in lines if not line.startswith("#")]
        if not first and lines and lines[0].startswith("-"):
            return tuple(_read_items(lines))
        if not first and lines and _PAIR.fullmatch(lines[0]) and self.lines[0][:1] in " \t":
            return dict(_read_pairs("\n".join(line[_indent(self.lines) :] for line in self.lines)))
        whole = " ".join([first, *lines]).strip()
        if whole.startswith("[") and whole.endswith("]"):
            return tuple(_read_scalar(part) for part in _split_flow(whole[1:-1]) if part)
        return _read_scalar(whole)


def _indent(lines: list[str]) -> int:
    filled = [line for line in lines if line.strip()]
    return min((len(line) - len(line.lstrip()) for line in filled), default=0)


def _read_pairs(front: str) -> Iterator[tuple[str, Any]]:
    """Keys and values; a key that is repeated has all its values."""
    values: dict[str, list[_Value]] = {}
    current: _Value | None = None
    for line in front.splitlines():
        pair = _PAIR.fullmatch(line.rstrip())
        if pair:
            current = _Value((pair[2] or "").strip())
            values.setdefault(pair[1].strip("\"' "), []).append(current)
        elif current is not None and not line.startswith("#") and (line.strip() or current.lines):
            current.lines.append(line)
    for key, found in values.items():
        read = [value.read() for value in found]
        kept = [value for value in read if value not in ("", ())]
        if kept:
            yield key, kept[0] if len(kept) == 1 else tuple(dict.fromkeys(map(_hashable, kept)))


def _hashable(value: Any) -> Any:
    return str(value) if isinstance(value, dict) else value


def _read_items(lines: list[str]) -> Iterator[Any]:
    items: list[str] = []
    for line in lines:
        if line.startswith("-"):
            items.append(line[1:].strip())
        elif items:
            items[-1] = f"{items[-1]} {line}".strip()
    for item in items:
        if item:
            yield _read_scalar(item)


def _read_scalar(text: str) -> Any:
    """A text in quotes as it is; else a number, if it is written like one."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if len(text) > 1 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), text[1:-1])
    text = _without_comment(text)
    if text in ("~", "null", "Null", "NULL"):
        return ""
    if text in ("true", "True", "false", "False"):
        return text.lower() == "true"
    return parse_scalar(text)


def _without_comment(text: str) -> str:
    if text[:1] in ("'", '"', "["):
        closing = {"'": "'", '"': '"', "[": "]"}[text[0]]
        end = text.rfind(closing)
        found = _COMMENT.search(text, end) if end > 0 else None
    else:
        found = _COMMENT.search(text)
        if text.startswith("#"):
            return ""
    return text[: found.start()].strip() if found else text.strip()


def _split_flow(text: str) -> Iterator[str]:
    """The parts of `a, "b, c", d`."""
    part, quote = "", ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'" and not part.strip():
            quote = character
        elif character == ",":
            yield part.strip()
            part = ""
            continue
        part += character
    yield part.strip()


def _join_block(lines: list[str], folds: bool) -> str:
    """A text of several lines below `|` or `>`."""
    indent = _indent(lines)
    plain = [line[indent:].rstrip() for line in lines]
    text = "\n".join(plain).strip()
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text) if folds else text
