"""Builds the prompt that a reader gets, from a question and its hits.

Knows what a prompt shows, in which order, and in which language the answer is asked for. Does not
know the words around it (template.py), what fits (budget.py), or how a reader tokenises parts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

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

_MAX_LANGUAGE_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Evidence:
    """A document as templates see it; what it lacks is empty, hence false in `{% if %}`.

    Attributes:
        number: from 1; what an answer cites.
        heading: `title · section`, or the one of them that there is.
        images: those that fit, in order; print all of them at once: `{{ doc.images }}`.
    """

    number: int
    title: Placeholder | str
    section: Placeholder | str
    heading: tuple[Placeholder | str, ...]
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
        query: with a text; the image is optional.
        hits: by rank, best first; none is fine.
        limits: of the reader (`Reader.limits`).
        count: tokens of a prompt (`Reader.count`).
        template: "answer", "short", "closed-book", or the path of a template file, which is given
            `question`, `image`, `documents` (see `Evidence`), `fence` and `language`.
        language: of the answer, e.g. "German"; "" leaves it to the reader.

    Returns:
        The prompt; evidence [n] is `kept[n - 1]`, and `dropped` says what is not shown and why.

    Raises:
        UsageError: no question, a question that does not fit, a template that does not work or
            takes no language where one is asked for, or what names no language.
        Missing: there is no such template.
    """
    if not query.text.strip():
        raise UsageError('the question is empty: a reader needs one, e.g. "What is this?"')
    source = template_source(template)
    names = template_variables(source)
    if validate_language(language) and "language" not in names:
        raise UsageError(
            f"the template {template} takes no language: put {{{{ language }}}} into it, "
            "or leave out --language"
        )

    def draw(shown: Sequence[PackedDocument]) -> Prompt:
        values = {
            "question": _placeholder(query.text),
            "image": "" if query.image is None else Placeholder(ImagePart(query.image)),
            "documents": [_make_evidence(number, each) for number, each in enumerate(shown, 1)],
            "fence": _fence(query, shown),
            "language": language,
        }
        kept = tuple(each.hit for each in shown)
        return Prompt(render_template(source, values), template, kept, numbered=".number" in source)

    if "documents" in names:
        return budget.pack_prompt(draw, hits, limits, count)
    unseen = {hit.document.id: f"the template {template} shows no documents" for hit in hits}
    return replace(budget.pack_prompt(draw, (), limits, count), dropped=unseen)


def check_template(template: str, language: str = "") -> None:
    """Draws the template on invented questions and documents: nothing is opened, no model loads.

    Raises:
        UsageError, Missing: as `build_prompt`.
    """
    bare, full = Document("1", "text"), Document("2", "text", "title", "section", (b"picture",))
    hits = [Hit(d, Passage(d.id, 0, d.text), rank, 1.0) for rank, d in enumerate((bare, full), 1)]
    for image in (None, b"picture"):
        build_prompt(
            Query("question", image), hits, PromptLimits(2, 1), lambda prompt: 0, template, language
        )


def _make_evidence(number: int, shown: PackedDocument) -> Evidence:
    document = shown.hit.document
    title, section = _placeholder(document.title), _placeholder(document.section)
    heading = (title, " · ", section) if title and section else (title or section,)
    return Evidence(
        number=number,
        title=title,
        section=section,
        heading=heading if any(heading) else (),
        text=_placeholder(shown.text),
        images=tuple(Placeholder(ImagePart(image, document.id)) for _, image in shown.images),
    )


def _placeholder(text: str) -> Placeholder | str:
    return Placeholder(TextPart(text)) if text.strip() else ""


def _fence(query: Query, shown: Iterable[PackedDocument]) -> str:
    """What marks the ends of a document: four hex digits, more where a text holds those.

    A document cannot know it beforehand, for it depends on the question and on all documents;
    it is the same on every run. The image is left out: a path and its decoded picture are one.

    >>> _fence(Query("Where does it nest?"), ())
    'c17e'
    """
    texts = [query.text]
    for each in shown:
        texts += [each.hit.document.title, each.hit.document.section, each.text]
    # Lengths keep ("ab", "c") apart from ("a", "bc"); lone surrogates must not stop a question.
    keyed = "\0".join(f"{len(text)}:{text}" for text in texts)
    digest = sha256(keyed.encode("utf-8", "surrogatepass")).hexdigest()
    lengths = range(4, len(digest) + 1)
    return next(digest[:n] for n in lengths if not any(digest[:n] in text for text in texts))


def validate_language(language: str) -> str:
    """The name, if it can be one: letters, and single spaces or hyphens between them; "" too.

    It stands among the words of the template, which nothing neutralises: a name that came from
    elsewhere must not bring a sentence, a marker or a line of its own.

    >>> validate_language("Brazilian Portuguese"), validate_language("")
    ('Brazilian Portuguese', '')

    Raises:
        UsageError: anything else.
    """
    words = language.replace("-", " ").split(" ")
    if language and (len(language) > _MAX_LANGUAGE_LENGTH or not all(map(_is_word, words))):
        raise UsageError(
            f"the language {language[:_MAX_LANGUAGE_LENGTH]!r}: give its name in letters, "
            f"at most {_MAX_LANGUAGE_LENGTH}, "
            "for instance --language German"
        )
    return language


def _is_word(word: str) -> bool:
    """Letters, and the vowel signs that some scripts write as marks."""
    return word[:1].isalpha() and all(
        c.isalpha() or unicodedata.category(c)[0] == "M" for c in word
    )
