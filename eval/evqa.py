"""Encyclopedic-VQA's answer scoring: exact match, else BERT answer equivalence (BEM).

Rules: google-research/encyclopedic_vqa, `evaluation_utils.py`. Written anew and held equal by
golden data. Knows texts. Does not know the BEM model: that is a function from outside. Without
one, the score is exact match alone and must be reported under that name.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from typing import TypeAlias

from rag_vqa.errors import BadInput

Bem: TypeAlias = Callable[[str, str, str], float]  # (question, reference, candidate) → P(same)

QUESTION_TYPES = ("templated", "automatic", "multi_answer", "2_hop")
THRESHOLD = 0.5  # of BEM's probability and of the overlap of two lists of answers

_SPAN = "<extra_id_0> "  # what T5 puts before its answers
_PUNCTUATION = str.maketrans("", "", string.punctuation + "‘’´")
_FILLERS = re.compile(r"\b(?:the answer is|a|an|the)\b")
_DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_WORDS = {
    **{word: str(digit) for digit, word in enumerate(_DIGITS)},
    "none": "0",
    "entailment": "yes",
    "true": "yes",
    "contradiction": "no",
    "false": "no",
}


class Unscorable(BadInput, ValueError):
    """A reference or a type that cannot be scored; a ValueError, as the official script raises."""


def preprocess_answer(text: str) -> str:
    """A text as two answers are compared.

    The official table of contractions is left out: it comes after apostrophes are gone, on both
    sides, and is one-to-one, so that it cannot change an equality.

    >>> preprocess_answer("The answer is: Two cats' paws")
    '2 cats paws'
    """
    text = text.lower().replace("\n", " ").replace("\t", " ").strip()
    if text.startswith(_SPAN):
        text = text.replace(_SPAN, "")
    words = _FILLERS.sub(" ", text.translate(_PUNCTUATION)).split()
    return " ".join(_WORDS.get(word, word) for word in words)


def exact_match(reference: str, candidate: str, question_type: str) -> bool:
    """Equality after preprocessing; for multi_answer, lists that overlap by half (IoU ≥ 0.5).

    Args:
        reference: one annotator's answer; the items of multi_answer stand between `&&`.
        candidate: the prediction; its items between commas, " and " or " & ".

    Raises:
        Unscorable: the reference is empty after preprocessing, or the type is unknown.

    >>> exact_match("red&&blue", "Red, blue and green", "multi_answer")
    True
    """
    if question_type not in QUESTION_TYPES:
        known = ", ".join(QUESTION_TYPES)
        raise Unscorable(f"question_type {question_type!r} is none of {known}.")
    if question_type == "multi_answer":
        items = candidate.replace(" and ", ",").replace(" & ", ",").split(",")
        wanted, given = _set(reference.split("&&")), _set(items)
    else:
        wanted, given = _set([reference]), {preprocess_answer(candidate)}
    if not wanted:
        raise Unscorable(f"the reference {reference!r} is empty after preprocessing.")
    return len(wanted & given) / len(wanted | given) >= THRESHOLD


def _set(items: Sequence[str]) -> set[str]:
    return {normal for item in items if (normal := preprocess_answer(item))}


def score_answer(
    question: str, references: Sequence[str], candidate: str, question_type: str, bem: Bem | None
) -> float:
    """1.0 if the candidate answers as one of the references does, else 0.0.

    Args:
        references: one answer of each annotator: the column `answer`, split at `|`.
        bem: asked only where nothing matches exactly; gets `,` for the `&&` of multi_answer.
            None scores by exact match alone, which is another, stricter score.

    Raises:
        Unscorable: no references, one that is empty after preprocessing, or an unknown type.

    >>> score_answer("Which sea?", ["Baltic", "Baltic Sea"], "the Baltic Sea", "automatic", None)
    1.0
    """
    if isinstance(references, str) or not references:
        raise Unscorable(f"references must be a list of at least one answer: {references!r}.")
    # All are looked at before any is believed: an empty one is an error wherever it stands.
    matches = [exact_match(reference, candidate, question_type) for reference in references]
    if any(matches):
        return 1.0
    if bem is None:
        return 0.0
    if question_type == "multi_answer":
        references = [reference.replace("&&", ",") for reference in references]
    return float(any(bem(question, text, candidate) >= THRESHOLD for text in references))
