"""How likely each choice is, from the likeliest first tokens that a server reports.

It knows tokens as texts. It does not know the tokenizer: a choice longer than a token is weighed
by its first one, in all its spellings ("yes", " Yes", "▁YES").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from typing import Any

from rag_vqa.errors import UsageError
from rag_vqa.readers.exchange import Body, choices, put
from rag_vqa.readers.failures import Asked, Failure

TOP = 20  # the most that OpenAI's and vLLM's servers report unless told otherwise
_WHO = "vLLM, SGLang, llama.cpp and Ollama document them, transformers serve ignores the wish"
_SPACES = " \t\r\n\u2581\u0120"  # as tokenizers write a leading one: SentencePiece's ▁, GPT-2's Ġ


def check_choices(names: Sequence[str]) -> None:
    """Raises UsageError for fewer than two, for an empty one, and for one that begins another."""
    folded = [_folded(name) for name in names]
    if len(names) < 2 or any(b.startswith(a) for a, b in permutations(folded, 2)):
        raise UsageError(
            f"choices {list(names)!r}: give two or more, none of which begins another, be it in "
            "capitals: a server tells the first token alone"
        )


async def likeliest(client: Any, request: Body, asked: Asked) -> list[tuple[str, float]]:
    """(token, log probability) of the likeliest first tokens. Raises Failure if none are told."""
    more = {"max_tokens": 1, "logprobs": True, "top_logprobs": TOP}
    answer = await put(client, request | more, asked)
    for choice in choices(answer, asked):
        places = getattr(getattr(choice, "logprobs", None), "content", None)
        for place in places if isinstance(places, list) else ():
            if told := _told(getattr(place, "top_logprobs", None)):
                return told
    raise Failure(f"{asked.server} tells no log probabilities, which choices need: {_WHO}")


def _told(top: Any) -> list[tuple[str, float]]:
    """Those entries that are what they should be."""
    entries = top if isinstance(top, list) else []
    pairs = [(getattr(e, "token", None), getattr(e, "logprob", None)) for e in entries]
    return [
        (token, float(p))
        for token, p in pairs
        if isinstance(token, str) and isinstance(p, int | float) and p <= 0
    ]


def shares(tokens: Sequence[tuple[str, float]], names: Sequence[str]) -> list[float]:
    """How the probability of the choices is shared among them.

    Spellings of a choice (capitals, a space before it) count together. Of tokens that begin it the
    longest is taken, which is how it would be written. A choice that is not among the tokens is
    given the most that it can have: the least of what is told, or what is left of 1.

    Args:
        tokens: (token, natural log of its probability), the likeliest first tokens.
    Raises:
        Failure: no choice is among them.

    >>> [round(p, 3) for p in shares([("Yes", -0.1), (" no", -2.5), ("ye", -9.0)], ["yes", "no"])]
    [0.917, 0.083]
    """
    told = [(_folded(token), math.exp(p)) for token, p in tokens]
    found = [_of(told, _folded(name)) for name in names]
    if not sum(found):
        likely = ", ".join(repr(token) for token, _ in tokens[:3])
        raise Failure(
            f"none of {list(names)!r} is among the {len(tokens)} likeliest first tokens "
            f"({likely}, …): put the question so that the model answers with them"
        )
    weights = [p for _, p in told]
    bound = min(*weights, max(0.0, 1 - sum(weights)))
    found = [p or bound for p in found]
    return [p / sum(found) for p in found]


def _of(told: Sequence[tuple[str, float]], name: str) -> float:
    """Probability of the longest token that begins `name`, of all its spellings; 0 if none does."""
    begin = [(len(token), p) for token, p in told if token and name.startswith(token)]
    longest = max((length for length, _ in begin), default=0)
    return sum(p for length, p in begin if length == longest)


def _folded(token: str) -> str:
    return token.strip(_SPACES).casefold()
