"""Answers: a completion becomes an Answer with its evidence, and its citations are checked.

Knows citations of the text against the documents that the prompt shows. Does not know how an answer
comes about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rag_vqa.prompts.builder import parse_citations
from rag_vqa.types import Answer, Completion, Hit, Prompt, Query


def make_answer(
    query: Query,
    hits: Sequence[Hit],
    prompt: Prompt,
    completion: Completion,
    seconds: Mapping[str, float],
) -> Answer:
    """The answer to a query from its hits; `seconds` by stage."""
    citations = parse_citations(completion.text, len(prompt.kept))
    return Answer(
        text=completion.text.strip(),
        query=query,
        hits=tuple(hits),
        prompt=prompt,
        tokens_in=completion.tokens_in,
        tokens_out=completion.tokens_out,
        finish=completion.finish,
        citations=citations.valid,
        invalid_citations=citations.invalid,
        seconds=seconds,
        error=completion.error,
        model=completion.model,
        reasoning=completion.reasoning,
        reasoning_tokens=completion.reasoning_tokens,
        notes=(completion.note,) if completion.note else (),
    )


def cut_answer(answer: Answer, text: str) -> Answer:
    """The answer with its text cut to `text`, and only the citations that are left in it."""
    citations = parse_citations(text, len(answer.prompt.kept))
    return replace(
        answer,
        text=text.strip(),
        finish="stop",
        citations=citations.valid,
        invalid_citations=citations.invalid,
    )
