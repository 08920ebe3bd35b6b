"""A server with fake models: in this thread (`client`), or at a real address (`running`)."""

import base64
import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image
from starlette.testclient import TestClient

from rag_vqa.server.access import Access
from rag_vqa.server.app import create_app, make_uvicorn_server, open_socket
from rag_vqa.server.service import Service

TOKEN = "a-token-of-the-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
QUESTION = "where do puffins nest"


def chat(text: str = QUESTION, *pictures: str, **more: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    content: Any = text
    if pictures:
        shown = [{"type": "image_url", "image_url": {"url": url}} for url in pictures]
        content = [{"type": "text", "text": text}, *shown]
    return {"messages": [{"role": "user", "content": content}], **more}


def picture(kind: str = "PNG", **more: Any) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((40, 30), 90).convert("RGB").save(buffer, kind, **more)
    return buffer.getvalue()


def data_url(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def with_exif(text: str) -> bytes:
    """A photo whose EXIF names its place and its author."""
    exif = Image.Exif()
    exif[0x013B] = text  # Artist
    exif[0x010E] = text  # ImageDescription
    exif.get_ifd(0x8825)[1] = "N"
    return picture("JPEG", exif=exif)


@contextmanager
def client(service: Service, **headers: str) -> Iterator[TestClient]:
    """A client of a server that is ready, at 127.0.0.1."""
    app = create_app(service)
    at = ("127.0.0.1", 5000)
    with TestClient(app, "http://127.0.0.1", headers=headers, client=at) as asking:
        wait(lambda: asking.get("/ready").status_code == 200)
        yield asking


@contextmanager
def running(
    service: Service, root_path: str = "", stop_seconds: float = 5, host: str = "127.0.0.1"
) -> Iterator[str]:
    """Runs a server in a thread with uvicorn; yields its address."""
    taken = open_socket(host, 0)
    app = create_app(service)
    server = make_uvicorn_server(app, root_path, stop_seconds)
    thread = threading.Thread(target=server.run, args=([taken],), daemon=True)
    thread.start()
    try:
        wait(lambda: app.state.load_error or (server.started and service.engine.ready))
        assert app.state.load_error is None
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        taken.close()
        assert not thread.is_alive()


def wait(done: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


def guarded(public: bool = False, **more: Any) -> Access:
    return Access(token=TOKEN, public=public, **more)
