"""Probabilities of choices, from the likeliest first tokens that a server reports.

Knows how tokenizers spell a word's beginning. Does not know how the tokens are asked for
(completion_request.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

from rag_vqa.errors import UsageError
from rag_vqa.readers.remote.request_failures import RequestFailure

TOP_LOGPROBS = 20  # the most that OpenAI's and vLLM's servers report by default
LOGPROBS_SUPPORT = (
    "vLLM, SGLang, llama.cpp and Ollama document them, transformers serve ignores the request"
)
# Leading spaces as tokenizers write them: SentencePiece's ▁, GPT-2's Ġ.
_TOKEN_SPACES = " \t\r\n\u2581\u0120"


def check_choice_names(names: Sequence[str]) -> None:
    """Raises UsageError for fewer than two choices, or if one is empty or the start of another."""
    folded = [_fold_token(name) for name in names]
    if len(names) < 2 or any(b.startswith(a) for a, b in permutations(folded, 2)):
        raise UsageError(
            f"choices {list(names)!r}: give two or more, none of which is the start of another "
            "(ignoring case): a server reports the first token only"
        )


def parse_first_tokens(choice: Mapping[str, Any]) -> list[tuple[str, float]]:
    """(token, log probability) of the likeliest first tokens that a choice reports; [] if none."""
    logprobs = choice.get("logprobs")
    positions = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    for position in positions if isinstance(positions, list) else ():
        if isinstance(position, Mapping):
            top = position.get("top_logprobs")
            # A server that refused to report several tells the token that it chose.
            if tokens := _valid_tokens(top if isinstance(top, list) and top else [position]):
                return tokens
    return []


def _valid_tokens(entries: Sequence[Any]) -> list[tuple[str, float]]:
    pairs = [(e.get("token"), e.get("logprob")) for e in entries if isinstance(e, Mapping)]
    return [
        (token, float(p))
        for token, p in pairs
        if isinstance(token, str) and isinstance(p, int | float) and p <= 0
    ]


def choice_shares(tokens: Sequence[tuple[str, float]], names: Sequence[str]) -> list[float]:
    """The probabilities of the choices, which sum to 1.

    The spellings of a choice (capitals, a leading space) count together. A choice longer than a
    token counts by its first token: the longest reported token that is a start of it. A choice that
    is not reported gets the most that it can have: the smallest reported probability, or what is
    left of 1.

    Args:
        tokens: (token, natural log of its probability), the likeliest first tokens.

    Raises:
        RequestFailure: none of the choices is reported.

    >>> reported = [("Yes", -0.1), (" no", -2.5), ("ye", -9.0)]
    >>> [round(p, 3) for p in choice_shares(reported, ["yes", "no"])]
    [0.917, 0.083]
    """
    reported = [(_fold_token(token), math.exp(p)) for token, p in tokens]
    found = [_longest_match_probability(reported, _fold_token(name)) for name in names]
    if not sum(found):
        likely = ", ".join(repr(token) for token, _ in tokens[:3])
        raise RequestFailure(
            f"none of {list(names)!r} is among the {len(tokens)} likeliest first tokens "
            f"({likely}, …): word the question so that the model answers with one of them"
        )
    weights = [p for _, p in reported]
    bound = min(*weights, max(0.0, 1 - sum(weights)))
    found = [p or bound for p in found]
    return [p / sum(found) for p in found]


def _longest_match_probability(reported: Sequence[tuple[str, float]], name: str) -> float:
    """Probability of the longest token that starts `name`, over all its spellings; 0 without."""
    matches = [(len(token), p) for token, p in reported if token and name.startswith(token)]
    longest = max((length for length, _ in matches), default=0)
    return sum(p for length, p in matches if length == longest)


def _fold_token(token: str) -> str:
    return token.strip(_TOKEN_SPACES).casefold()
