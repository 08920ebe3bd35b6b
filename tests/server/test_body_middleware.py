import asyncio
import json
import tracemalloc

import pytest
from served import chat, client

from rag_vqa.server.error_responses import ApiError
from rag_vqa.server.middleware import BodyMiddleware
from rag_vqa.server.request_limits import MAX_BODIES_BYTES, MAX_BODY_BYTES

JSON = {"Content-Type": "application/json"}


async def nothing(*_: object) -> None: ...


def sent(pieces, headers=()) -> dict:
    """The status for a body that arrives in these pieces, and how many bytes were taken."""
    given, waiting = [], iter(pieces)

    async def receive():
        piece = next(waiting, None)
        if piece is None:
            return {"type": "http.request", "body": b"", "more_body": False}
        given.append(len(piece))
        return {"type": "http.request", "body": piece, "more_body": True}

    scope = {"type": "http", "headers": [(k.encode(), v.encode()) for k, v in headers]}
    try:
        asyncio.run(BodyMiddleware(nothing)(scope, receive, nothing))
    except ApiError as refused:
        return {"status": refused.status, "taken": sum(given)}
    return {"status": 200, "taken": sum(given)}


def test_a_body_without_length_is_read_as_far_as_there_is_room() -> None:
    piece = bytes(2**16)
    tracemalloc.start()
    found = sent(piece for _ in range(16_000))  # a gigabyte, if it were taken
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["status"] == 413
    assert MAX_BODY_BYTES < found["taken"] <= MAX_BODY_BYTES + 2**16
    assert peak < 2.5 * MAX_BODY_BYTES  # a growing buffer is there twice at times


@pytest.mark.parametrize("length", [str(MAX_BODY_BYTES + 1), "9" * 30, "-1", "x", ""])
def test_a_length_that_is_too_large_is_refused_unread(length) -> None:
    assert sent([b"x"], [("content-length", length)]) == {"status": 413, "taken": 0}


def test_all_bodies_together_have_a_bound_and_give_their_room_back() -> None:
    async def run() -> list[int]:
        release = asyncio.Event()

        async def app(*_: object) -> None:
            await release.wait()

        bodies = BodyMiddleware(app)

        async def one() -> int:
            pieces = [bytes(MAX_BODY_BYTES // 2)]

            async def receive():
                return {"type": "http.request", "body": pieces.pop(), "more_body": False}

            try:
                await bodies({"type": "http", "headers": []}, receive, nothing)
            except ApiError as refused:
                return refused.status
            return 200

        most = MAX_BODIES_BYTES // (MAX_BODY_BYTES // 2)
        tasks = [asyncio.create_task(one()) for _ in range(most + 3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        release.set()
        codes = [await task for task in tasks]
        return [*codes, await one()]

    codes = asyncio.run(run())
    assert codes.count(429) == 3 and codes[-1] == 200


@pytest.mark.parametrize(
    "body",
    [b"[" * 150_000, b'{"a":' * 50_000, b'{"where": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
     b"[[],[]" + b",[]" * 100_000 + b"]", b"", b"null", b'"text"', b"[1]", b"\xff\xfe", b"{",
     b"NaN", b'{"text": NaN}', b'{"text": "x", "k": 1e400}', b'{"text": "\\ud800"}',
     b'\xef\xbb\xbf{"text": 1}', b'{"text": "x", "text": 1}', b"9" * 10_000,
     b'{"k": ' + b"9" * 10_000 + b"}"],
)  # fmt: skip
def test_what_is_no_such_json_is_refused(make, body) -> None:
    with client(make()) as asking:
        for path in ("search", "chat/completions", "documents", "prompt", "explain", "feedback"):
            assert asking.post(f"/v1/{path}", content=body, headers=JSON).status_code == 400


def test_ten_thousand_parts_are_refused(make) -> None:
    part = {"type": "text", "text": "x"}
    many = {"messages": [{"role": "user", "content": [part] * 10_000}]}
    with client(make()) as asking:
        assert asking.post("/v1/chat/completions", json=many).status_code == 400
        many = {"messages": chat()["messages"] * 10_000}
        assert asking.post("/v1/chat/completions", json=many).status_code == 400
        many = {"documents": [{"id": str(n)} for n in range(10_000)]}
        assert asking.post("/v1/documents", json=many).status_code == 400


def test_many_values_are_refused_before_they_are_made(make) -> None:
    body = json.dumps({"text": "x", "where": {"lang": [[]] * 300_000}}).encode()
    with client(make()) as asking:
        sent = asking.post("/v1/search", content=body, headers=JSON)
        assert sent.status_code == 400 and sent.json()["error"]["code"] == "too_many_values"
