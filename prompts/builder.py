"""Builds the prompt that a reader gets, from a question and its hits; parses an answer's citations.

Knows what a prompt shows, in which order, under which numbers, in which language the answer is
asked for, and how an answer cites the numbers. Does not know the words around it (template.py),
what fits (budget.py), how a reader tokenises parts, or whether a document supports the sentence
that cites it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import NamedTuple

from rag_vqa.errors import UsageError
from rag_vqa.prompts import budget
from rag_vqa.prompts.budget import PackedDocument
from rag_vqa.prompts.template import (
    Placeholder,
    render_template,
    template_source,
    template_variables,
)
from rag_vqa.types import Document, Hit, ImagePart, Passage, Prompt, PromptLimits, Query, TextPart

QUESTION_IMAGE = "question"  # key of the question's image in `Prompt.dropped`
_HIDDEN_IMAGE = "the reader reads text alone, so the picture only helped to find documents"
_MAX_LANGUAGE_LENGTH = 40
# A longer number is no document, and int() refuses very long ones.
_NUMBER = "[0-9]{1,6}"
_DASH = r"\s*[-\u2010-\u2015\u2212]\s*"
_ITEM = f"{_NUMBER}(?:{_DASH}{_NUMBER})?"
_LIST = rf"\s*({_ITEM}(?:\s*[,;\uff0c\u3001\uff1b]\s*{_ITEM})*)\s*"
# [2], [1, 3], [1-3]; also in full-width brackets, which models write: \u30102\u3011, \uff3b2\uff3d.
_CITATION = re.compile(rf"[\[\u3010\uff3b]{_LIST}[\]\u3011\uff3d]")
_RANGE = re.compile(f"({_NUMBER})(?:{_DASH}({_NUMBER}))?")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A document as templates see it. Missing fields are empty, so they are false in `{% if %}`.

    Attributes:
        number: starts at 1; an answer cites the document by it.
        heading: `title · section`, or only one of them.
        shown: a line "name: text" for each of the metadata that is shown.
        images: the images that fit, in order. Print all of them at once: `{{ doc.images }}`.
    """

    number: int
    title: Placeholder | str
    section: Placeholder | str
    heading: tuple[Placeholder | str, ...]
    shown: tuple[Placeholder | str, ...]
    text: Placeholder | str
    images: tuple[Placeholder, ...]


def build_prompt(
    query: Query,
    hits: Sequence[Hit],
    limits: PromptLimits,
    count: Callable[[Prompt], int],
    template: str = "answer",
    language: str = "",
) -> Prompt:
    """The prompt: question image first, then documents as they rank, each after its images.

    Args:
        query: needs a text; the image is optional.
        hits: by rank, best first; may be empty.
        limits: those of the reader (`Reader.limits`).
        count: number of tokens of a prompt (`Reader.count`).
        template: "answer", "short", "closed-book", or the path of a template file. Its variables
            are `question`, `image`, `hidden_image` (there is one that the reader does not see),
            `documents` (see `Evidence`), `fence` and `language`.
        language: language of the answer, e.g. "German"; "" leaves it to the reader.

    Returns:
        The prompt. Evidence [n] is `kept[n - 1]`; `dropped` names what is not shown, with reasons.

    Raises:
        UsageError: there is no question, or it does not fit; the template does not work, or does
            not use `language` although one is given; the language is not a name.
        Missing: there is no such template.
    """
    if not isinstance(query.text, str) or not query.text.strip():
        raise UsageError('the question is empty: a reader needs one, e.g. "What is this?"')
    source = template_source(template)
    names = template_variables(source)
    if validate_language(language) and "language" not in names:
        raise UsageError(
            f"the template {template} takes no language: put {{{{ language }}}} into it, "
            "or leave out --language"
        )

    is_hidden = query.image is not None and limits.images == 0
    shown = None if is_hidden else query.image

    def draw(packed: Sequence[PackedDocument]) -> Prompt:
        values = {
            "question": _placeholder(query.text),
            "image": "" if shown is None else Placeholder(ImagePart(shown)),
            "hidden_image": is_hidden,
            "documents": [_make_evidence(number, each) for number, each in enumerate(packed, 1)],
            "fence": _fence(query, packed),
            "language": language,
        }
        kept = tuple(each.hit for each in packed)
        parts, numbered = render_template(source, values), ".number" in source
        return Prompt(parts, template, kept, numbered=numbered, question=query.text)

    hidden = {QUESTION_IMAGE: _HIDDEN_IMAGE} if is_hidden else {}
    if "documents" in names:
        prompt = budget.pack_prompt(draw, hits, limits, count)
        return replace(prompt, dropped={**hidden, **prompt.dropped})
    dropped = {hit.document.id: f"the template {template} shows no documents" for hit in hits}
    return replace(budget.pack_prompt(draw, (), limits, count), dropped={**hidden, **dropped})


