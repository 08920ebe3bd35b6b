"""The source of a web page, before it is parsed: its encoding, its XHTML, and bounds of its tree.

Knows which encoding a page declares, what XHTML writes otherwise than HTML, and what makes a tree
too deep or too large. Does not know what a page shows.

An HTML parser has to move through all open elements for each new one, and repeats unclosed `<b>` in
each paragraph: a few kilobytes can cost minutes and gigabytes. Elements beyond a depth are opened
no more, as in browsers, so that all text stays.
"""

from __future__ import annotations

import re
import zlib
from typing import Any, Final

from rag_vqa.errors import BadInput
from rag_vqa.formats.encodings import find_declared, find_encoding, is_binary, name_encoding

MAX_PAGE_BYTES: Final = 48 * 2**20  # a hostile one of this size takes a gigabyte of memory
MAX_ELEMENTS: Final = 1_000_000  # Wikipedia's longest pages have 100,000
MAX_DEPTH: Final = 500  # Chromium stops at 512
_MAX_OPEN_STYLES: Final = 16
_MAX_ATTRIBUTES: Final = 300  # of one element: each is compared with all before it
_HARMLESS_BYTES: Final = 2_000  # of a tag, or of a page with few tags
_HARMLESS_PAGE: Final = 4 * 2**20  # attributes of smaller pages take no more than 300 MB
_HEAD_BYTES: Final = 4096  # a page declares its encoding within them
_DECLARED: Final = re.compile(
    rb"""<meta\s[^>]{0,300}?charset\s{0,9}=\s{0,9}["']?\s{0,9}([A-Za-z0-9_:.()-]{1,40})"""
    rb"""|<\?xml\s[^>]{0,200}?encoding\s{0,9}=\s{0,9}["']([A-Za-z0-9_:.()-]{1,40})""",
    re.IGNORECASE,
)
_XHTML: Final = re.compile(rb"<\?xml\s|xmlns\s{0,9}=\s{0,9}[\"']http://www\.w3\.org/1999/xhtml")
_EMPTY_TAG: Final = re.compile(rb"<([A-Za-z][\w:.-]{0,60})((?:\s[^<>]{0,2000})?)/>")
_TAG: Final = re.compile(rb"<(/?)([A-Za-z][^\s/<>]{0,60})")
_ATTRIBUTE: Final = re.compile(
    rb"""[\s/]*+[^\s/>=]++(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>]*+))?+"""
)
_TEMPLATE: Final = re.compile(rb"<(/?)template(?=[\s>])([^>]{0,2000})", re.IGNORECASE)
_VOID: Final = frozenset(
    b"area base br col embed hr img input link meta param source track wbr".split()
)
# Elements that the next one of their kind closes.
_CLOSED_BY_NEXT: Final = frozenset(b"p li dt dd tr td th thead tbody tfoot option optgroup".split())
_STYLES: Final = frozenset(b"a b big code em font i nobr s small strike strong tt u".split())
_RAW: Final = frozenset(b"script style textarea title xmp noframes iframe".split())


def parse_page(data: bytes, label: str = "") -> tuple[Any, str]:
    """The tree of a page, and the name of its encoding for people.

    Args:
        label: its encoding as its server or its archive says.

    Raises:
        BadInput: it is too large, or no text.
    """
    from selectolax.lexbor import LexborHTMLParser

    if len(data) > MAX_PAGE_BYTES:
        raise BadInput(f"the page is over {MAX_PAGE_BYTES // 2**20} MB: divide it.")
    source, name = decode_page(_unpack(data), label)
    if _XHTML.search(source[:_HEAD_BYTES]):
        source = _escape_cdata(_EMPTY_TAG.sub(_close_tag, source))
    if b"shadowroot" in source:
        source = _open_shadow_roots(source)
    return LexborHTMLParser(_bound_depth(source)), name


