"""Big JSON files, read as a stream: the members of one object, or the items of one array.

Knows where a value begins and ends, in a file or in a ZIP with a single JSON file. Does not know
what values mean. Memory is that of the largest value, which may have MEMBER_LIMIT characters.

A value that is JSON but not acceptable (a repeated field, NaN) is reported, and the next one is
read. After anything that is not JSON nothing can be trusted: it is reported, and ends the file.
Written by hand, not with ijson: that accepts repeated fields, and stops at the first bad byte.
"""

from __future__ import annotations

import codecs
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rag_vqa.errors import BadInput, Missing
from rag_vqa.formats.jsonl import decode_json
from rag_vqa.formatting import quote_value

MEMBER_LIMIT = 16 * 2**20
_BLOCK = 2**20
# Wikipedia's JSON packs to a third; a bomb of spaces to a thousandth.
_BOMB_RATIO = 200
_BOMB_FLOOR = 64 * 2**20
_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = "0123456789+-.eE"
_ITEM_LIMIT = 2**16  # characters


def read_members(path: Path) -> Iterator[tuple[str, Any | BadInput]]:
    """Names and values of the members of one object, in order.

    Bytes that are not UTF-8 become lone surrogates, which document.py refuses.

    Raises:
        Missing: no such file.
        BadInput: not a JSON object, not a ZIP with a single JSON file, or a ZIP bomb.
    """
    with _open_json(path) as (stream, limit):
        text = _JsonText(path, stream, limit)
        if not text.skip():
            return
        if text.skip() != "{":
            hint = " Write one object a line, as JSONL." if text.skip() == "[" else ""
            raise BadInput(f"{path} is not a JSON object.{hint}")
        text.take("{")
        if text.skip() == "}":
            return
        while True:
            name: Any = ""
            try:
                name = text.value()
                if not isinstance(name, str):
                    raise _BrokenJson(f"{quote_value(name)} is not the name of a member.")
                text.take(":")
                yield name, text.value()
                if text.skip() == "}":
                    text.drain()
                    return
                text.take(",")
            except _BrokenJson as error:
                yield str(name), BadInput(f"{error} The rest of the file is not read.")
                return
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                yield str(name), BadInput(f"the ZIP is damaged here or before ({error}).")
                return


class _BrokenJson(Exception):
    """The next characters are not JSON."""


class _JsonText:
    """A window of the file, from the current place."""

    def __init__(self, path: Path, stream: IO[bytes], limit: float) -> None:
        self._path, self._stream, self._limit = path, stream, limit
        # So one bad byte costs one member: document.py refuses the surrogate it is decoded to.
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._window, self._at, self._taken = "", 0, 0
        self._done = False
        self.read_block()
        if self._window.startswith(("\udcff\udcfe", "\udcfe\udcff")):
            raise BadInput(f"{path} is UTF-16: save it as UTF-8.")
        self._at = int(self._window.startswith("\ufeff"))

    def read_block(self) -> None:
        """Double the window, so that a long member is not parsed again for each of its blocks."""
        have = len(self._window) - self._at
        size = max(_BLOCK, min(have, MEMBER_LIMIT + 1 - have))
        block = self._stream.read(size)
        self._taken += len(block)
        if self._taken > self._limit:
            raise BadInput(
                f"{self._path} unpacks to over {_BOMB_RATIO} times its size, as a ZIP bomb does: "
                "unpack it yourself if you trust it."
            )
        self._done = len(block) < size
        self._window = self._window[self._at :] + self._decoder.decode(block, self._done)
        self._at = 0

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

    def drain(self) -> None:
        """Read to the end, where a ZIP has its checksum."""
        while not self._done:
            self._at = len(self._window)
            self.read_block()

    def take(self, mark: str) -> None:
        found = self.skip()
        if found != mark:
            what = quote_value(found) if found else "the end of the file"
            raise _BrokenJson(f"not JSON: expected {mark!r}, found {what}.")
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
            raise _BrokenJson(
                "unreadable JSON: nested too deeply, or a number is too long."
            ) from error

    def _lengthen(self, error: Exception) -> None:
        if self._done:
            raise _BrokenJson(
                f"not JSON: {_error_text(error)}, or the file is cut here."
            ) from error
        if len(self._window) - self._at > MEMBER_LIMIT:
            raise _BrokenJson(
                f"not JSON ({_error_text(error)}), "
                f"or over {MEMBER_LIMIT // 2**20} million characters."
            ) from error
        self.read_block()


def _error_text(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error).rstrip(".")


@contextmanager
def _open_json(path: Path) -> Iterator[tuple[IO[bytes], float]]:
    """The JSON as a stream, and the number of bytes that it may have."""
    if not path.exists():
        raise Missing(f"{path} does not exist: check the path.")
    if not path.is_file():  # before it is opened: a pipe would block
        raise BadInput(f"{path} is not a regular file.")
    if path.suffix.lower() != ".zip":
        with path.open("rb") as stream:
            yield stream, float("inf")
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = [i for i in archive.infolist() if _is_json(i.filename)]
            if len(names) != 1:
                raise BadInput(f"{path} contains {len(names)} JSON files, not one: unpack it.")
            limit = max(_BOMB_FLOOR, _BOMB_RATIO * path.stat().st_size)
            with archive.open(names[0]) as stream:
                yield stream, limit
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise BadInput(f"{path} is not a readable ZIP: {quote_value(str(error))}") from error


def _is_json(name: str) -> bool:
    return name.lower().endswith(".json") and not name.startswith(("__MACOSX/", "."))


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
