"""Uploads: a question whose picture is being opened holds a place in the queue, or gets a 429."""

import asyncio
import base64
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_runs import run
from served import client, data_url, picture

from rag_vqa import images
from rag_vqa.server import uploads
from rag_vqa.server.engine.engine import Engine
from rag_vqa.server.engine.request_queue import QueueFull
from rag_vqa.server.service import GalleryQuestion
from rag_vqa.server.uploads import display_image, open_data_url


class Opening:
    """`images.load`, which waits for the test."""

    def __init__(self) -> None:
        self.load, self.gate, self.count = images.load, threading.Event(), 0

    def __call__(self, source, **more):
        self.count += 1
        assert threading.current_thread().name.startswith("rag-vqa-uploads") and self.gate.wait(20)
        return self.load(source, **more)


@pytest.fixture
def opening(monkeypatch) -> Iterator[Opening]:
    held = Opening()
    monkeypatch.setattr(uploads.images, "load", held)
    yield held
    held.gate.set()


def test_pictures_that_wait_fill_the_queue_and_who_goes_away_leaves_it(rag, held, opening) -> None:
    url = data_url(picture())

    async def work(engine: Engine) -> None:
        waiting = [asyncio.create_task(open_data_url(engine, url, "image")) for _ in range(4)]
        while opening.count < 2:  # two at once
            await asyncio.sleep(0.005)
        with pytest.raises(QueueFull):
            await open_data_url(engine, url, "image")
        waiting[3].cancel()
        await asyncio.wait(waiting[3:])
        late = asyncio.create_task(open_data_url(engine, url, "image"))  # there is room again
        await asyncio.sleep(0)
        opening.gate.set()
        assert all(await asyncio.gather(*waiting[:3], late))

    engine = run(rag, work, queue=4)
    assert opening.count == 4  # what was cancelled before its turn was not opened
    assert engine.metrics.counts["refused"] == 1


def test_evidence_is_shown_while_uploads_are_opened(rag, held, monkeypatch) -> None:
    gate, began = threading.Event(), threading.Event()
    data = picture()

    def stuck(address, field):
        began.set()
        assert gate.wait(20)
        return data

    monkeypatch.setattr(uploads, "_decode_data_url", stuck)

    async def work(engine: Engine) -> None:
        waiting = [asyncio.create_task(open_data_url(engine, "x", "image")) for _ in range(3)]
        await asyncio.to_thread(began.wait)
        async with asyncio.timeout(10):
            assert (await display_image(data))[1].startswith("image/")
        gate.set()
        await asyncio.gather(*waiting)

    run(rag, work)


def test_base64_may_have_line_breaks(make) -> None:
    lines = base64.encodebytes(picture()).decode().replace("\n", "\r\n")  # 76 letters each
    with client(make()) as asking:
        sent = {"text": "x", "image": f"data:image/png;base64,{lines}"}
        assert lines.count("\n") > 1 and asking.post("/v1/search", json=sent).status_code == 200
        assert asking.post("/v1/search", json={"text": "x", "image": None}).status_code == 200


def test_an_empty_picture_is_named_as_the_client_named_it(make) -> None:
    with client(make()) as asking:
        sent = {"text": "x", "image": "data:image/png;base64,"}
        told = asking.post("/v1/search", json=sent).json()["error"]["message"]
    assert told.startswith("image: ") and "empty" in told and "<" not in told


def test_a_broken_picture_says_no_place_of_this_machine(make, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(picture()[:60])
    gallery = [
        GalleryQuestion("a", "what", broken),
        GalleryQuestion("b", "what", tmp_path / "none.png"),
    ]
    with client(make(gallery=gallery)) as asking:
        for n in (0, 1):
            response = asking.get(f"/v1/gallery/{n}")
            assert response.status_code == 404 and str(tmp_path) not in response.text
