"""Events are parsed as the standard says, however their bytes are cut into packets."""

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_vqa.readers.remote.event_stream import Event, EventParser, iterate_objects
from rag_vqa.readers.remote.request_failures import RequestFailure, RequestInfo
from rag_vqa.readers.remote.server_traits import ServerTraits

INFO = RequestInfo("host", "m", 0, 1, "", ServerTraits())
# From https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6.
STANDARD = {
    "data: YHOO\ndata: +2\ndata: 10\n\n": ["YHOO\n+2\n10"],
    ": test\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n": [
        "first event",
        "second event",
        " third event",
    ],
    "data\n\ndata\ndata\n\n": ["", "\n"],
    "data:test\n\ndata: test\n\n": ["test", "test"],
}


def parse(pieces: list[bytes]) -> list[Event]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)] + parser.finish()


@pytest.mark.parametrize("text", STANDARD)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_the_examples_of_the_standard(text: str, newline: str) -> None:
    events = parse([text.replace("\n", newline).encode()])
    assert [event.data for event in events] == STANDARD[text]
    assert {event.name for event in events} == {"message"}


LINES = ["data: a", "data:b", "data: é☕🚢\u2028", "event: ping", ": hm", "id: 1", "", "", "data"]


@given(
    st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(["\n", "\r\n", "\r"])), max_size=12),
    st.lists(st.integers(0, 400), max_size=20),
)
@settings(deadline=None)
def test_any_cut_gives_the_same_events(lines: list[tuple[str, str]], places: list[int]) -> None:
    data = "".join(line + end for line, end in lines).encode()
    bounds = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})

    assert parse([data[a:b] for a, b in pairwise(bounds)]) == parse([data])
    assert parse([data[n : n + 1] for n in range(len(data))]) == parse([data])


async def read(data: bytes, step: int) -> list[object]:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), step):
            yield data[start : start + step]

    found = [each async for each in iterate_objects(pieces(), INFO)]
    return [each and (each.value, each.whole) for each in found]


@pytest.mark.parametrize("step", [1, 2, 3, 100])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
async def test_the_first_letter_tells_a_stream_from_an_object(step: int, mark: bytes) -> None:
    assert await read(mark + b'\n {"a": 1}', step) == [({"a": 1}, True)]
    assert await read(mark + b'data: {"a": 1}\n\ndata: [DONE]', step) == [({"a": 1}, False), None]
    assert await read(mark, step) == []


@pytest.mark.parametrize("data", [b'{"a": ', b'data: {"a": \n\n', b"[1]"])
async def test_json_cut_short_is_a_broken_answer(data: bytes) -> None:
    with pytest.raises(RequestFailure, match="broke off") as failure:
        await read(data, 100)
    assert failure.value.action == "retry"


async def test_a_page_is_no_answer_of_this_server_at_all() -> None:
    with pytest.raises(RequestFailure, match="ends in /v1") as failure:
        await read(b" <!doctype html>", 100)
    assert failure.value.action == "drop server"
