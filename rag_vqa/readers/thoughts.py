"""Thoughts and end marks in what a model writes: neither is part of the answer.

Knows how models write their reasoning into their text, and splits it off while the text arrives,
in pieces of any size. Does not know where the pieces come from (a local model, a server).
"""

from __future__ import annotations

import re
from typing import Literal

# <think>, <THINKING>, <seed:think>, <thought>; [THINK]; ◁think▷; <|START_THINKING|>,
# <|begin_of_thought|>; Gemma's and gpt-oss' channels.
_TAG = r"(?:[a-z][\w.-]{0,31}[:_])?(?:think(?:ing)?|thought)"
_MARK = re.compile(
    rf"(?P<open_tag><{_TAG}>|[\[◁]think[\]▷]|<\|(?:start_thinking|begin_of_thought)\|>)"
    rf"|(?P<close_tag></{_TAG}>|[\[◁]/think[\]▷]|<\|(?:end_thinking|end_of_thought)\|>)"
    r"|(?P<open_channel><\|channel>)|(?P<close_channel><channel\|>)"
    r"|(?P<header><\|start\|>|<\|channel\|>)|(?P<message><\|message\|>)",
    re.IGNORECASE,
)
# What may become a mark with the next piece: all marks are shorter, and hold none of these.
_UNFINISHED_MARK = re.compile(r"[<\[◁][^\s<>\[\]◁▷]{0,47}\Z")
_LONGEST_MARK = 48
_END_MARK = re.compile(
    r"(?:</s>|<eo[a-z]>|<end_?of_?\w+>|<pad>|\[eos\]|<[|｜][^\s<>]{1,40}>|<[^\s<>/]{1,40}\|>)\Z",
    re.IGNORECASE,
)
# <|start|>assistant<|channel|>commentary to=… <|constrain|>json, as far as it has arrived.
_HEADER = re.compile(r"(<\|start\|>\w*\s?)?(<\|channel\|>.*)?", re.IGNORECASE)
_LONGEST_HEADER = 200  # characters
_Family = Literal["tag", "channel", "messages", "template"]


def answer_end(text: str) -> int:
    """Where the answer in `text` ends: before the end marks that are the last thing in it.

    >>> answer_end("Porto<|im_end|>\\n</s>"), answer_end("<s>old</s> is struck out")
    (5, 24)
    """
    end = len(text)
    while True:
        stop = end
        while stop and text[stop - 1].isspace():
            stop -= 1
        begin = max(0, stop - _LONGEST_MARK)
        mark = _END_MARK.search(text[begin:stop])
        if mark is None:
            return end
        end = begin + mark.start()


class ThoughtSplitter:
    """Splits a text that arrives in pieces into the answer and the thoughts.

    Thoughts stand between marks, mostly before the answer. An end mark without a beginning means
    that the chat template began the thoughts: all text before it is thought. If such text was
    returned already, `late_end` says so, and there is no right answer. Thoughts that begin after
    the answer's first word and never end are text, except for channels. The pieces that `feed` and
    `finish` return join to the answer, without the end marks behind it (`<|im_end|>`, `</s>`).

    Args:
        opened: the prompt ended inside of thoughts, so the text begins with thoughts.
        held: the prompt may have. Nothing is returned before the thoughts end or `finish`.

    Attributes:
        held: see above; may be set to False between two pieces.
        unclosed: the text so far ends inside of thoughts. If the tokens ran out there (finish
            "length"), there is no answer.
        lone_end: the chat template began thoughts, which ended.
        late_end: so they did after their text had been returned as the answer.
    """

    def __init__(self, opened: bool = False, held: bool = False) -> None:
        self.held = held
        self.unclosed, self.lone_end, self.late_end = opened, False, False
        self._family: _Family | None = "template" if opened else None  # None: in the answer
        self._header: str | None = None  # of a channel, from its first mark on
        self._pending = ""  # read, but perhaps the beginning of a mark
        self._untold = ""  # answer that is not returned yet
        self._told = ""
        self._raw = ""  # the open thoughts, with the mark that began them
        self._inside_answer = False  # the open thoughts began after a word of the answer
        self._thoughts: list[str] = []
        self._after_thoughts = False

    @property
    def reasoning(self) -> str:
        """The thoughts so far, without their marks."""
        now = [_clean_thoughts(self._raw)] if self._family else []
        return "\n".join(text for text in self._thoughts + now if text)

    def feed(self, piece: str) -> str:
        """Reads the next piece; returns what is certain to be answer, often not the whole of it."""
        self._pending += piece
        while mark := _MARK.search(self._pending):
            text, self._pending = self._pending[: mark.start()], self._pending[mark.end() :]
            self._take_text(text)
            self._take_mark(mark)
        tail = _UNFINISHED_MARK.search(self._pending, max(0, len(self._pending) - _LONGEST_MARK))
        cut = tail.start() if tail else len(self._pending)
        text, self._pending = self._pending[:cut], self._pending[cut:]
        self._take_text(text)
        self.unclosed = bool(self._family or self._header)
        return "" if self.held else self._tell()

    def finish(self) -> str:
        """Returns the rest of the answer."""
        rest, self._pending = self._pending, ""
        self._take_text(rest)
        self.unclosed = bool(self._family or self._header)
        if self._header and self._family is None:
            channel = "<|channel|>" in self._header.lower()
            if self._has_answer or not channel:
                self._give_up_header()
        if self._inside_answer and self._family == "tag":
            self._untold += self._raw
            self._raw = ""
        return self._tell(ended=True)

    @property
    def _has_answer(self) -> bool:
        return bool(self._told or self._untold.strip())

    def _tell(self, ended: bool = False) -> str:
        if not (ended or self._has_answer):
            return ""  # spaces, perhaps before thoughts
        end = answer_end(self._untold)
        piece, self._untold = self._untold[:end], self._untold[end:]
        self._told += piece
        return piece

    def _take_text(self, text: str) -> None:
        if self._header is not None:
            self._header += text
            if len(self._header) > _LONGEST_HEADER or not _HEADER.fullmatch(self._header):
                self._give_up_header()
        elif self._family:
            self._raw += text
        else:
            self._add_answer(text)

    def _give_up_header(self) -> None:
        """What began like the header of a channel was none, but text."""
        text, self._header = self._header or "", None
        self._take_text(text)

    def _add_answer(self, text: str) -> None:
        self._untold += text
        if self._after_thoughts and not self._told:
            self._untold = self._untold.lstrip()

    def _take_mark(self, mark: re.Match[str]) -> None:
        kind, _, family = (mark.lastgroup or "").partition("_")
        if self._header is not None:
            if kind == "message":
                self._end_header(self._header.lower())
            else:
                self._take_text(mark[0])
        elif kind == "header" and self._family in (None, "messages", "template"):
            self._header = mark[0]
        elif kind == "close" and self._family in (None, family, "template"):
            self._end_thoughts()
        elif kind == "open" and self._family is None:
            self._begin_thoughts("tag" if family == "tag" else "channel", mark[0])
        elif kind == "message" and self._family is None and not self._has_answer:
            self._end_thoughts()  # the prompt began the header
        else:
            self._take_text(mark[0])

    def _end_header(self, header: str) -> None:
        _, marked, name = header.rpartition("<|channel|>")
        self._header = None
        if not marked or name.strip().startswith("final"):
            self._end_thoughts()
        elif self._family is None:
            self._begin_thoughts("messages", "")
        else:
            self._thoughts.append(_clean_thoughts(self._raw))
            self._raw = ""

    def _begin_thoughts(self, family: _Family, mark: str) -> None:
        self._inside_answer = self._has_answer
        if not self._inside_answer:
            self._untold = ""
        self._family, self._raw = family, mark

    def _end_thoughts(self) -> None:
        if self._family in (None, "template"):
            self.lone_end = True
        if self._family is None:  # the template began them
            self.late_end = self.late_end or bool(self._told)
            self._raw, self._untold, self._told = self._told + self._untold, "", ""
        self._thoughts.append(_clean_thoughts(self._raw))
        self._family, self._raw, self._inside_answer = None, "", False
        self._after_thoughts, self.held = True, False


