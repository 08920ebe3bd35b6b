"""The parts of a prompt as chat messages: untrusted texts made harmless, one message a role.

It knows roles and which texts are neighbours. It does not know markers, templates or pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Literal

from rag_vqa.types import ImagePart, Part, TextPart

Role = Literal["system", "user"]


def safe(parts: Sequence[Part], neutralise: Callable[[str], str]) -> list[Part]:
    """Neighbouring untrusted texts are neutralised together: `<im` + `age>` is a marker."""
    harmless: list[Part] = []
    for role, those in groupby(parts, key=untrusted_role):
        if role is None:
            harmless += those
        else:
            text = "".join(part.text for part in those if isinstance(part, TextPart))
            harmless.append(TextPart(neutralise(text), role=role))
    return harmless


def messages(parts: Sequence[Part]) -> list[tuple[Role, list[str | ImagePart]]]:
    """Role and contents of each message; neighbouring texts are one, for some templates put a
    newline between two."""
    return [(role, list(_contents(those))) for role, those in groupby(parts, key=_role)]


def untrusted_role(part: Part) -> Role | None:
    """The role of a part that is not trusted, and None for all others."""
    return part.role if isinstance(part, TextPart) and not part.trusted else None


def _role(part: Part) -> Role:
    return part.role if isinstance(part, TextPart) else "user"


def _contents(parts: Iterator[Part]) -> Iterator[str | ImagePart]:
    for is_text, those in groupby(parts, key=lambda part: isinstance(part, TextPart)):
        if is_text:
            yield "".join(part.text for part in those if isinstance(part, TextPart))
        else:
            yield from (part for part in those if isinstance(part, ImagePart))
