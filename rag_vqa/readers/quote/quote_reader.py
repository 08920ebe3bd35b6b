"""The quote reader: answers with a sentence of the documents, word for word, or with "unknown".

Knows prompts, quotation marks, citations and the Reader protocol. Does not know how sentences are
ranked (sentence_ranking.py), and looks at no picture: pictures only help to find documents. What a
document says stays a quotation: it cannot steer this reader, because nothing here follows text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rag_vqa.errors import ReaderError, UsageError
from rag_vqa.readers.base import check_positive
from rag_vqa.readers.quote.sentence_ranking import Candidate, find_answers
from rag_vqa.readers.quote.words import split_words
from rag_vqa.types import Completion, OnText, Prompt, PromptLimits, Scalar, TextPart

NAME = "quote"
UNKNOWN = "unknown"
THRESHOLD = 0.43  # set on the development half of benchmarks/museum_questions.jsonl
NO_DOCUMENTS = "There are no documents to quote from."
NO_SENTENCE = "No sentence of these documents seems to answer the question."
QUOTATION = "A quotation, chosen by its words; no model has read the documents."
_VERSION = 1  # of the ranking: records tell answers of another one apart
_CONTEXT, _IMAGES, _ANSWER = 10_000_000, 1_000_000, 256
_STEEPNESS = 12.0  # of the probability around the threshold
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef"
)
_TOKEN = re.compile(rf"\s*(?:[{_UNSPACED}]|[^\s{_UNSPACED}]+)")
# What `parse_citations` would take for a citation of ours: the document's own "[12]".
_REFERENCE = re.compile(
    r"\s*[\[\u3010\uff3b]\s*\d[\d\s,;\uff0c\u3001\uff1b\u2010-\u2015\u2212-]*[\]\u3011\uff3d]"
)
_EAST_ASIAN = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
_YES = frozenset({"yes", "ja", "oui", "si", "sim", "true"})
_NO = frozenset({"no", "nein", "non", "nee", "false"})


class QuoteReader:
    """Quotes the sentence of the documents that answers the question best.

    Args:
        max_new_tokens: longest answer, in words; a longer quotation is cut there.
        max_context: most words of a prompt; documents beyond are left out, lowest-ranked first.
        threshold: least score, 0 to 1, of a sentence that is quoted.

    Raises:
        UsageError: a number below 1, or a threshold outside 0 … 1.
    """

    name = f"{NAME} {_VERSION}"
    parallel_calls = 1

    def __init__(
        self,
        *,
        max_new_tokens: int = _ANSWER,
        max_context: int = _CONTEXT,
        threshold: float = THRESHOLD,
    ) -> None:
        check_positive(max_new_tokens=max_new_tokens, max_context=max_context)
        if not 0 <= threshold <= 1:
            raise UsageError(f"threshold = {threshold}: give a number from 0 to 1")
        self.max_new_tokens = max_new_tokens
        self.threshold = threshold
        self.limits = PromptLimits(_IMAGES, max_context)

    @property
    def settings(self) -> Mapping[str, Scalar]:
        """What changes answers besides the name."""
        return {
            "max_new_tokens": self.max_new_tokens,
            "max_context": self.limits.context,
            "threshold": self.threshold,
        }

    def count(self, prompt: Prompt) -> int:
        """Number of words of the prompt; pictures count nothing."""
        texts = (part.text for part in prompt.parts if isinstance(part, TextPart))
        return sum(len(_TOKEN.findall(text)) for text in texts)

    def render(self, prompt: Prompt) -> str:
        """The prompt as it is: this reader has no template of its own."""
        return prompt.text

    def generate(
        self,
        prompts: Sequence[Prompt],
        on_text: OnText | None = None,
        max_tokens: Sequence[int | None] | None = None,
    ) -> list[Completion]:
        """A quotation or "unknown" for each prompt; see `Reader.generate`."""
        limits = [None] * len(prompts) if max_tokens is None else max_tokens
        return [
            self._complete(row, prompt, on_text, min(limit or _CONTEXT, self.max_new_tokens))
            for row, (prompt, limit) in enumerate(zip(prompts, limits, strict=True))
        ]

    def _complete(self, row: int, prompt: Prompt, on_text: OnText | None, limit: int) -> Completion:
        self._check_length(prompt)
        whole, note = self._answer(prompt)
        pieces = _TOKEN.findall(whole)
        answer = Completion("", self.count(prompt), 0, note=note)
        for number, piece in enumerate(pieces[:limit], 1):
            answer = replace(answer, text=answer.text + piece, tokens_out=number)
            if on_text is not None and on_text(row, piece) is False:
                return replace(answer, finish="cancelled")
        return answer if len(pieces) <= limit else replace(answer, finish="length")

    def _check_length(self, prompt: Prompt) -> None:
        if (length := self.count(prompt)) > self.limits.context:
            raise ReaderError(
                f"the prompt has {length:,} words and the reader takes {self.limits.context:,}: "
                "raise --max-context, or lower -k"
            )

    def _answer(self, prompt: Prompt) -> tuple[str, str]:
        """The answer, and what to tell people about it."""
        if not prompt.kept:
            return UNKNOWN, NO_DOCUMENTS
        best = next(iter(_candidates(prompt)), None)
        if best is None or best.score < self.threshold:
            return UNKNOWN, NO_SENTENCE
        return quote_sentence(best, prompt.numbered), QUOTATION

    def choice_probability(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[list[float]]:
        """(prompts, choices): from the scores of sentences; see `Reader.choice_probability`.

        "yes" means that a sentence answers the question, "no" that none does. Any other choice
        counts as much as the best sentence that contains its words.
        """
        if len(choices) < 2 or not all(split_words(choice) for choice in choices):
            raise UsageError(f"choices = {list(choices)}: give two or more, each with a word")
        for prompt in prompts:
            self._check_length(prompt)
        return [self._weigh(_candidates(prompt), choices) for prompt in prompts]

    def _weigh(self, found: Sequence[Candidate], choices: Sequence[str]) -> list[float]:
        best = max((each.score for each in found), default=0.0)
        weights = []
        for choice in choices:
            words = split_words(choice)
            if words[0] in _NO and len(words) == 1:
                weights.append(1.0)
                continue
            containing = [each.score for each in found if set(words) <= set(split_words(each.text))]
            score = best if words[0] in _YES and len(words) == 1 else max(containing, default=0.0)
            weights.append(math.exp(_STEEPNESS * (score - self.threshold)))
        return [weight / sum(weights) for weight in weights]


def quote_sentence(found: Candidate, numbered: bool) -> str:
    """The sentence in quotation marks, with the number of its document.

    References of the document itself, such as "[12]", are left out behind it and become "[…]"
    within it, because they would read as ours.

    >>> quote_sentence(Candidate(1, "It was built in 1742.[3]"), numbered=True)
    '“It was built in 1742.” [2]'
    """
    text = _REFERENCE.sub(" […]", found.text).strip()
    while text.endswith("[…]"):
        text = text.removesuffix("[…]").rstrip()
    text = text.removeprefix("[…]").lstrip()
    opening, closing = "「」" if _EAST_ASIAN.search(text) else "“”"
    return f"{opening}{text}{closing}" + (f" [{found.document + 1}]" if numbered else "")


def _candidates(prompt: Prompt) -> list[Candidate]:
    """Sentences of what the prompt shows of its documents, best first."""
    texts = [
        hit.passage.text if hit.document.id in prompt.dropped else hit.document.text
        for hit in prompt.kept
    ]
    return find_answers(_question(prompt), prompt.kept, texts)


def _question(prompt: Prompt) -> str:
    """The question; of a prompt that does not name it, the last text that is not the template's."""
    if prompt.question:
        return prompt.question
    texts = [p.text for p in prompt.parts if isinstance(p, TextPart) and not p.trusted]
    return texts[-1] if texts else ""