def _unpack(data: bytes) -> bytes:
    """The page, unpacked if it was saved as servers send it (gzip)."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    unpacker = zlib.decompressobj(wbits=31)
    try:
        page = unpacker.decompress(data, MAX_PAGE_BYTES)
    except zlib.error as error:
        raise BadInput(f"the page is packed (gzip), and damaged ({error}).") from error
    if unpacker.unconsumed_tail:
        raise BadInput(f"the page unpacks to over {MAX_PAGE_BYTES // 2**20} MB: divide it.")
    return page


def decode_page(data: bytes, label: str = "") -> tuple[bytes, str]:
    """A page as UTF-8, and the name of the encoding that it had.

    A byte order mark goes before everything, and what is valid UTF-8 is UTF-8, whatever the page
    declares: programs convert pages and forget the declaration. Then what it declares counts.

    Raises:
        BadInput: it is no text.
    """
    found = find_encoding(data)
    declared = _DECLARED.search(data[:_HEAD_BYTES])
    if declared and not label:
        label = (declared[1] or declared[2]).decode("ascii")
    if found == "utf-8":
        codec = find_declared(label) if label else None
        if codec in ("iso2022_jp", "hz"):  # their bytes are all ASCII
            return _recode(data, codec)
        return data.replace(b"\0", b""), "UTF-8"
    if found in ("cp1252", "iso8859-1") and label:
        codec = find_declared(label) or found
        if codec == "utf-8" and not _is_broken_utf_8(data):
            return data.decode("utf-8", "replace").encode(), "UTF-8"
        if codec not in ("utf-8", "utf-16", "utf-16-le", "utf-16-be"):
            found = codec
    return _recode(data, found)


def _recode(data: bytes, codec: str) -> tuple[bytes, str]:
    text = data.decode(codec, "replace").replace("\0", "")
    if is_binary(text):
        raise BadInput("the file is binary data under a page's name.")
    return text.encode("utf-8", "replace"), name_encoding(codec)


def _is_broken_utf_8(data: bytes) -> bool:
    """Whether most letters beyond ASCII are invalid: then the declaration is wrong."""
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    return broken > sum(character > "\x7f" for character in text) // 2


def _escape_cdata(source: bytes) -> bytes:
    """Text in `<![CDATA[ … ]]>` as HTML writes it."""
    kept: list[bytes] = []
    end = 0
    while (start := source.find(b"<![CDATA[", end)) >= 0:
        closing = source.find(b"]]>", start)
        if closing < 0:
            break
        text = source[start + 9 : closing]
        kept += source[end:start], text.replace(b"&", b"&amp;").replace(b"<", b"&lt;")
        end = closing + 3
    return b"".join((*kept, source[end:]))


def _close_tag(found: re.Match[bytes]) -> bytes:
    """`<a id="x"/>` is an empty element in XHTML, and an open one in HTML."""
    if found[1].lower() in _VOID:
        return found[0]
    return b"<%b%b></%b>" % (found[1], found[2], found[1])


def _open_shadow_roots(source: bytes) -> bytes:
    """Templates that browsers show at once become plain elements."""
    are_shadow: list[bool] = []

    def replace(found: re.Match[bytes]) -> bytes:
        if found[1]:
            is_shadow = are_shadow.pop() if are_shadow else False
            return b"</div" if is_shadow else found[0]
        are_shadow.append(b"shadowroot" in found[2].lower())
        return b"<div" + found[2] if are_shadow[-1] else found[0]

    return _TEMPLATE.sub(replace, source)


def _bound_depth(source: bytes) -> bytes:
    """The source without tags that would make its tree too deep.

    Raises:
        BadInput: it has more tags than a page can have.
    """
    if len(source) < _HARMLESS_BYTES and source.count(b"<") < MAX_DEPTH:
        return source
    tree, counts_all = _OpenElements(), len(source) > _HARMLESS_PAGE
    kept: list[bytes] = []
    end = at = 0
    closed_raw: dict[bytes, int] = {}  # where the next end of such an element is
    while found := _TAG.search(source, at):
        at = found.end()
        name = found[2].lower()
        if not found[1] and name in _RAW:
            at = _end_of_raw(source, name, at, closed_raw)
        elif found[1]:
            tree.close(name)
        elif not (tree.open(name) and tree.count_attributes(source, at, counts_all)):
            kept += source[end : found.start()], b"" if name in _STYLES else b" "
            tag_end = source.find(b">", at)
            end = at = len(source) if tag_end < 0 else tag_end + 1
    return b"".join((*kept, source[end:]))


def _end_of_raw(source: bytes, name: bytes, at: int, ends: dict[bytes, int]) -> int:
    """Where the text of a script or a style ends; without an end only its tag is passed."""
    if ends.get(name, 0) < at:
        closing = re.compile(b"</" + name, re.IGNORECASE).search(source, at)
        ends[name] = closing.start() if closing else len(source)
    return at if ends[name] == len(source) else ends[name]


class _OpenElements:
    """The elements that are open at a place of the source, as far as they cost time."""

    def __init__(self) -> None:
        self._stack: list[bytes] = []
        self._open: dict[bytes, int] = {}
        self._styles: dict[bytes, int] = {}  # a parser opens these anew in each paragraph
        self._open_styles = 0
        self._elements = 0

    def open(self, name: bytes) -> bool:
        """Whether the element may be opened.

        Raises:
            BadInput: there are too many.
        """
        is_flat = name in _VOID or name in _CLOSED_BY_NEXT
        if len(self._stack) >= MAX_DEPTH and not is_flat:
            return False
        if self._open_styles >= _MAX_OPEN_STYLES and name in _STYLES:
            return False
        self._elements += 1 + self._open_styles
        if self._elements > MAX_ELEMENTS:
            raise BadInput(f"the page has over {MAX_ELEMENTS:,} elements: divide it.")
        if is_flat:
            return True
        if name in _STYLES:
            self._styles[name] = self._styles.get(name, 0) + 1
            self._open_styles += 1
        self._stack.append(name)
        self._open[name] = self._open.get(name, 0) + 1
        return True

    def count_attributes(self, source: bytes, at: int, counts_all: bool) -> bool:
        """Whether a tag, after its name, has no more attributes than a parser can compare.

        Raises:
            BadInput: all tags together have too many.
        """
        if not counts_all and source.find(b">", at, at + _HARMLESS_BYTES) >= 0:
            return True
        for number in range(_MAX_ATTRIBUTES):
            attribute = _ATTRIBUTE.match(source, at)
            if attribute is None:
                self._elements += number // 3  # an attribute takes a third of an element's memory
                return True
            at = attribute.end()
        return False

    def close(self, name: bytes) -> None:
        """A closing tag; without an opening one it is harmless."""
        if self._styles.get(name):
            self._styles[name] -= 1
            self._open_styles -= 1
        if self._open.get(name):
            last = b""
            while last != name:
                last = self._stack.pop()
                self._open[last] -= 1
