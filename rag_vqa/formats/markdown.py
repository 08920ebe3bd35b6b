"""Markdown: front matter, title and text become fields of a document.

Knows these two conventions of Markdown and leaves the rest of the text as it is. Does not know
YAML: front matter is lines of `key: value` between two lines `---`, and builds no objects.

A key that is a text field (title, section, parent, url …) sets that field; any other key becomes
metadata. Items of a list, and other lines that belong to the key above, are joined by commas. The
first heading of level one is the title, unless front matter gives one, and leaves the text.
"""

from __future__ import annotations

import re
from typing import Any

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import FIELDS
from rag_vqa.formats.mapping import IMAGES, parse_scalar
from rag_vqa.formatting import quote_value

_KEYS = frozenset(FIELDS) - {"id", "text", "metadata", *IMAGES}
_FRONT = re.compile(r"---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_PAIR = re.compile(r"([^\s:#\-][^:]*?)[ \t]*:(?:[ \t]+(.*))?")
_HEADING = re.compile(r"#[ \t]+(.+?)(?:[ \t]+#+)?[ \t]*")
_FENCE = re.compile(r" {0,3}(?:```|~~~)")


def parse_markdown(source: str) -> dict[str, Any]:
    """The text, and fields from its front matter and first heading.

    >>> parse_markdown("---\\nyear: 1750\\n---\\n# Vase\\n\\nBlue.\\n")
    {'title': 'Vase', 'text': 'Blue.', 'metadata': {'year': 1750}}

    Raises:
        BadInput: a line of the front matter is not `key: value`, or a key is repeated.
    """
    front = _FRONT.match(source)
    pairs = _parse_front_matter(front[1]) if front else {}
    body = source[front.end() :] if front else source
    fields: dict[str, Any] = {key: value for key, value in pairs.items() if key in _KEYS}
    if "title" not in fields:
        title, body = _split_title(body)
        fields["title"] = title
    fields["text"] = body.strip()
    fields["metadata"] = {k: parse_scalar(v) for k, v in pairs.items() if k not in _KEYS and v}
    return fields


def _parse_front_matter(front: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    key = ""
    for number, line in enumerate(front.splitlines(), 2):  # the first is the opening one
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        pair = _PAIR.fullmatch(line.rstrip())
        if pair:
            key = pair[1]
            if key in pairs:
                raise BadInput(
                    f"line {number}: {quote_value(key)} is repeated in the front matter."
                )
            pairs[key] = _strip_quotes(pair[2] or "")
        elif key and line[0] in " \t-":
            part = _strip_quotes(line.strip().removeprefix("-"))
            pairs[key] = f"{pairs[key]}, {part}" if pairs[key] else part
        else:
            raise BadInput(
                f"line {number} of the front matter, {quote_value(line)}, is not `key: value`."
            )
    return pairs


def _strip_quotes(value: str) -> str:
    value = value.strip()
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def _split_title(body: str) -> tuple[str, str]:
    """The first heading of level one outside of code blocks, and the text without it."""
    fenced, at = False, 0
    for line in body.splitlines(keepends=True):
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced and (heading := _HEADING.fullmatch(line.rstrip("\r\n"))):
            return heading[1], body[:at] + body[at + len(line) :]
        at += len(line)
    return "", body
