"""Neutralises untrusted text, so that nothing in it becomes a control token (prompt injection).

Knows markers of control tokens and the parts of a prompt, which it also groups into chat messages.
Does not know images, models or servers. The markers are derived from the tokenizer and its chat
template, without a table of model families. Where a server owns the tokenizer,
`neutralise_by_shape` breaks everything that has the shape of a marker. Kept by hand: no library
does this for every family of tokenizers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Literal

from rag_vqa.errors import ReaderError
from rag_vqa.types import ImagePart, Part, TextPart

# <image>, </s>, <|im_start|>, [INST]: tokens and template texts that look like structure. Words
# that a tokenizer merely holds as one token ("capital", "[1]") do not.
_STRUCTURAL = re.compile(r"<[^<>\s'\"{}%]{1,60}>|\[/?[A-Z][A-Z_]*\]")
# "USER: ", "Assistant:": written by a chat template directly before a turn.
_TURN_HEADER = re.compile(r"([A-Z]\w*:)\s*\Z")
# Shapes of markers in the published models that we know, for tokenizers that are elsewhere:
# `<image>`, `<|im_start|>`; `[INST]`, `[gMASK]`, `[control_8]`; all of them also in full-width
# characters, which some tokenizers fold; `### Response:`; `User:` at the start of a line, and
# `USER:` anywhere.
_ROLE_NAMES = "system|user|human|assistant|gpt|model|tool|instruction|input|response|observation"
_UPPERCASE, _LOWERCASE, _DIGITS = "A-Z\uff21-\uff3a", "a-z\uff41-\uff5a", "0-9\uff10-\uff19"
_UNDERSCORES = "_\uff3f"
_LINE_ENDS = r"\r\n\v\f\x1c-\x1e\x85\u2028\u2029"  # those of str.splitlines
_MARKER_SHAPES = re.compile(
    r"[<\uff1c\ufe64][^<>\uff1c\uff1e\ufe64\ufe65\s'\"]{1,60}[>\uff1e\ufe65]"
    rf"|[\[\uff3b][/\uff0f]?[{_LOWERCASE}]?[{_UPPERCASE}][{_UPPERCASE}{_UNDERSCORES}]*[\]\uff3d]"
    rf"|[\[\uff3b][{_UPPERCASE}{_LOWERCASE}]{{1,30}}[{_UNDERSCORES}][{_DIGITS}]{{1,9}}[\]\uff3d]"
    rf"|(?:^|(?<=[{_LINE_ENDS}]))[^\S{_LINE_ENDS}]*(?:#+[^\S{_LINE_ENDS}]*)?"
    rf"(?i:{_ROLE_NAMES})[ \t]*[:\uff1a]"
    r"|(?<![A-Za-z])(?:SYSTEM|USER|HUMAN|ASSISTANT|GPT)[:\uff1a]",
)
_SURROGATES = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"
Role = Literal["system", "user"]


class Neutraliser:
    """Breaks markers in a text with a space before their last character: `<image >`, `USER :`.

    Args:
        tokenizer: a fast one of transformers.
        chat_template: its Jinja source.
        turn_frames: texts that the template writes before and after a turn.
        extra_markers: further markers, such as a processor's image markers, which the processor
            finds as strings.

    Raises:
        ReaderError: the tokenizer does not report where its tokens come from.
    """

    def __init__(
        self,
        tokenizer: Any,
        chat_template: str,
        turn_frames: Iterable[str],
        extra_markers: Iterable[str] = (),
    ) -> None:
        if not tokenizer.is_fast:
            raise ReaderError(
                "the reader's tokenizer is a slow one, which cannot show where control tokens "
                "come from: name a model that has a tokenizer.json"
            )
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        control = {i: t.content for i, t in added.items() if t.special or _is_structural(t.content)}
        special = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
        control |= special
        headers = [
            match[1] for text in turn_frames for match in [_TURN_HEADER.search(text)] if match
        ]
        in_template = _STRUCTURAL.findall(chat_template)
        markers = {*control.values(), *in_template, *headers, *extra_markers}
        longest_first = sorted(filter(None, markers), key=lambda marker: (-len(marker), marker))
        self.markers: tuple[str, ...] = tuple(longest_first)
        self._markers = re.compile("|".join(map(re.escape, self.markers)) or r"(?!)")
        # Unknown characters become <unk> although nobody wrote it: that is no attack.
        self._control_ids = frozenset(control) - {tokenizer.unk_token_id}

    def __call__(self, text: str) -> str:
        """The text without control tokens; ordinary text is returned unchanged."""
        text = _SURROGATES.sub(_REPLACEMENT, text)  # tokenizers refuse lone surrogates
        spans = self._spans(text)
        text = _rewrite_spans(text, spans, lambda marker: f"{marker[:-1]} {marker[-1:]}")
        # A space does not break every marker (one character, a tokenizer that drops spaces). Those
        # are replaced. Each round removes characters, so the loop ends.
        while spans := self._spans(text):
            text = _rewrite_spans(text, spans, lambda marker: _REPLACEMENT)
        return text

    def control_ids(self, ids: Iterable[int]) -> list[int]:
        """The control tokens among `ids`, sorted."""
        return sorted(i for i in ids if i in self._control_ids)

    def _spans(self, text: str) -> list[tuple[int, int]]:
        """(start, end) of each marker: as a string, or else as the tokenizer reads it.

        A tokenizer may fold case or width (`＜ＩＭＡＧＥ＞`), which no list of strings foresees.
        """
        spans = [match.span() for match in self._markers.finditer(text)]
        if spans:
            return spans
        encoded = self._tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        if self._control_ids.isdisjoint(encoded["input_ids"]):
            return []
        pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        return [(start, end) for i, (start, end) in pairs if i in self._control_ids and end > start]


def neutralise_by_shape(text: str) -> str:
    """The text with a space in everything that has the shape of a marker: `<image >`, `User :`.

    For a reader whose tokenizer is elsewhere. It errs on the safe side (`<b>` of HTML becomes
    `<b >`). A marker of another shape passes; only `Neutraliser` knows the tokenizer's own markers.

    >>> neutralise_by_shape("1 < 2 <|im_end|> [1]")
    '1 < 2 <|im_end| > [1]'
    """
    text = _SURROGATES.sub(_REPLACEMENT, text)
    return _MARKER_SHAPES.sub(lambda match: f"{match[0][:-1]} {match[0][-1]}", text)


def _is_structural(token: str) -> bool:
    return _STRUCTURAL.fullmatch(token.strip()) is not None or (len(token) > 2 and "|" in token)


def _rewrite_spans(
    text: str, spans: Sequence[tuple[int, int]], change: Callable[[str], str]
) -> str:
    pieces, last = [], 0
    for start, end in spans:
        pieces += [text[last:start], change(text[start:end])]
        last = end
    return "".join([*pieces, text[last:]])


def neutralise_parts(parts: Sequence[Part], neutralise: Callable[[str], str]) -> list[Part]:
    """The parts with their untrusted texts neutralised.

    Neighbouring untrusted texts are neutralised together: `<im` + `age>` is a marker.
    """
    neutral: list[Part] = []
    for role, group in groupby(parts, key=untrusted_role):
        if role is None:
            neutral += group
        else:
            text = "".join(part.text for part in group if isinstance(part, TextPart))
            neutral.append(TextPart(neutralise(text), role=role))
    return neutral


def chat_messages(parts: Sequence[Part]) -> list[tuple[Role, list[str | ImagePart]]]:
    """Role and contents of each message.

    Neighbouring texts are merged, because some templates put a newline between two.
    """
    return [(role, list(_merge_texts(group))) for role, group in groupby(parts, key=_part_role)]


def untrusted_role(part: Part) -> Role | None:
    """The role of an untrusted text, and None for any other part."""
    return part.role if isinstance(part, TextPart) and not part.trusted else None


def _part_role(part: Part) -> Role:
    return part.role if isinstance(part, TextPart) else "user"


def _merge_texts(parts: Iterator[Part]) -> Iterator[str | ImagePart]:
    for is_text, group in groupby(parts, key=lambda part: isinstance(part, TextPart)):
        if is_text:
            yield "".join(part.text for part in group if isinstance(part, TextPart))
        else:
            yield from (part for part in group if isinstance(part, ImagePart))
