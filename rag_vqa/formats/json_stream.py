"""Big JSON files, read as a stream: the members of one object, or the items of one array.

Knows where a value begins and ends, in a file of any encoding, packed or not. Does not know what
values mean (json_records.py, benchmarks). Memory is that of the largest value, which may have
MEMBER_LIMIT characters.

A value that is JSON but not acceptable (a repeated field) is reported, and the next one is read.
After anything that is not JSON nothing can be trusted: it is reported, and ends the file.
Written by hand, not with ijson: that accepts repeated fields, and stops at the first bad byte.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rag_vqa.errors import BadInput
from rag_vqa.formats.file_encoding import MARK_ERRORS, FileEncoding, find_file_encoding
from rag_vqa.formats.jsonl import decode_json
from rag_vqa.formats.packed_file import DamagedStream, open_unpacked
from rag_vqa.formatting import quote_value

MEMBER_LIMIT = 16 * 2**20
_BLOCK = 2**20
_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = "0123456789+-.eE"
_ITEM_LIMIT = 2**16  # characters


def read_members(
    path: Path, encoding: FileEncoding | None = None
) -> Iterator[tuple[str, Any | BadInput]]:
    """Names and values of the members of one object, in order.

    Bytes that are no text become lone surrogates, which document.py refuses.

    Raises:
        Missing: no such file.
        BadInput: not a JSON object, not a ZIP with a single JSON file, or a bomb.
    """
    with open_json(path, encoding) as text:
        if not text.skip():
            return
        if text.skip() != "{":
            raise BadInput(f"{path} is not a JSON object.")
        yield from iterate_members(text)


def iterate_members(text: JsonText) -> Iterator[tuple[str, Any | BadInput]]:
    """Names and values of the object that begins here. A member that is no JSON is the last."""
    text.take("{")
    if text.skip() == "}":
        text.take("}")
        return
    while True:
        name: Any = ""
        try:
            name = text.value()
            if not isinstance(name, str):
                raise BrokenJson(f"{quote_value(name)} is not the name of a member.")
            text.take(":")
            yield name, text.value()
            if text.skip() == "}":
                text.take("}")
                text.skip()  # to the end, where a ZIP has its checksum
                return
            text.take(",")
        except BrokenJson as error:
            yield str(name), BadInput(f"{error} The rest of the file is not read.")
            return
        except DamagedStream as error:
            yield str(name), BadInput(str(error))
            return


def iterate_items(text: JsonText) -> Iterator[Any | BadInput]:
    """The items of the array that begins here.

    Raises:
        BrokenJson: what comes next is no JSON.
        DamagedStream: the file is packed, and damaged or cut here.
    """
    text.take("[")
    if text.skip() == "]":
        text.take("]")
        return
    while True:
        yield text.value()
        if text.skip() == "]":
            text.take("]")
            return
        text.take(",")


@contextmanager
def open_json(path: Path, encoding: FileEncoding | None = None) -> Iterator[JsonText]:
    """The text of a JSON file, unpacked.

    Raises:
        Missing: no such file.
        BadInput: not a regular file, no text, not a ZIP with a single JSON file, or a bomb.
    """
    found = encoding or find_file_encoding(path)
    with open_unpacked(path) as stream:
        yield JsonText(stream, found.codec)


class BrokenJson(Exception):
    """The next characters are not JSON, and nothing behind them can be read."""


class JsonText:
    """A window of the file, from the current place."""

    def __init__(self, stream: io.BufferedReader[Any], codec: str) -> None:
        # So one bad byte costs one member: document.py refuses the surrogate it is decoded to.
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(codec)(MARK_ERRORS)
        self._window, self._at = "", 0
        self._done = False
        self.read_block()
        self._at = int(self._window.startswith("\ufeff"))

    def read_block(self) -> None:
        """Double the window, so that a long member is not parsed again for each of its blocks.

        Raises:
            DamagedStream: it is packed, and cut or damaged. What came before is read first.
        """
        have = len(self._window) - self._at
        size = max(_BLOCK, min(have, MEMBER_LIMIT + 1 - have))
        taken = 0
        parts = [self._window[self._at :]]
        try:
            while taken < size and (block := self._stream.read1(size - taken)):
                parts.append(self._decoder.decode(block))
                taken += len(block)
        except DamagedStream:
            if not taken:
                raise
            size = taken
        self._done = taken < size
        if self._done:
            parts.append(self._decoder.decode(b"", True))
        self._window, self._at = "".join(parts), 0

    def skip(self) -> str:
        """Skip white space; the next character, which is not taken yet, or "" at the end."""
        while True:
            if space := _SPACE.match(self._window, self._at):
                self._at = space.end()
            if self._at < len(self._window):
                return self._window[self._at]
            if self._done:
                return ""
            self.read_block()

    def take(self, mark: str) -> None:
        found = self.skip()
        if found != mark:
            what = quote_value(found) if found else "the end of the file"
            raise BrokenJson(f"not JSON: expected {mark!r}, found {what}.")
        self._at += 1

    def value(self) -> Any | BadInput:
        """The next value, or the BadInput that refuses it; either way reading goes on after it."""
        self.skip()
        while True:
            try:
                value, end = decode_json(self._window, self._at)
            except json.JSONDecodeError as error:
                self._lengthen(error)
                continue
            except BadInput as error:
                found = self._find_end()
                if found is None:
                    self._lengthen(error)
                    continue
                value, end = error, found
            if self._done or not isinstance(value, int | float) or self._is_complete_number(end):
                self._at = end
                return value
            self.read_block()

    def _is_complete_number(self, end: int) -> bool:
        """Whether a number really ends here, and was not cut by the end of the window."""
        return bool(self._window[end:].strip(_NUMBER))

    def _find_end(self) -> int | None:
        """Where a refused value ends; None if it is longer than the window."""
        try:
            return json.JSONDecoder().raw_decode(self._window, self._at)[1]
        except json.JSONDecodeError:
            return None
        except (RecursionError, ValueError) as error:
            raise BrokenJson(
                "unreadable JSON: nested too deeply, or a number is too long."
            ) from error

    def _lengthen(self, error: Exception) -> None:
        if self._done:
            raise BrokenJson(f"not JSON: {_error_text(error)}, or the file is cut here.") from error
        if len(self._window) - self._at > MEMBER_LIMIT:
            raise BrokenJson(
                f"not JSON ({_error_text(error)}), "
                f"or over {MEMBER_LIMIT // 2**20} million characters."
            ) from error
        self.read_block()


def _error_text(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error).rstrip(".")


def read_array(path: Path, name: str) -> Iterator[Any]:
    """The items of the first array called `name`, each of at most 64 kB of text.

    Raises:
        BadInput: there is no such array, or the file is damaged.
    """
    decoder = json.JSONDecoder()
    opening = re.compile(rf'"{re.escape(name)}"\s*:\s*\[')
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        window, begin = "", None
        while begin is None:
            block = file.read(_BLOCK)
            if not block:
                raise BadInput(f"{path} has no array {name}.")
            window = window[-len(name) - 64 :] + block
            begin = opening.search(window)
        at = begin.end()
        while True:
            if len(window) - at < _ITEM_LIMIT and (block := file.read(_BLOCK)):
                window, at = window[at:] + block, 0
            while window[at : at + 1] and window[at] in " \t\r\n,":
                at += 1
            if window[at : at + 1] == "]":
                return
            try:
                value, at = decoder.raw_decode(window, at)
            except json.JSONDecodeError as error:
                raise BadInput(
                    f"{path} is damaged or cut ({error.msg}): download it again."
                ) from error
            yield value
