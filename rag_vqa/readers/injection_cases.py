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
    """One attack. Several parts are texts that stand side by side in the prompt."""

    kind: str
    parts: tuple[str, ...]


@cache
def load_injection_cases() -> tuple[InjectionCase, ...]:
    """All cases: markers of known model families, turns, fences, templates, rare characters."""
    text = (files("rag_vqa.readers") / "injection_cases.json").read_text("utf-8")
    return tuple(InjectionCase(each["kind"], tuple(each["parts"])) for each in json.loads(text))


def find_failed_cases(processor: Any, cases: Sequence[InjectionCase]) -> list[str]:
    """One line for each case that gets through; an empty list is the goal.

    Each case stands as a document between two images of the prompt, if the model sees any. It
    fails if the prompt has more control tokens or another number of image placeholders than the
    same prompt with a harmless document, if the reader refuses it, or if its tokens are counted
    wrongly.
    """
    encoder = PromptEncoder(processor)
    control = control_tokens(processor.tokenizer)
    expected = _count_control_tokens(encoder, control, ("x",))
    failed = []
    for case in cases:
        label = f"{case.kind}: {'|'.join(case.parts)!a}"
        try:
            counts = _count_control_tokens(encoder, control, case.parts)
        except ReaderError as error:
            failed.append(f"{label}: {error}")
            continue
        more = {control[i]: n for i, n in (counts - expected).items()}
        fewer = {control[i]: n for i, n in (expected - counts).items()}
        if more or fewer:
            failed.append(f"{label}: more {more}, fewer {fewer}")
    return failed


def count_active_cases(processor: Any, cases: Sequence[InjectionCase]) -> int:
    """Number of cases that would become control tokens without protection; 0 would test nothing."""
    control = control_tokens(processor.tokenizer)
    texts = ["".join(case.parts).encode("utf-8", "replace").decode() for case in cases]
    rows = [processor.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    return sum(any(i in control for i in ids) for ids in rows)


def control_tokens(tokenizer: Any) -> dict[int, str]:
    """Added tokens that are special or look like markup: from id to text."""
    return {
        number: token.content
        for number, token in tokenizer.added_tokens_decoder.items()
        if number != tokenizer.unk_token_id and (token.special or _is_markup(token.content))
    }


def _is_markup(token: str) -> bool:
    """True for <image>, [INST], <|im_end|>; not for `[1]`, which is frequent in documents."""
    inner = token.strip()[1:-1]
    closed = token.strip()[-1:] == _BRACKETS.get(token.strip()[:1])
    return closed and bool(inner) and not inner.isdigit()


def _count_control_tokens(
    encoder: PromptEncoder, control: dict[int, str], texts: Sequence[str]
) -> Counter[int]:
    """How often each control token occurs in a prompt with these texts.

    Raises:
        ReaderError: the prompt is refused, or its tokens are counted wrongly.
    """
    # A language model alone has no placeholder for images, and gets none.
    image = ImagePart(Image.new("RGB", (64, 48), "grey"))
    images: list[Part] = [image] if encoder.processor.image_token else []
    parts: list[Part] = [*images, TextPart("Documents:\n", trusted=True)]
    parts += [TextPart(text) for text in texts]
    parts += [TextPart("\n", trusted=True), *images, TextPart("Which?")]
    prompt = Prompt(tuple(parts))
    ids = encoder.encode([prompt])["input_ids"][0].tolist()
    if (counted := encoder.count(prompt)) != len(ids):
        raise ReaderError(f"counted as {counted} tokens, and has {len(ids)}")
    return Counter(i for i in ids if i in control)
