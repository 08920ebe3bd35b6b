"""Marks of Markdown beyond the standard: Obsidian's links, footnotes, names with blanks, templates.

Knows how such marks are read as text, and how a parser is kept from taking too long. Does not know
sections (markdown.py).
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote

MAX_INLINE: Final = 20_000  # characters parsed at once: some marks cost the square of their number
_MAX_BRACKETS: Final = 100  # in a piece that is parsed at once
_MANY_BRACKETS: Final = 20
_MAX_NESTING: Final = 100
_DEEP: Final = re.compile(
    r"^((?:[ \t]{0,3}(?:>|[-*+](?=[ \t])|\d{1,9}[.)](?=[ \t]))[ \t]?){40})"
    r"(?:[ \t]{0,3}(?:>|[-*+](?=[ \t])|\d{1,9}[.)](?=[ \t]))[ \t]?)+",
    re.MULTILINE,
)
_WIKILINK: Final = re.compile(r"(!?)\[\[([^\[\]\n|]{1,500})(?:\|([^\[\]\n]{0,500}))?\]\]")
_LOOSE_LINK: Final = re.compile(
    r"(!?)\[([^\[\]\n]{0,500})\]\(\s*<?([^()<>\n\"]{1,500}?)>?"
    r"(?:\s+[\"']([^\n\"']{0,500})[\"'])?(?:\s+=\d*x\d*)?\s*\)"
)
_SIZE: Final = re.compile(r"\d+(?:x\d+)?")
_PICTURE: Final = re.compile(
    r"\.(?:png|jpe?g|jpe|jfif|webp|gif|bmp|tiff?|avif|hei[cf]|jxl|svg)$", re.IGNORECASE
)
_FOOTNOTE: Final = re.compile(r"\[\^([^\]\s]{1,60})\](:[ \t]*)?")
_CALLOUT: Final = re.compile(r"^\[!([A-Za-z]+)\][+-]?[ \t]*(\S?)")
_HIGHLIGHT: Final = re.compile(r"==(\S(?:[^=\n]{0,500}\S)?)==")
_HIDDEN: Final = re.compile(r"(?<!\S)%%[^%\n]{1,2000}%%(?!\S)|\{%-?[^%\n]{1,500}%\}")
_DROPPED_LINES: Final = re.compile(
    r"^[ \t]*(?::{3,}.{0,200}|\[\[?_?toc_?\]?\]|\{:[^}\n]{0,300}\}|%%.{0,2000}%%)[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_HEADING_MARK: Final = re.compile(r"\s*\{[:]?\s*((?:[#.][^\s{}]+\s*|[\w-]+=[^\s{}]+\s*)+)\}\s*$")


def make_parser() -> Any:
    """A parser of CommonMark with tables; it leaves what is within lines to `parse_inline`."""
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import reference

    def read_reference(state: Any, start: int, end: int, silent: bool) -> bool:
        """`[^1]: Text` is a footnote, not the address of a link."""
        line = state.src[state.bMarks[start] + state.tShift[start] : state.eMarks[start]]
        return not line.startswith("[^") and reference(state, start, end, silent)

    parser = MarkdownIt("commonmark", {"maxNesting": _MAX_NESTING})
    parser.enable(["table", "strikethrough"])
    parser.block.ruler.at("reference", read_reference)
    parser.inline.ruler.before("link", "wikilink", _read_wikilink)
    parser.inline.ruler.after("image", "loose_link", _read_loose_link)
    parser.core.ruler.disable(["inline"])
    return parser


def prepare_source(body: str) -> str:
    """The source without lines that only programs read, and without absurd depth."""
    end = body.rfind("-->") + 1
    if "<!--" in body[end:]:  # a comment without an end would take all that follows away
        body = body[:end] + body[end:].replace("<!--", "")
    return _DEEP.sub(r"\1", body.replace("\0", "\ufffd"))


def parse_inline(parser: Any, content: str, environment: dict[str, Any]) -> list[Any]:
    """The tokens within a paragraph, a heading or a cell.

    Args:
        environment: what the parser found in the whole text: addresses of links by name.
    """
    from markdown_it.token import Token

    tokens: list[Any] = []
    if len(content) < 200 and _DROPPED_LINES.fullmatch(content):
        return tokens
    for piece in _cut(_DROPPED_LINES.sub("", content) if "\n" in content else content):
        if piece.count("[") > _MANY_BRACKETS and 2 * piece.count("]") < piece.count("["):
            tokens.append(Token("text", "", 0, content=piece))  # no links, and slow to find out
        else:
            parser.inline.parse(piece, parser, environment, tokens)
    return tokens


def clean_text(text: str) -> str:
    """A text between marks, without marks that the parser does not know."""
    if "[" in text:
        text = _CALLOUT.sub(lambda m: m[2] or m[1].capitalize(), text)
        text = _FOOTNOTE.sub("", text)
    if "==" in text:
        text = _HIGHLIGHT.sub(r"\1", text)
    return _HIDDEN.sub("", text) if "%" in text else text


def heading_anchor(heading: str) -> tuple[str, str]:
    """A heading without its marks for programs, and the anchor that they name.

    >>> heading_anchor("Care {#care .wide}")
    ('Care', 'care')
    """
    found = _HEADING_MARK.search(heading)
    if not found:
        return heading, ""
    names = [word[1:] for word in found[1].split() if word.startswith("#")]
    return heading[: found.start()].rstrip(), names[0] if names else ""


def _cut(content: str) -> list[str]:
    """Pieces that are parsed in a moment, cut before a link or at a blank."""
    pieces: list[str] = []
    while len(content) > MAX_INLINE or content.count("[") > _MAX_BRACKETS:
        limit, opened = min(len(content), MAX_INLINE), -1
        for _ in range(_MAX_BRACKETS):
            opened = content.find("[", opened + 1)
            if opened < 0:
                break
        limit = min(limit, opened) if opened > 0 else limit
        end = max(content.rfind("\n", 0, limit), content.rfind(" [", 0, limit))
        end = end if end > 0 else content.rfind(" ", 0, limit)
        end = end if end > 0 else limit
        pieces.append(content[:end])
        content = content[end:]
    return [*pieces, content]


def _read_wikilink(state: Any, silent: bool) -> bool:
    """`[[Note]]`, `[[Note|text]]`, `![[vase.jpg|300]]`."""
    if state.src[state.pos] not in "![":
        return False
    found = _WIKILINK.match(state.src, state.pos)
    if found is None:
        return False
    if not silent:
        target, text = found[2].strip(), (found[3] or "").strip()
        if found[1] and _PICTURE.search(target):
            _push_picture(state, target, "" if _SIZE.fullmatch(text) else text, anywhere=True)
        else:
            name = target.rpartition("/")[2].replace("#", " > ").strip(" >")
            state.push("text", "", 0).content = text or name
    state.pos = found.end()
    return True


def _read_loose_link(state: Any, silent: bool) -> bool:
    """`![](my vase.png)`: a name with blanks, which the standard does not take."""
    if state.src[state.pos] not in "![":
        return False
    found = _LOOSE_LINK.match(state.src, state.pos)
    if found is None or (found[1] and not _PICTURE.search(found[3].partition("?")[0].strip())):
        return False
    if not found[1] and not re.search(r"[./#]", found[3]):
        return False  # a remark in brackets, and one more after it
    if not silent:
        if found[1]:
            _push_picture(state, found[3].strip(), found[2].strip() or found[4] or "")
        else:
            state.push("text", "", 0).content = found[2]
    state.pos = found.end()
    return True


def _push_picture(state: Any, address: str, text: str, *, anywhere: bool = False) -> None:
    token = state.push("image", "img", 0)
    token.attrs = {"src": quote(address, safe="/:\\#?&="), "title": text}
    token.meta = {"anywhere": anywhere}
    token.children = []