def check_template(template: str, language: str = "") -> None:
    """Tries the template on made-up questions and documents, without opening images or models.

    Raises:
        UsageError, Missing: as `build_prompt`.
    """
    bare, full = Document("1", "text"), Document("2", "text", "title", "section", (b"picture",))
    hits = [
        Hit(d, Passage(d.id, 0, d.text), rank, 1.0, shown=(("name", "text"),) * (rank - 1))
        for rank, d in enumerate((bare, full), 1)
    ]
    for image in (None, b"picture"):
        build_prompt(
            Query("question", image), hits, PromptLimits(2, 1), lambda prompt: 0, template, language
        )


def _make_evidence(number: int, packed: PackedDocument) -> Evidence:
    document = packed.hit.document
    title, section = _placeholder(document.title), _placeholder(document.section)
    heading = (title, " · ", section) if title and section else (title or section,)
    return Evidence(
        number=number,
        title=title,
        section=section,
        heading=heading if any(heading) else (),
        shown=tuple(map(_placeholder, _shown_lines(packed.hit))),
        text=_placeholder(packed.text),
        images=tuple(Placeholder(ImagePart(image, document.id)) for _, image in packed.images),
    )


def _shown_lines(hit: Hit) -> list[str]:
    return [f"{name}: {text}" for name, text in hit.shown]


def _placeholder(text: str) -> Placeholder | str:
    return Placeholder(TextPart(text)) if text.strip() else ""


def _fence(query: Query, packed: Iterable[PackedDocument]) -> str:
    """The mark at both ends of a document: four hex digits, or more if a text contains these.

    A document cannot know it beforehand, because it depends on the question and on all documents.
    It is the same on every run. It does not depend on the image, so that an image's path and its
    decoded form give the same prompt.

    >>> _fence(Query("Where does it nest?"), ())
    'c17e'
    """
    texts = [query.text]
    for each in packed:
        texts += [each.hit.document.title, each.hit.document.section, each.text]
        texts += _shown_lines(each.hit)
    # Lengths distinguish ("ab", "c") from ("a", "bc"); lone surrogates must not stop a question.
    keyed = "\0".join(f"{len(text)}:{text}" for text in texts)
    digest = sha256(keyed.encode("utf-8", "surrogatepass")).hexdigest()
    lengths = range(4, len(digest) + 1)
    return next(digest[:n] for n in lengths if not any(digest[:n] in text for text in texts))


def validate_language(language: str) -> str:
    """The language's name, checked: letters with single spaces or hyphens between them, or "".

    The name becomes trusted text of the template, which nothing neutralises. A name from outside
    must therefore not contain a sentence, a marker or a newline.

    >>> validate_language("Brazilian Portuguese"), validate_language("")
    ('Brazilian Portuguese', '')

    Raises:
        UsageError: it is anything else.
    """
    words = language.replace("-", " ").split(" ")
    if language and (len(language) > _MAX_LANGUAGE_LENGTH or not all(map(_is_word, words))):
        raise UsageError(
            f"the language {language[:_MAX_LANGUAGE_LENGTH]!r}: give its name in letters, "
            f"at most {_MAX_LANGUAGE_LENGTH}, for instance --language German"
        )
    return language


def _is_word(word: str) -> bool:
    """True for letters, and for the vowel signs that some scripts write as marks."""
    return word[:1].isalpha() and all(
        c.isalpha() or unicodedata.category(c)[0] == "M" for c in word
    )


class Citations(NamedTuple):
    """Numbers in the order of first mention: `valid` ones of documents shown, and all others."""

    valid: tuple[int, ...]
    invalid: tuple[int, ...]


def parse_citations(text: str, evidence: int) -> Citations:
    """The numbers that `text` cites, of documents shown as 1 … evidence.

    >>> parse_citations("In burrows [2], on cliffs [1, 2], as [7] says.", 3)
    Citations(valid=(2, 1), invalid=(7,))
    >>> parse_citations("In burrows [1-3].", 3)
    Citations(valid=(1, 2, 3), invalid=())
    """
    found = " ".join(_CITATION.findall(text))
    pairs: list[tuple[str, str]] = _RANGE.findall(found)
    numbers = dict.fromkeys(
        n for low, high in pairs for n in _numbers_in_range(low, high, evidence)
    )
    valid = tuple(number for number in numbers if 1 <= number <= evidence)
    return Citations(valid, tuple(number for number in numbers if number not in valid))


def _numbers_in_range(first: str, last: str, evidence: int) -> Iterator[int]:
    """All numbers of a range. Of the invalid part only the ends, which may be far apart."""
    low, high = int(first), int(last or first)
    yield low
    yield from range(max(low + 1, 1), min(high, evidence + 1))
    if high != low:
        yield high
