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

# <image>, </s>, <|im_start|>, [INST]: what looks like structure in tokens and templates. Words
# that a tokenizer merely holds whole ("capital", "[1]") do not.
_STRUCTURAL = re.compile(r"<[^<>\s'\"{}%]{1,60}>|\[/?[A-Z][A-Z_]*\]")
# "USER: ", "Assistant:": what a chat template writes directly before a turn.
_HEADER = re.compile(r"([A-Z]\w*:)\s*\Z")
# What markers look like in the published models that we know, for tokenizers that are not at hand:
# `<image>`, `<|im_start|>`; `[INST]`, `[gMASK]`, `[control_8]`; all also in wide characters, which
# some tokenizers fold; `### Response:`; `USER:` at the beginning of a line, in capitals anywhere.
_ROLE = "system|user|human|assistant|gpt|model|tool|instruction|input|response|observation"
_CAPITALS, _SMALL, _DIGITS = "A-Z\uff21-\uff3a", "a-z\uff41-\uff5a", "0-9\uff10-\uff19"
_LOW = "_\uff3f"  # low lines
_ENDS = r"\r\n\v\f\x1c-\x1e\x85\u2028\u2029"  # of lines, as str.splitlines has them
_SHAPES = re.compile(
    r"[<\uff1c\ufe64][^<>\uff1c\uff1e\ufe64\ufe65\s'\"]{1,60}[>\uff1e\ufe65]"
    rf"|[\[\uff3b][/\uff0f]?[{_SMALL}]?[{_CAPITALS}][{_CAPITALS}{_LOW}]*[\]\uff3d]"
    rf"|[\[\uff3b][{_CAPITALS}{_SMALL}]{{1,30}}[{_LOW}][{_DIGITS}]{{1,9}}[\]\uff3d]"
    rf"|(?:^|(?<=[{_ENDS}]))[^\S{_ENDS}]*(?:#+[^\S{_ENDS}]*)?(?i:{_ROLE})[ \t]*[:\uff1a]"
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
        frame: what the template writes around a user's turn, before and after.
        marks: what else is no text: a processor's marks of pictures, which it finds as strings.

    Raises:
        ReaderError: the tokenizer does not say where its tokens come from.
    """

    def __init__(
        self, tokenizer: Any, chat_template: str, frame: Iterable[str], marks: Iterable[str] = ()
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
        headers = [match[1] for text in frame for match in [_HEADER.search(text)] if match]
        written = _STRUCTURAL.findall(chat_template)
        markers = {*control.values(), *written, *headers, *marks}
        longest_first = sorted(filter(None, markers), key=lambda marker: (-len(marker), marker))
        self.markers: tuple[str, ...] = tuple(longest_first)
        self._markers = re.compile("|".join(map(re.escape, self.markers)) or r"(?!)")
        # Unknown characters become <unk> without anybody's writing it: no sign of an attack.
        self._ids = frozenset(control) - {tokenizer.unk_token_id}

    def __call__(self, text: str) -> str:
        """The text without control tokens; ordinary text comes back as it is."""
        text = _SURROGATES.sub(_REPLACEMENT, text)  # tokenizers take Unicode only
        spans = self._spans(text)
        text = _rewrite_spans(text, spans, lambda found: f"{found[:-1]} {found[-1:]}")
        # What a space does not break (one character, a tokenizer that drops spaces) goes: each
        # round removes characters, so that this ends.
        while spans := self._spans(text):
            text = _rewrite_spans(text, spans, lambda found: _REPLACEMENT)
        return text

    def control_ids(self, ids: Iterable[int]) -> list[int]:
        """Those of `ids` that are control tokens, sorted."""
        return sorted(i for i in ids if i in self._ids)

    def _spans(self, text: str) -> list[tuple[int, int]]:
        """Where markers stand: as they are written, and as the tokenizer reads them.

        It may fold case or width (`＜ＩＭＡＧＥ＞`), which no list of strings foresees.
        """
        spans = [match.span() for match in self._markers.finditer(text)]
        if spans:
            return spans
        read = self._tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        if self._ids.isdisjoint(read["input_ids"]):
            return []
        pairs = zip(read["input_ids"], read["offset_mapping"], strict=True)
        return [(start, end) for i, (start, end) in pairs if i in self._ids and end > start]


def neutralise_by_shape(text: str) -> str:
    """The text with a space in all that looks like a marker of any model: `<image >`, `User :`.

    For a reader whose tokenizer is elsewhere. It errs to the safe side (`<b>` of HTML becomes
    `<b >`), and a marker of another shape passes: the tokenizer's own are known to `Neutraliser`.

    >>> neutralise_by_shape("1 < 2 <|im_end|> [1]")
    '1 < 2 <|im_end| > [1]'
    """
    text = _SURROGATES.sub(_REPLACEMENT, text)
    return _SHAPES.sub(lambda found: f"{found[0][:-1]} {found[0][-1]}", text)


def _is_structural(token: str) -> bool:
    return _STRUCTURAL.fullmatch(token.strip()) is not None or (len(token) > 2 and "|" in token)


def _rewrite_spans(text: str, spans: Sequence[tuple[int, int]], change: Any) -> str:
    pieces, last = [], 0
    for start, end in spans:
        pieces += [text[last:start], change(text[start:end])]
        last = end
    return "".join([*pieces, text[last:]])


def neutralise_parts(parts: Sequence[Part], neutralise: Callable[[str], str]) -> list[Part]:
    """Neighbouring untrusted texts are neutralised together: `<im` + `age>` is a marker."""
    harmless: list[Part] = []
    for role, those in groupby(parts, key=untrusted_role):
        if role is None:
            harmless += those
        else:
            text = "".join(part.text for part in those if isinstance(part, TextPart))
            harmless.append(TextPart(neutralise(text), role=role))
    return harmless


def chat_messages(parts: Sequence[Part]) -> list[tuple[Role, list[str | ImagePart]]]:
    """Role and contents of each message; neighbouring texts are one, for some templates put a
    newline between two."""
    return [(role, list(_merge_texts(those))) for role, those in groupby(parts, key=_part_role)]


def untrusted_role(part: Part) -> Role | None:
    """The role of a part that is not trusted, and None for all others."""
    return part.role if isinstance(part, TextPart) and not part.trusted else None


def _part_role(part: Part) -> Role:
    return part.role if isinstance(part, TextPart) else "user"


def _merge_texts(parts: Iterator[Part]) -> Iterator[str | ImagePart]:
    for is_text, those in groupby(parts, key=lambda part: isinstance(part, TextPart)):
        if is_text:
            yield "".join(part.text for part in those if isinstance(part, TextPart))
        else:
            yield from (part for part in those if isinstance(part, ImagePart))
