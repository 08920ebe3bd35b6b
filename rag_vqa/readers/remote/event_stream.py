"""The JSON objects of a response, whether it is a stream of events or one object.

Knows server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), and what
servers send in their place. Does not know what the objects mean (responses.py).
"""

from __future__ import annotations

import codecs
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from rag_vqa.readers.remote.request_failures import RequestFailure, RequestInfo, broken_answer
from rag_vqa.readers.remote.server_error import parse_json

_BOM = codecs.BOM_UTF8
_END_OF_STREAM = "[DONE]"


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a stream: its name ("message" unless the server names it), and its data."""

    name: str
    data: str


@dataclass(frozen=True, slots=True)
class ResponseObject:
    """A JSON object of a response.

    Attributes:
        whole: the response is this object, and no stream.
    """

    value: dict[str, Any]
    whole: bool = False


class EventParser:
    """Parses events out of bytes that arrive in pieces of any size.

    >>> EventParser().feed(b"event: ping\\r\\ndata: {}\\r\\n\\r\\ndata: a\\ndata: b\\n\\n")
    [Event(name='ping', data='{}'), Event(name='message', data='a\\nb')]
    """

    def __init__(self) -> None:
        self._rest = b""  # of a line
        self._ended_in_return = False  # a newline that follows ends no line of its own
        self._name = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> list[Event]:
        """The events that end in this piece."""
        if self._ended_in_return and data:
            data = data.removeprefix(b"\n")
            self._ended_in_return = False
        lines = (self._rest + data).splitlines(keepends=True)
        self._rest = b"" if not lines or lines[-1].endswith((b"\r", b"\n")) else lines.pop()
        self._ended_in_return = bool(lines) and not self._rest and lines[-1].endswith(b"\r")
        return [event for line in lines for event in self._read_line(line.rstrip(b"\r\n"))]

    def finish(self) -> list[Event]:
        """The last event, which many servers do not end with an empty line."""
        return [*self._read_line(self._rest), *self._read_line(b"")]

    def _read_line(self, line: bytes) -> Iterator[Event]:
        if not line:
            if self._data:
                yield Event(self._name or "message", "\n".join(self._data))
            self._name, self._data = "", []
            return
        field, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value.strip()


async def iterate_objects(
    pieces: AsyncIterator[bytes], info: RequestInfo
) -> AsyncGenerator[ResponseObject | None]:
    """The JSON objects of a response; None for the end that a stream states, [DONE].

    What the response is, its first letter says: not all servers give the type of their content.

    Raises:
        RequestFailure: the response is a web page, or its JSON is cut short.
    """
    start = b""
    async for piece in pieces:
        start += piece
        if not _BOM.startswith(start) and start.removeprefix(_BOM).strip():
            break
    start = start.removeprefix(_BOM).lstrip()
    if start[:1] in (b"{", b"[", b"<"):
        rest = b"".join([piece async for piece in pieces])
        yield ResponseObject(_parse_whole(start + rest, info), whole=True)
        return
    async for event in _iterate_events(start, pieces):
        for found in _parse_event(event, info):
            yield found


async def _iterate_events(start: bytes, pieces: AsyncIterator[bytes]) -> AsyncGenerator[Event]:
    parser = EventParser()
    for event in parser.feed(start):
        yield event
    async for piece in pieces:
        for event in parser.feed(piece):
            yield event
    for event in parser.finish():
        yield event


def _parse_whole(data: bytes, info: RequestInfo) -> dict[str, Any]:
    value = parse_json(data)
    if isinstance(value, dict):
        return value
    if isinstance(value, str) and value.startswith("<"):
        advice = "is the address right (it ends in /v1)?"
        raise RequestFailure(
            f"{info.server} gave a response that is not OpenAI's format: {advice}", "drop server"
        )
    raise broken_answer("its JSON is cut short or no object", info)


def _parse_event(event: Event, info: RequestInfo) -> Iterator[ResponseObject | None]:
    """Events of other names say nothing; nor do comments and data that is no object."""
    if event.name == "error":
        value = parse_json(event.data.encode())
        wrapped = isinstance(value, dict) and "error" in value
        yield ResponseObject(value if wrapped else {"error": value or "an error without words"})
    elif event.name == "message" or event.data.strip() == _END_OF_STREAM:
        yield from _parse_data(event.data, info)


def _parse_data(data: str, info: RequestInfo) -> Iterator[ResponseObject | None]:
    data = data.strip()
    if data == _END_OF_STREAM:
        yield None
    elif data.startswith("{"):
        value = parse_json(data.encode("utf-8", "surrogatepass"))
        if isinstance(value, dict):
            yield ResponseObject(value)
        elif "\n" in data:  # no empty lines between the events
            for line in data.split("\n"):
                yield from _parse_data(line, info)
        else:
            raise broken_answer("a part of it is cut short", info)
