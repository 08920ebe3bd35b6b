"""What a web page says about itself: title, address, language, authors, date.

Knows HTML's own elements, Open Graph, Dublin Core, schema.org, and the comments that browsers,
HTTrack and SingleFile leave in pages that they save. Does not know the text of a page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from rag_vqa.formats.documents.section_builder import collapse_blanks
from rag_vqa.formats.documents.web_tree import Node, find_all, text_below

_SEPARATORS: Final = re.compile(
    r"\s+[|·•»«:/\u2013\u2014\u2022~>-]+\s+|\s*::\s*|\s+\|\s*|\s*\|\s+|: "
)
_EMPTY_TITLES: Final = frozenset(
    """untitled|untitled document|untitled page|new page 1|new page|document|home|index|page|title|
    startseite|welcome|default|no title|unbenannt|unbenanntes dokument|sans titre|sin título"""
    .replace("\n", "").replace("    ", "").split("|")
)  # fmt: skip
_SAVED_FROM: Final = re.compile(
    r"saved from url=\(\d+\)\s*(\S+)"  # Internet Explorer, Chrome
    r"|Page saved with SingleFile.*?url:\s*(\S+)"
    r"|Mirrored from (\S+) by HTTrack"
    r"|Saved by WebSite-Watcher.*?url:\s*(\S+)",
    re.DOTALL | re.IGNORECASE,
)
_AUTHORS: Final = ("author", "dc.creator", "dcterms.creator", "article:author", "citation_author",
                   "parsely-author", "sailthru.author")  # fmt: skip
_DATES: Final = ("article:published_time", "date", "dc.date", "dcterms.date", "dcterms.created",
                 "dc.date.issued", "citation_publication_date", "datepublished", "pubdate",
                 "publish_date", "parsely-pub-date", "article:modified_time", "last-modified",
                 "og:updated_time")  # fmt: skip
_MAX_LINKED_DATA: Final = 2**20  # bytes
_MAX_VALUES: Final = 20
_LONG_TITLE: Final = 300  # characters


@dataclass(slots=True)
class PageFacts:
    """What a page says about itself.

    Attributes:
        title: "" if it has none.
        url: where it came from, or its canonical address; an absolute one.
        base: what `<base href>` says.
        metadata: language, author, date, as far as it says so.
        frames: addresses of its frames, if it consists of them.
        redirect: address of the page that it sends its readers to.
    """

    title: str = ""
    url: str = ""
    base: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    frames: tuple[str, ...] = ()
    redirect: str = ""


def read_facts(tree: Node, first_heading: str, only_heading: bool) -> PageFacts:
    """What a page says about itself.

    Args:
        first_heading: text of its first heading of level one.
        only_heading: whether it has no other of level one.
    """
    root = tree.root
    values = _meta_values(root)
    linked = _linked_data(root)
    facts = PageFacts()
    facts.title = _choose_title(root, values, first_heading, only_heading)
    base = root.css_first("base[href]")
    facts.base = (base.attributes.get("href") or "").strip() if base is not None else ""
    facts.url = _find_address(root, values)
    language = (root.attributes.get("lang") or root.attributes.get("xml:lang") or "").strip()
    language = language or values.get("content-language", [""])[0]
    if re.fullmatch(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8})*", language):
        facts.metadata["language"] = language.replace("_", "-")
    authors = [
        author
        for name in _AUTHORS
        for author in values.get(name, ())
        if not author.lower().startswith(("http:", "https:"))
    ] or _names(linked.get("author"))
    unique = tuple(dict.fromkeys(authors))[:_MAX_VALUES]
    if unique:
        facts.metadata["author"] = unique[0] if len(unique) == 1 else unique
    dates = [date for name in _DATES for date in values.get(name, ())] or [
        date for name in ("datePublished", "dateModified") for date in _names(linked.get(name))
    ]
    if dates:
        facts.metadata["date"] = dates[0]
    facts.frames = tuple(
        frame.attributes["src"]
        for frame in find_all(root, ("frame",))
        if frame.attributes.get("src")
    )
    refresh = values.get("refresh", [""])[0]
    target = re.search(r"url\s*=\s*['\"]?([^'\"\s]+)", refresh, re.IGNORECASE)
    facts.redirect = target[1] if target else ""
    return facts


def _meta_values(root: Node) -> dict[str, list[str]]:
    """The contents of `<meta>`, by name in lower case."""
    values: dict[str, list[str]] = {}
    for node in root.css("meta"):
        attributes = node.attributes
        name = next(
            (
                attributes[key]
                for key in ("name", "property", "itemprop", "http-equiv")
                if attributes.get(key)
            ),
            "",
        )
        content = collapse_blanks(attributes.get("content") or "").strip()
        known = values.setdefault(name.strip().lower(), [])
        if content and len(known) < _MAX_VALUES:
            known.append(content)
    return {name: found for name, found in values.items() if found}


def _choose_title(
    root: Node, values: Mapping[str, list[str]], first_heading: str, only_heading: bool
) -> str:
    """The page's own title, without the name of its site."""
    node = root.css_first("head > title") or root.css_first("title")
    title = collapse_blanks(text_below(node)).strip()[:_LONG_TITLE] if node is not None else ""
    shared = values.get("og:title", values.get("twitter:title", [""]))[0][:_LONG_TITLE]
    heading = first_heading[:_LONG_TITLE]
    for whole in (shared, title):
        parts = [part.strip().casefold() for part in _SEPARATORS.split(whole)]
        if heading and heading.casefold() in (whole.casefold(), *parts):
            return heading
    for whole in (shared, title):
        if whole and whole.casefold() not in _EMPTY_TITLES:
            return _without_site(whole, values.get("og:site_name", [""])[0])
    return heading if only_heading or not title else title


