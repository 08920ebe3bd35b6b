"""How likely each choice is, from the likeliest first tokens that a server reports.

It knows tokens as texts. It does not know the tokenizer: a choice longer than a token is weighed
by its first one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from typing import Any

from rag_vqa.errors import UsageError
from rag_vqa.readers.exchange import Body, choices
from rag_vqa.readers.failures import Asked, Failure

TOP = 20  # the most that OpenAI's and vLLM's servers report unless told otherwise
_WHO = "vLLM, SGLang, llama.cpp and Ollama document them, transformers serve ignores the wish"


def check_choices(names: Sequence[str]) -> None:
    """Raises UsageError for fewer than two, for an empty one, and for one that begins another."""
    if len(names) < 2 or any(b.startswith(a) for a, b in permutations(names, 2)):
        raise UsageError(
            f"choices {list(names)!r}: give two or more, none of which begins another: a server "
            "tells the first token alone"
        )


async def likeliest(client: Any, request: Body, asked: Asked) -> list[tuple[str, float]]:
    """(token, log probability) of the likeliest first tokens. Raises Failure if none are told."""
    more = {"max_tokens": 1, "logprobs": True, "top_logprobs": TOP}
    answer = await client.chat.completions.create(**request | more)
    for choice in choices(answer, asked):
        for place in (choice.logprobs and choice.logprobs.content) or ():
            return [(each.token, each.logprob) for each in place.top_logprobs]
    raise Failure(f"{asked.server} tells no log probabilities, which choices need: {_WHO}")


def shares(tokens: Sequence[tuple[str, float]], names: Sequence[str]) -> list[float]:
    """How the probability of the choices is shared among them; one that no token begins gets 0.

    Of several tokens that begin a choice the longest is taken, which is how it would be written.

    >>> [round(p, 3) for p in shares([("yes", -0.1), ("no", -2.5), ("ye", -9.0)], ["yes", "no"])]
    [0.917, 0.083]

    Raises:
        Failure: no choice is among them.
    """
    found = [
        max(
            ((len(token), math.exp(p)) for token, p in tokens if token and name.startswith(token)),
            default=(0, 0.0),
        )[1]
        for name in names
    ]
    total = sum(found)
    if not total:
        likely = ", ".join(repr(token) for token, _ in tokens[:3])
        raise Failure(
            f"none of {list(names)!r} is among the {len(tokens)} likeliest first tokens "
            f"({likely}, …): put the question so that the model answers with them"
        )
    return [p / total for p in found]
