"""Headings of web pages: which elements are some, their levels, words and anchors.

Knows roles, what Word writes, and where links to a heading lead. Does not know sections.
"""

from __future__ import annotations

from rag_vqa.formats.documents.section_builder import collapse_blanks
from rag_vqa.formats.documents.web_furniture import PageParts
from rag_vqa.formats.documents.web_tree import HEADINGS, TEXT, Node, Step, walk_tree, words_of


def heading_text(node: Node, parts: PageParts) -> str:
    """The words of a heading, without the signs of links to it."""
    words = []
    for step in walk_tree(node, parts.is_left_out):
        if step.tag == TEXT:
            words.append(step.node.text_content)
        elif step.begins and step.tag in ("br", "img"):
            words.append(f" {step.attributes.get('alt') or ''}")
    return collapse_blanks("".join(words)).strip()


def is_heading(step: Step) -> bool:
    """Whether an element without a heading's tag is one: by its role, or as Word's title."""
    role = step.attributes.get("role")
    return (role is not None and role.strip().lower() == "heading") or (
        step.tag == "p" and "msotitle" in words_of(step.attributes.get("class"))
    )


def heading_level(step: Step) -> int:
    """1 for the highest."""
    level = (step.attributes.get("aria-level") or "").strip()
    if level in ("1", "2", "3", "4", "5", "6"):
        return int(level)
    return HEADINGS.get(step.tag, 1 if step.tag == "p" else 2)


def anchor_of(step: Step) -> str:
    """What a link to a heading has after its `#`."""
    own = step.attributes.get("id")
    if own:
        return own.strip()
    for inner in step.node.iter():
        name = inner.attributes.get("id") or inner.attributes.get("name")
        if name:
            return str(name).strip()
    parent = step.node.parent
    if parent is not None and parent.child is not None and parent.tag in ("section", "div"):
        first = parent.child
        while first is not None and first.tag == TEXT and not first.text_content.strip():
            first = first.next
        if first is not None and first.mem_id == step.node.mem_id:
            return (parent.attributes.get("id") or "").strip()
    return ""
