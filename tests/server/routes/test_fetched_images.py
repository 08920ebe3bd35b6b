"""A server that fetches pictures: its routes, its limits, and its errors and logs."""

import asyncio
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from engine_runs import run
from internet import PUBLIC, Internet, internet, ok
from served import chat, client, data_url, picture

from rag_vqa.server import middleware
from rag_vqa.server.app import log_requests
from rag_vqa.server.engine.engine import Engine
from rag_vqa.server.engine.request_queue import QueueFull
from rag_vqa.server.error_responses import ApiError
from rag_vqa.server.request_limits import MAX_FETCHES
from rag_vqa.server.uploads import question_image

SECRET = "zanzibar-secret"
PICTURE = picture()
URL = "http://a.example/p.png"


@pytest.fixture
def net() -> Iterator[Internet]:
    with internet() as made:
        made.answers["/p.png"] = ok(PICTURE)
        yield made


def asks(image: str) -> list[tuple[str, dict[str, Any]]]:
    return [("chat/completions", chat("what", image)), ("prompt", chat("what", image)),
            ("search", {"text": "what", "image": image}),
            ("explain", {"text": "what", "image": image, "document": "puffin"})]  # fmt: skip


def test_a_question_may_name_an_address(make, reader, net) -> None:
    with client(make(fetcher=net.fetching())) as asking:
        *answered, explained = [asking.post(f"/v1/{path}", json=body) for path, body in asks(URL)]
        assert [each.status_code for each in answered] == [200] * 3
        # The retriever of these tests explains nothing, and says so once the picture is there.
        assert "fetched" not in explained.text
        pictures = [part.image for part in reader.prompts[-1].parts if hasattr(part, "image")]
        assert net.connected == [(PUBLIC, 80)] * 4
        assert pictures == [PICTURE]
        sent = asking.post("/v1/chat/completions", json=chat("what", data_url(PICTURE)))
        assert sent.is_success and len(net.connected) == 4
        assert asking.get("/v1/info").json()["fetches"] is True


def test_off_nothing_is_fetched(make) -> None:
    with client(make()) as asking:
        assert asking.get("/v1/info").json()["fetches"] is False
        for path, body in asks(URL):
            sent = asking.post(f"/v1/{path}", json=body)
            assert sent.status_code == 400 and "not fetched" in sent.json()["error"]["message"]


def test_pictures_of_documents_are_not_fetched(make, net) -> None:
    with client(make(fetcher=net.fetching())) as asking:
        document = {"id": "wren", "text": "wrens", "images": [URL]}
        sent = asking.post("/v1/documents", json={"documents": [document]}).json()
    assert [each["id"] for each in sent["rejected"]] == ["wren"] and net.connected == []


@pytest.mark.parametrize(
    "body", [f"<html>{SECRET}</html>".encode(), b"\x89PNG\r\n\x1a\n" + SECRET.encode(), b"",
             b"BM" + SECRET.encode() * 9, PICTURE[:-900]]
)  # fmt: skip
def test_what_is_no_picture_is_refused_and_not_repeated(make, net, body) -> None:
    net.answers["/p.png"] = ok(body)
    with client(make(fetcher=net.fetching())) as asking:
        sent = asking.post("/v1/search", json={"image": URL})
    assert sent.status_code == 400 and sent.json()["error"] == {
        "message": "image: the file at that address is not a readable picture.",
        "type": "invalid_request_error",
        "code": "invalid_image",
    }


def test_no_log_says_what_was_fetched_or_was_not(make, net, capfd) -> None:
    names = [f"http://{SECRET}.example/", f"{URL}?{SECRET}", f"http://127.0.0.1/{SECRET}", SECRET]
    net.names[f"{SECRET}.example"] = [["10.0.0.1"]]
    net.answers[f"/p.png?{SECRET}"] = ok(PICTURE)
    with log_requests(quiet=False), client(make(fetcher=net.fetching())) as asking:
        codes = [asking.post("/v1/search", json={"image": name}).status_code for name in names]
    out, err = capfd.readouterr()
    assert codes == [400, 200, 400, 400] and "POST /v1/search 200" in err and "FetchError" in err
    assert SECRET not in out + err and "10.0.0.1" not in err and PUBLIC not in err


def test_what_is_fetched_takes_room_of_bodies_and_gives_it_back(make, net, monkeypatch) -> None:
    with client(make(fetcher=net.fetching())) as asking:
        monkeypatch.setattr(middleware, "MAX_BODIES_BYTES", len(PICTURE))
        for _ in range(2):
            assert asking.post("/v1/search", json={"image": URL}).status_code == 429
        monkeypatch.setattr(middleware, "MAX_BODIES_BYTES", 2 * len(PICTURE))
        for _ in range(2):  # the second time there is room again
            assert asking.post("/v1/search", json={"image": URL}).status_code == 200


def test_slow_addresses_hold_up_no_others(rag, held, net) -> None:
    gate, came = threading.Event(), threading.Semaphore(0)

    def slow(taken: Any) -> None:
        came.release()
        assert gate.wait(20)
        taken.sendall(ok(PICTURE))

    net.answers["/p.png"] = slow
    request: Any = SimpleNamespace(state=SimpleNamespace(reserve_bytes=lambda count: None))

    async def work(engine: Engine) -> None:
        service: Any = SimpleNamespace(engine=engine, fetcher=net.fetching())

        async def asked(address: str) -> bytes:
            found = await question_image(service, request, address, "image")
            assert found is not None and found.pixels > 0
            return found.data

        waiting = [asyncio.create_task(asked(URL)) for _ in range(MAX_FETCHES)]
        for _ in waiting:
            assert await asyncio.to_thread(came.acquire, timeout=10)
        with pytest.raises(ApiError, match="try again") as refused:
            await asked(URL)
        assert refused.value.status == 429 and refused.value.retry_after
        assert await asked(data_url(PICTURE)) == PICTURE
        with engine.reserve_place(), engine.reserve_place(), pytest.raises(QueueFull):
            await asked(URL)  # those that wait have places of the queue, as whoever asks has
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        late = asyncio.create_task(asked(URL))  # there is room again
        assert await asyncio.to_thread(came.acquire, timeout=10)
        gate.set()
        assert await asyncio.gather(*waiting[1:], late) == [PICTURE] * MAX_FETCHES

    run(rag, work, queue=MAX_FETCHES + 2)