def _without_site(title: str, site: str) -> str:
    """
    >>> _without_site("Blue vase – Museum of Clay", "Museum of Clay")
    'Blue vase'
    """
    if site and title.casefold().endswith(site.casefold()) and len(title) > len(site):
        return title[: -len(site)].rstrip(" |·•»:/–—~>-") or title
    return title


def _find_address(root: Node, values: Mapping[str, list[str]]) -> str:
    """The canonical address, or the one that the page was saved from."""
    saved = _saved_from(root)
    canonical = ""
    for link in root.css("link[rel]"):
        if "canonical" in (link.attributes.get("rel") or "").lower().split():
            canonical = (link.attributes.get("href") or "").strip()
    shared = values.get("og:url", [""])[0]
    for address in (canonical, saved, shared):
        try:
            whole = urljoin(saved or shared, address)
            if address and urlsplit(whole).scheme in ("http", "https") and urlsplit(whole).hostname:
                return str(whole).partition("#")[0]
        except ValueError:
            continue
    return ""


def _saved_from(root: Node) -> str:
    """The address in the comment of a program that saved the page."""
    for comment in _first_comments(root):
        found = _SAVED_FROM.search(comment[:2000])
        if found:
            address = str(next(group for group in found.groups() if group))
            return address if "://" in address else f"http://{address}"
    return ""


def _first_comments(root: Node) -> Iterator[str]:
    """Comments before, in the beginning of, and right after the page's element."""
    document = root.parent
    places = [document.child if document is not None else None, root.child]
    head = root.css_first("head")
    body = root.css_first("body")
    places += [part.child for part in (head, body) if part is not None]
    for first in places:
        node, count = first, 0
        while node is not None and count < 50:
            if node.tag == "-comment":
                yield node.comment_content or ""
            node, count = node.next, count + 1


def _linked_data(root: Node) -> dict[str, Any]:
    """The first object of schema.org that names an author or a date."""
    for node in root.css('script[type="application/ld+json"]')[:_MAX_VALUES]:
        text = text_below(node)
        if len(text) > _MAX_LINKED_DATA:
            continue
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            continue
        graph = data.get("@graph") if isinstance(data, dict) else data
        candidates = graph if isinstance(graph, list) else [data]
        for entry in candidates:
            if isinstance(entry, dict) and ("author" in entry or "datePublished" in entry):
                return entry
    return {}


def _names(value: Any) -> list[str]:
    """Texts of schema.org: a text, an object with a name, or a list of them."""
    entries = value if isinstance(value, list) else [value]
    names = [entry.get("name") if isinstance(entry, dict) else entry for entry in entries]
    return [
        collapse_blanks(name).strip() for name in names if isinstance(name, str) and name.strip()
    ]