def is_thought_mark(token: str) -> bool:
    """True for a token that begins or ends thoughts, or a part of a channel's header.

    Where such a token is special, decoding leaves it out, and the thoughts would look like answer.

    >>> is_thought_mark("[THINK]"), is_thought_mark("<|message|>"), is_thought_mark("<|im_end|>")
    (True, True, False)
    """
    return _MARK.fullmatch(token) is not None


def has_thought_mark(text: str) -> bool:
    """True if a mark of thoughts or channels is in the text."""
    return _MARK.search(text) is not None


def opens_thoughts(prompt: str) -> bool:
    """True if a prompt with this end begins the model's thoughts itself.

    >>> opens_thoughts("<|assistant|><think>"), opens_thoughts("<|assistant|><think></think>")
    (True, False)
    """
    splitter = ThoughtSplitter()
    splitter.feed(prompt)
    return splitter._family is not None


def thought_end(prompt: str) -> str:
    """The text after which a prompt with this end goes on with the answer, without thoughts.

    It closes thoughts that the prompt opened, and completes the header of a channel; "" if the
    prompt ends with neither.

    >>> thought_end("<|assistant|>[THINK]"), thought_end("<|start|>assistant")
    ('[/THINK]', '<|channel|>final<|message|>')
    """
    splitter = ThoughtSplitter()
    splitter.feed(prompt)
    if splitter._header is not None:
        channel = "" if "<|channel|>" in splitter._header.lower() else "<|channel|>"
        return f"{channel}final<|message|>"
    if splitter._family == "messages":
        return "<|end|><|start|>assistant<|channel|>final<|message|>"
    mark = _MARK.match(splitter._raw)
    if splitter._family is None or mark is None:
        return ""
    if splitter._family == "channel":
        return "<channel|>"
    end = _closing_mark(mark[0])
    if not mark[0].startswith("<") or mark[0].startswith("<|"):
        return end
    return f"\n{end}\n\n" if splitter._raw.endswith("\n") else f"\n\n{end}\n\n"


def _closing_mark(mark: str) -> str:
    """The end mark of a tag: `</think>` for `<think>`, `[/THINK]` for `[THINK]`."""
    for begin, end in (("START_", "END_"), ("begin_of_", "end_of_")):
        if begin in mark:
            return mark.replace(begin, end)
    return f"{mark[0]}/{mark[1:]}"


def _clean_thoughts(raw: str) -> str:
    """Thoughts without the marks around them."""
    raw = raw.strip()
    mark = _MARK.match(raw)
    raw = raw[mark.end() :] if mark else raw
    raw = re.sub(r"\Athought\n", "", raw)  # the name of Gemma's channel
    return raw[: answer_end(raw)].strip()
