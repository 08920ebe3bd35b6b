"""The tree of a web page: its nodes in order, and which of them nobody sees.

Knows elements, their attributes, and what makes an element invisible. Does not know sections, nor
what belongs to a page's frame (web_furniture.py). Nothing here is recursive: trees may be deep.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Node: TypeAlias = Any  # selectolax.lexbor.LexborNode: an optional dependency
Attributes: TypeAlias = Mapping[str, str | None]
TEXT: Final = "-text"
_NO_ATTRIBUTES: Final[Attributes] = {}
HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
# Elements whose content is no text of the page.
UNSEEN: Final = frozenset(
    """script style template head title meta link base noscript iframe frame object embed applet
    canvas svg audio video track source map datalist progress meter dialog rp rt portal
    input select textarea optgroup option""".split()  # noqa: SIM905
)
BLOCKS: Final = frozenset(
    """address article aside blockquote body center dd details dialog dir div dl dt fieldset
    figcaption figure footer form frameset h1 h2 h3 h4 h5 h6 header hgroup hr html legend li
    listing main menu nav noframes ol p plaintext pre search section summary table tbody td tfoot
    th thead tr caption ul xmp""".split()  # noqa: SIM905
)
_HIDING_STYLE: Final = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|mso-hide\s*:\s*all", re.IGNORECASE
)
_BLOCK_STYLE: Final = re.compile(r"display\s*:\s*(?:block|flex|grid|table|list-item)", re.I)
_HIDING_CLASSES: Final = frozenset(
    """hidden d-none is-hidden visually-hidden visuallyhidden sr-only screen-reader-text
    mw-jump-link u-hidden a11y-hidden assistive-text element-invisible offscreen""".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class Step:
    """A text, or the beginning or end of an element."""

    node: Node
    tag: str  # "-text" of a text
    attributes: Attributes
    begins: bool


def walk_tree(root: Node, is_left_out: Callable[[Node, str, Attributes], bool]) -> Iterator[Step]:
    """The nodes of a tree in the page's order; each element twice.

    Elements that are left out do not come at all, and neither does what is in them.
    """
    node = root
    open_elements: list[Step] = []
    while True:
        tag, child = node.tag or "", None
        if tag == TEXT:
            yield Step(node, tag, _NO_ATTRIBUTES, True)
        elif not tag.startswith(("-", "!")):
            attributes = node.attributes
            if not is_left_out(node, tag, attributes):
                yield Step(node, tag, attributes, True)
                child = node.child
                if child is None:
                    yield Step(node, tag, attributes, False)
                else:
                    open_elements.append(Step(node, tag, attributes, False))
        if child is None:
            while open_elements and (child := node.next) is None:
                step = open_elements.pop()
                yield step
                node = step.node
            if child is None:
                return
        node = child


def words_of(value: str | None) -> list[str]:
    """Classes or roles, in lower case."""
    return (value or "").lower().split()


def is_hidden(tag: str, attributes: Attributes) -> bool:
    """Whether an element is invisible by what it says itself."""
    if "hidden" in attributes and (attributes["hidden"] or "").lower() != "until-found":
        return True
    style = attributes.get("style")
    if style and _HIDING_STYLE.search(style):
        return True
    classes = words_of(attributes.get("class"))
    # `hidden md:block` and `d-none d-md-block` are shown on large screens.
    return not _HIDING_CLASSES.isdisjoint(classes) and not any(
        ":" in name or name.startswith(("d-sm-", "d-md-", "d-lg-", "d-xl-")) for name in classes
    )


def is_block(tag: str, attributes: Attributes) -> bool:
    """Whether an element stands on lines of its own."""
    style = attributes.get("style")
    return tag in BLOCKS or bool(style and _BLOCK_STYLE.search(style))


def find_all(root: Node, tags: Collection[str]) -> list[Node]:
    """All elements of some kinds below a node, in order."""
    return [node for node in root.traverse() if node.tag in tags]


def text_below(root: Node) -> str:
    """All text of an element, with blanks as they are."""
    return str(root.text(deep=True, separator="", strip=False))
