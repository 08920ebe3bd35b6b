"""Prompt-injection test cases: texts that try to become control or image tokens.

Knows the cases in injection_cases.json, and which tokens a tokenizer itself declares as control
tokens. Compares encoded prompts with and without a case; `rag-vqa doctor --reader` runs it. Does
not use anything from neutralise.py, because a mistake there must not hide itself.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from PIL import Image

from rag_vqa.errors import ReaderError
from rag_vqa.readers.prompt_encoder import PromptEncoder
from rag_vqa.types import ImagePart, Part, Prompt, TextPart

_BRACKETS = {"<": ">", "[": "]"}


@dataclass(frozen=True, slots=True)
class InjectionCase:
    """One attack; several parts are texts that stand side by side in the prompt."""

    kind: str
    parts: tuple[str, ...]


@cache
def load_injection_cases() -> tuple[InjectionCase, ...]:
    """All of them: markers of the known families, turns, fences, templates, unseen characters."""
    text = (files("rag_vqa.readers") / "injection_cases.json").read_text("utf-8")
    return tuple(InjectionCase(each["kind"], tuple(each["parts"])) for each in json.loads(text))


def find_failed_cases(processor: Any, attacks: Sequence[InjectionCase]) -> list[str]:
    """What is wrong, a line each; none is what is hoped for.

    Each attack stands as a document between two of the prompt's own pictures. It fails if a
    control token more than in a bland prompt comes out, if the pictures do not have as many
    placeholders as there, if the prompt is refused, or if its tokens are not counted right.
    """
    encoder = PromptEncoder(processor)
    control = control_tokens(processor.tokenizer)
    bland = _count_control_tokens(encoder, control, ("x",))
    found = []
    for attack in attacks:
        named = f"{attack.kind}: {'|'.join(attack.parts)!a}"
        try:
            got = _count_control_tokens(encoder, control, attack.parts)
        except ReaderError as error:
            found.append(f"{named}: {error}")
            continue
        more = {control[i]: n for i, n in (got - bland).items()}
        fewer = {control[i]: n for i, n in (bland - got).items()}
        if more or fewer:
            found.append(f"{named}: more {more}, fewer {fewer}")
    return found


def count_active_cases(processor: Any, attacks: Sequence[InjectionCase]) -> int:
    """How many of them would become control tokens if nothing were done: 0 would test nothing."""
    control = control_tokens(processor.tokenizer)
    texts = ["".join(a.parts).encode("utf-8", "replace").decode() for a in attacks]
    read = [processor.tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
    return sum(any(i in control for i in ids) for ids in read)


def control_tokens(tokenizer: Any) -> dict[int, str]:
    """Added tokens that are special, or look like markup: by id, as they are written."""
    return {
        number: token.content
        for number, token in tokenizer.added_tokens_decoder.items()
        if number != tokenizer.unk_token_id and (token.special or _is_markup(token.content))
    }


def _is_markup(token: str) -> bool:
    """<image>, [INST], <|im_end|>; `[1]`, which documents are full of, is none."""
    inner = token.strip()[1:-1]
    closed = token.strip()[-1:] == _BRACKETS.get(token.strip()[:1])
    return closed and bool(inner) and not inner.isdigit()


def _count_control_tokens(
    encoder: PromptEncoder, control: dict[int, str], texts: Sequence[str]
) -> Counter[int]:
    """Control tokens of the prompt with these texts, and how often each is there.

    Raises:
        ReaderError: it is refused, or not counted right.
    """
    picture = ImagePart(Image.new("RGB", (64, 48), "grey"))
    parts: list[Part] = [picture, TextPart("Documents:\n", trusted=True)]
    parts += [TextPart(text) for text in texts]
    parts += [TextPart("\n", trusted=True), picture, TextPart("Which?")]
    prompt = Prompt(tuple(parts))
    ids = encoder.encode([prompt])["input_ids"][0].tolist()
    if (counted := encoder.count(prompt)) != len(ids):
        raise ReaderError(f"counted as {counted} tokens, and has {len(ids)}")
    return Counter(i for i in ids if i in control)
