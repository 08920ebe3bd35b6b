"""The frame of a web page, as opposed to what it is about: menus, banners, footers, share buttons.

Knows the elements, roles and class names that sites use for it, and where the main text is. Does
not know what becomes of the main text.

Only what clearly is furniture is left out, as lost text is worse than a menu. Names that mean
several things (`menu`, `header`, `links`) count only if most of the text consists of links. If
hardly any text is left, the whole page is taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from rag_vqa.formats.documents.web_pictures import is_icon
from rag_vqa.formats.documents.web_tree import (
    HEADINGS,
    TEXT,
    UNSEEN,
    Attributes,
    Node,
    is_hidden,
    text_below,
    walk_tree,
    words_of,
)

_CERTAIN: Final = re.compile(
    r"""(?:onetrust|cc-window|cmp-|cybot|usercentrics|didomi|qc-cmp|truste-|iubenda|osano|klaro).*
    |(?:.*[-_])?bread-?crumbs?(?:[-_].*)?|crumbs
    |(?:share|social)(?:daddy|this|[-_]?(?:buttons?|bar|links|icons|tools|media|list|share))?
    |(?:sharedaddy|sd-sharing|addtoany|addthis|a2a_kit|jp-relatedposts).*
    |skip-?(?:links?|nav.*|to-?.*)
    |mw-(?:editsection|jump-link|indicators?|cite-backlink|empty-elt|portlet|hidden-catlinks).*
    |printfooter|catlinks|navbox.*|vertical-navbox|authority-control|sistersitebox|[aftio]mbox
    |ambox-.*|mbox-small|stub|hatnote|noprint|siteSub|contentSub|jump-to-nav|mw-head|mw-panel
    |headerlink|hash-link|anchor-link|anchorjs-link|zeroclipboard-container|clipboard-copy
    |line-?(?:nos?|numbers?|numbers?-rows)|blob-num|gutter
    |(?:copy|copy-?(?:btn|button|code|to-clipboard))(?:-.*)?
    |comment-?(?:respond|form|reply|reply-link)|respond
    |(?:newsletter|subscribe|subscription|sign-?up|mailchimp|mc_embed)(?:[-_].*)?
    |adsbygoogle|advert(?:isement|ising|s)?|ad-(?:container|slot|wrapper|banner|unit)|google-ads?
    |(?:wpadminbar|sphinxsidebar|rst-footer-buttons|rst-versions|wy-nav-side|md-sidebar).*
    |(?:pagination|pager|post-navigation|nav-links|prev-next|page-numbers)(?:[-_].*)?
    |(?:back|scroll)-?(?:to-?)?top
    |entry-(?:meta|footer)|post-?meta|(?:cat|tags|comments|edit|viewcode)-?links?|posted-on|byline
    |related[-_](?:posts|articles|products|content|links|topics|items)|recommendations?
    |you-may-also-like|also-like|widget-area|popup|lightbox
    |msotoc\d?|msotocheading|vector-(?:header|column|page-tool|toc|sticky|dropdown|appearance).*""",
    re.VERBOSE | re.IGNORECASE,
)
_COOKIES: Final = re.compile(
    r"(?:.*[-_])?(?:cookies?|gdpr|consent)(?:[-_].*|banner|notice|bar|law|message|popup|wrapper)?"
)
_CONSENT: Final = re.compile(
    r"accept|agree|consent|allow|privacy|policy|settings|preferences|akzeptier|zustimm|datenschutz|"
    r"accepte|confidentialit|acept|privacidad|accetta|akkoord|toestaan|godkänn|zgadzam|同意|согла",
    re.IGNORECASE,
)
# Elements whose id is made from their heading, as "cookies" in a manual of a server.
_NAMED_BY_HEADING: Final = frozenset(("section", "article", "p", "li", "dt", "dd", "span", "a"))
_LIKELY: Final = re.compile(
    r"""(?:.*[-_])?(?:nav|navi|navigation|navbar|nav-?menu|menu|menubar|sidebar|side-?bar|masthead
    |banner|footer|header|links|toc|table-of-contents|contents|tags|tagcloud|widgets?|topbar
    |languages?|lang|login|toolbar|utility|related|sitemap|left-?col(?:umn)?|right-?col(?:umn)?)
    |(?:nav|menu|sidebar|footer|toc)[-_].*""",
    re.VERBOSE | re.IGNORECASE,
)
_ROLES: Final = {
    "navigation": "nav", "menu": "nav", "menubar": "nav", "tablist": "nav", "toolbar": "nav",
    "search": "search", "banner": "header", "contentinfo": "footer", "complementary": "aside",
    "dialog": "dialog", "alertdialog": "dialog",
}  # fmt: skip
_KINDS: Final = {"nav", "header", "footer", "aside", "form"}
_CONTENT: Final = frozenset(("article", "main", "section", "blockquote", "figure", "li"))
_CONTROLS: Final = frozenset(("input", "select", "textarea", "button"))
_LEGAL: Final = re.compile(
    r"©|\(c\) ?\d{4}|copyright|rights reserved|privacy|powered by|impressum|all rights", re.I
)
_SYMBOLS: Final = re.compile(r"[\W_]{0,3}")
_SENTENCE: Final = 60  # characters of a text that is more than a label
_FEW_WORDS: Final = 15  # characters
_FORM_TEXT: Final = 300  # characters: more is a page within a form, as ASP.NET writes it
_LARGE_TEXT: Final = 5_000  # characters: whatever it is called, it is what the page is about
_ENOUGH_TEXT: Final = 200  # characters of a main text that is one


@dataclass(slots=True)
class _Amounts:
    """What is in an element: characters of its text, of its links, of its sentences, …"""

    text: int = 0
    link_text: int = 0
    sentences: int = 0
    links: int = 0
    controls: int = 0
    headings: int = 0
    pictures: int = 0

    def add(self, other: _Amounts) -> None:
        self.text += other.text
        self.link_text += other.link_text
        self.sentences += other.sentences
        self.links += other.links
        self.controls += other.controls
        self.headings += other.headings
        self.pictures += other.pictures

    @property
    def consists_of_links(self) -> bool:
        return self.links > 1 and self.link_text > self.text // 2


@dataclass(slots=True)
class PageParts:
    """What of a page is read.

    Attributes:
        roots: the elements that contain the main text, in order.
        left_out: `mem_id` of the elements that are furniture or hidden.
    """

    roots: list[Node]
    left_out: set[int] = field(default_factory=set)

    def is_left_out(self, node: Node, tag: str, attributes: Attributes) -> bool:
        return tag in UNSEEN or (node.mem_id in self.left_out)


def find_parts(body: Node) -> PageParts:
    """The main text of a page, and what of it is left out."""
    survey = _Survey(body)
    certain = {key for key, (is_certain, _) in survey.furniture.items() if is_certain}
    likely = {key for key, (_, amounts) in survey.furniture.items()
              if amounts.sentences < _ENOUGH_TEXT
              or amounts.sentences <= 0.6 * survey.total.sentences}  # fmt: skip
    sentences = survey.total.sentences - sum(survey.furniture[key][1].sentences for key in certain)
    for furniture in (certain | likely, certain, set()):
        parts = PageParts([body], survey.hidden | furniture)
        left = _measure(body, parts)
        lost = sentences - left.sentences
        if left.pictures or left.text >= _ENOUGH_TEXT or (left.text and lost <= 2 * left.text):
            break
    if left.text < _SENTENCE and not left.pictures and survey.hidden_text > _ENOUGH_TEXT:
        parts = PageParts([body], certain | likely)  # a script would have shown it
    return _choose_roots(parts, left, survey)


def _choose_roots(parts: PageParts, left: _Amounts, survey: _Survey) -> PageParts:
    """`<main>` if there is text in it, else one `<article>` that is most of the page."""
    mains = [node for node in survey.mains if node.mem_id not in parts.left_out]
    if mains:
        amounts = [_measure(node, parts) for node in mains]
        text, pictures = sum(a.text for a in amounts), sum(a.pictures for a in amounts)
        sentences = left.sentences - sum(a.sentences for a in amounts)  # of the rest
        if text >= _ENOUGH_TEXT or (text >= _FEW_WORDS and sentences < 20 * text):
            return PageParts(mains, parts.left_out)
        if pictures and pictures == left.pictures and sentences < _ENOUGH_TEXT:
            return PageParts(mains, parts.left_out)
    if len(survey.articles) == 1 and survey.articles[0].mem_id not in parts.left_out:
        amount = _measure(survey.articles[0], parts)
        beside = left.sentences - amount.sentences
        if amount.text >= _ENOUGH_TEXT // 2 and beside <= amount.sentences // 10:
            return PageParts(survey.articles, parts.left_out)
    return parts


def _measure(root: Node, parts: PageParts) -> _Amounts:
    """What is in an element without what is left out, and without its headings."""
    amounts = _Amounts()
    for step in walk_tree(root, parts.is_left_out):
        if step.tag == TEXT:
            length = 0 if amounts.headings else len(step.node.text_content.strip())
            amounts.text += length
            amounts.sentences += length if length >= _SENTENCE else 0
        elif step.tag in HEADINGS:
            amounts.headings += 1 if step.begins else -1
        elif step.tag == "img" and step.begins and not is_icon(step.attributes):
            amounts.pictures += 1
    return amounts


class _Survey:
    """One pass over a page: how much text is where, what is hidden, what looks like furniture.

    Attributes:
        furniture: `mem_id` → whether it is furniture for certain, and how much is in it.
    """

    def __init__(self, body: Node) -> None:
        self.hidden: set[int] = set()
        self.hidden_text = 0
        self.furniture: dict[int, tuple[bool, _Amounts]] = {}
        self.mains: list[Node] = []
        self.articles: list[Node] = []
        self._open: list[tuple[str, str, _Amounts]] = []  # tag, kind, what is in it
        self.total = _Amounts()
        self._within_link = 0
        self._within_content = 0
        self._within_main = 0
        for step in walk_tree(body, self._is_unseen):
            if step.tag == TEXT:
                self._add_text(step.node.text_content)
            elif step.begins:
                self._enter(step.node, step.tag, step.attributes)
            else:
                self._leave(step.node, step.tag, step.attributes)

    def _is_unseen(self, node: Node, tag: str, attributes: Attributes) -> bool:
        if tag in _CONTROLS and self._open:
            self._open[-1][2].controls += 1
        if tag == "dialog" and "open" not in attributes:
            return True
        if tag in UNSEEN:
            return True
        if is_hidden(tag, attributes) and tag != "body":
            self.hidden.add(node.mem_id)
            self.hidden_text += len(text_below(node).strip())
            return True
        return False

    def _add_text(self, text: str) -> None:
        length = len(text.strip())
        if length and self._open:
            amounts = self._open[-1][2]
            amounts.text += length
            if self._within_link:
                amounts.link_text += length
            elif length >= _SENTENCE:
                amounts.sentences += length

    def _enter(self, node: Node, tag: str, attributes: Attributes) -> None:
        role = (attributes.get("role") or "").strip().lower()
        kind = _ROLES.get(role) or (tag if tag in _KINDS else "")
        if kind in ("header", "footer") and self._within_content:
            kind = ""  # of an article, not of the page
        is_main = tag == "main" or role == "main"
        if is_main and not self._within_main:
            self.mains.append(node)
        if tag == "article" and not self._within_content:
            self.articles.append(node)
        self._within_main += is_main
        self._within_content += tag in _CONTENT or is_main
        self._within_link += tag == "a"
        self._open.append((tag, kind, _Amounts()))
        amounts = self._open[-1][2]
        amounts.links += tag == "a"
        amounts.pictures += tag == "img" and not is_icon(attributes)
        amounts.headings += tag in HEADINGS

    def _leave(self, node: Node, tag: str, attributes: Attributes) -> None:
        _, kind, amounts = self._open.pop()
        is_main = tag == "main" or (attributes.get("role") or "").strip().lower() == "main"
        self._within_main -= is_main
        self._within_content -= tag in _CONTENT or is_main
        self._within_link -= tag == "a"
        (self._open[-1][2] if self._open else self.total).add(amounts)
        if is_main or tag in ("body", "html"):
            return
        certain = self._judge_name(node, tag, attributes, amounts)
        if certain is None and kind:
            certain = False if self._is_frame(node, kind, amounts) else None
        if certain is not None:
            self.furniture[node.mem_id] = (certain, amounts)

    def _judge_name(
        self, node: Node, tag: str, attributes: Attributes, amounts: _Amounts
    ) -> bool | None:
        """True for furniture by its name, False if it likely is, None if it is not."""
        names = words_of(attributes.get("class"))
        if attributes.get("id") and tag not in _NAMED_BY_HEADING and "section" not in names:
            names.append((attributes["id"] or "").strip().lower())
        if tag == "sup" and "reference" in names:
            return True
        if attributes.get("aria-hidden") == "true" and _SYMBOLS.fullmatch(text_below(node).strip()):
            return True if not amounts.pictures else None
        if not names or tag in HEADINGS:
            return None
        if any(_CERTAIN.fullmatch(name) for name in names):
            return amounts.sentences < _LARGE_TEXT
        if any(_COOKIES.fullmatch(name) for name in names) and amounts.text < _LARGE_TEXT:
            return True if _CONSENT.search(text_below(node)) or not amounts.text else None
        if any(_LIKELY.fullmatch(name) for name in names) and not self._within_content_text():
            if amounts.consists_of_links:
                return False
            if any("foot" in name for name in names) and self._is_legal(node, amounts):
                return False
        return None

    def _within_content_text(self) -> bool:
        return bool(self._within_main)

    def _is_frame(self, node: Node, kind: str, amounts: _Amounts) -> bool:
        """Whether an element with a meaning of its own is part of the page's frame."""
        if kind in ("nav", "dialog", "search", "footer"):
            return True
        if kind == "header":
            return amounts.links > 1 and amounts.sentences < _ENOUGH_TEXT // 2
        if kind == "aside":
            if self._within_content:
                return amounts.consists_of_links
            return amounts.links > 1 and amounts.link_text > amounts.text // 3
        return amounts.controls > 0 and amounts.text < _FORM_TEXT and not amounts.headings

    def _is_legal(self, node: Node, amounts: _Amounts) -> bool:
        return amounts.text < 600 and bool(_LEGAL.search(text_below(node)))
