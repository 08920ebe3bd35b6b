"""The image fetcher: which servers it asks, for how long, how many bytes, and its one error."""

import asyncio
import socket
import threading
import time
from pathlib import Path

import pytest
from internet import PUBLIC, internet, moved, ok, own_certificate
from served import picture

from rag_vqa.server import image_fetch
from rag_vqa.server.error_responses import ApiError
from rag_vqa.server.image_fetch import ImageFetcher

HERE = Path(__file__).parent
PICTURE = picture()


def fetched(fetching: ImageFetcher, address: str, held: list[int] | None = None) -> bytes:
    hold = (held if held is not None else []).append
    return asyncio.run(fetching.fetch(address, "image", hold))


def refusal(fetching: ImageFetcher, address: str, held: list[int] | None = None) -> str:
    with pytest.raises(ApiError) as refused:
        fetched(fetching, address, held)
    assert refused.value.status == 400
    return refused.value.message


@pytest.fixture
def said() -> str:
    """The error for everything that cannot be fetched, here for something that is no address."""
    return refusal(ImageFetcher(), "none")


def test_a_picture_comes_as_it_is_and_the_request_says_no_more_than_it_must(monkeypatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    held: list[int] = []
    with internet() as net:
        net.answers["/p.png?size=1"] = ok(PICTURE, "Set-Cookie: a=b")
        for _ in range(2):
            assert fetched(net.fetching(), "http://a.example/p.png?size=1#top", held) == PICTURE
    assert net.connected == [(PUBLIC, 80)] * 2
    assert sum(held) == 2 * len(ok(PICTURE, "Set-Cookie: a=b"))
    head = net.heads[1].lower().split("\r\n")
    assert head[0] == "get /p.png?size=1 http/1.1" and "host: a.example" in head
    assert "accept-encoding: identity" in head
    names = {line.partition(":")[0] for line in head[1:] if line}
    assert names == {"host", "user-agent", "accept", "accept-encoding", "connection"}


@pytest.mark.parametrize(
    "address",
    ["http://127.1/", "http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://0/",
     "https://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://[::]/",
     "http://[::ffff:169.254.169.254]/", "http://[::ffff:a9fe:a9fe]/", "http://[64:ff9b::7f00:1]/",
     "http://[64:ff9b:1::1]/", "http://[2002:7f00:1::]/", "http://[2001::1]/", "http://[fe80::1]/",
     "http://[fd00:ec2::254]/", "http://[ff02::1]/", "http://100.64.0.1/", "http://10.0.0.1/",
     "http://169.254.169.254/latest/meta-data/", "http://224.0.0.1/", "http://0.0.0.0/",
     "http://255.255.255.255/", "http://192.0.0.192/", "http://168.63.129.16/",
     "http://user@a.example/", "http://user:secret@a.example/", "http://a.example@127.0.0.1/",
     "file:///etc/passwd", "/etc/passwd", "ftp://a.example/", "gopher://a.example/",
     "data:image/png;base64,AAAA", "//a.example/", "http:a.example", "http:///x", "http://",
     "http://a.example:22/", "http://a.example:8080/", "http://a.example:0/",
     "http://a.example:99999/", "http://a.example:/", "http://a.example:80:80/",
     "http://a.example\\@127.0.0.1/", "http://a.example/\\x", "http://a.example/ x",
     " http://a.example/", "http://a.example/\r\nHost: b", "http://a.example/\t", "http://a.ex b",
     "http://\uff41.example/", "http://127\u30020\u30020\u30021/", "http://a.example/\u00e4",
     "http://a.example/\x00", "http://[a.example]/", "http://[::1%25lo]/", "http://%31/",
     f"http://a.example/{'x' * 2048}", "http://mixed.example/", "http://inside.example/",
     "http://nobody.example/", "http://nothing.example/"],
)  # fmt: skip
def test_none_of_these_connects_and_all_are_told_the_same(address, said) -> None:
    names = {
        "mixed.example": [[PUBLIC, "10.0.0.1"]],
        "inside.example": [["fd12::1"]],
        "nobody.example": [[]],
        "nothing.example": [],
    }

    def look_up(name: str, port: int) -> list[str]:
        if name == "nothing.example":
            raise socket.gaierror(-2, "Name or service not known")
        return list(net.look_up(name, port))

    with internet(**names) as net:
        assert refusal(ImageFetcher(look_up, net.connect), address) == said
    assert net.connected == []


def test_a_server_of_this_machine_sees_no_connection(monkeypatch, said) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        port = listening.getsockname()[1]
        monkeypatch.setattr(image_fetch, "_ALLOWED_PORTS", (port,))
        for name in ("127.0.0.1", "localhost", "127.1", "2130706433", "[::ffff:127.0.0.1]"):
            assert refusal(ImageFetcher(), f"http://{name}:{port}/") == said
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_a_name_is_looked_up_once_and_that_is_whom_we_speak_to() -> None:
    with internet(**{"turns.example": [[PUBLIC, "1.1.1.1"], ["127.0.0.1"]]}) as net:
        net.answers["/"] = ok(PICTURE)
        assert fetched(net.fetching(), "http://turns.example") == PICTURE
    assert net.looked_up == ["turns.example"] and net.connected == [(PUBLIC, 80)]


@pytest.mark.parametrize(
    "to",
    ["http://169.254.169.254/latest/meta-data/", "//169.254.169.254/", "http://[::1]/",
     "http://localhost/", "http://inside.example/", "file:///etc/passwd", "http://a.example:22/",
     "http://u@a.example/", "http://a.example\\@127.0.0.1/", ""],
)  # fmt: skip
def test_where_it_moved_to_is_looked_at_anew(to, said) -> None:
    with internet(**{"inside.example": [["10.0.0.1"]]}) as net:
        net.answers["/p"] = moved(to)
        assert refusal(net.fetching(), "http://a.example/p") == said
    assert {host for host, _ in net.connected} == {PUBLIC}


def test_what_moved_is_found_but_not_for_ever(said) -> None:
    with internet(**{"b.example": [["1.1.1.1"]]}) as net:
        net.answers["/1"] = moved("2")
        net.answers["/2"] = moved("//b.example:443/3")  # as the first: without TLS
        net.answers["/3"] = moved("http://a.example/4")
        net.answers["/4"] = ok(PICTURE)
        net.answers["/round"] = moved("/round")
        assert fetched(net.fetching(), "http://a.example/1") == PICTURE
        assert net.connected == [(PUBLIC, 80), (PUBLIC, 80), ("1.1.1.1", 443), (PUBLIC, 80)]
        net.connected.clear()
        assert refusal(net.fetching(), "http://a.example/round") == said
        assert len(net.connected) == 4


def test_a_name_that_moved_inside_between_two_redirects_is_refused(said) -> None:
    with internet(**{"turns.example": [[PUBLIC], ["127.0.0.1"]]}) as net:
        net.answers["/"] = moved("/next")
        assert refusal(net.fetching(), "http://turns.example/") == said
    assert net.connected == [(PUBLIC, 80)]


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 404 zanzibar-secret\r\nContent-Length: 14\r\n\r\nzanzibar-secret",
     b"zanzibar-secret",
     b"HTTP/1.1 206 Some\r\nContent-Length: 1\r\n\r\nx", b"", b"HTTP/1.1 204 None\r\n\r\n",
     b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", ok(b"x", "Content-Encoding: gzip"),
     b"HTTP/1.1 302 Found\r\nLocation: \xff\r\n\r\n", ok(PICTURE)[:-1],
     b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000],
)  # fmt: skip
def test_another_answer_than_a_file_is_not_taken_nor_repeated(answer, said) -> None:
    def send(taken: socket.socket) -> None:
        taken.sendall(answer)
        taken.shutdown(socket.SHUT_WR)

    with internet() as net:
        net.answers["/"] = send
        assert refusal(net.fetching(), "http://a.example/") == said


def test_who_is_not_reached_is_told_as_who_is_refused(said) -> None:
    with internet() as net:
        pass  # nobody listens any more
    assert refusal(net.fetching(), "http://a.example/") == said
    assert net.connected == [(PUBLIC, 80)]


def dripping(taken: socket.socket) -> None:
    taken.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        taken.sendall(b"x")
        time.sleep(0.01)


@pytest.mark.parametrize("stage", ["name", "head", "body"])
def test_a_slow_server_is_cut_at_the_deadline(monkeypatch, said, stage) -> None:
    monkeypatch.setattr(image_fetch, "FETCH_SECONDS", 0.3)
    gate = threading.Event()

    def held(name: str, port: int) -> list[str]:
        return [PUBLIC] if stage != "name" or gate.wait(20) else []

    with internet() as net:
        net.answers["/"] = dripping if stage == "body" else lambda _: gate.wait(20)
        fetcher = ImageFetcher(held, net.connect)

        async def work() -> float:
            start = time.perf_counter()
            with pytest.raises(ApiError) as refused:
                await fetcher.fetch("http://a.example/", "image", lambda _: None)
            assert refused.value.message == said
            return time.perf_counter() - start

        try:
            took = asyncio.run(work())
        finally:
            gate.set()
    assert 0.3 <= took < 5 and len(net.connected) == (stage != "name")


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "piece"),
    [(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 4096), (CHUNKED, b"1\r\nx\r\n" * 700),
     (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100)],
)  # fmt: skip
def test_an_endless_body_is_cut(monkeypatch, said, head, piece) -> None:
    most = 2**17
    monkeypatch.setattr(image_fetch, "MAX_UPLOAD_BYTES", most)
    held: list[int] = []

    def endless(taken: socket.socket) -> None:
        taken.sendall(head)
        while True:
            taken.sendall(piece)

    with internet() as net:
        net.answers["/"] = endless
        cut = refusal(net.fetching(), "http://a.example/", held)
        assert net.closed.wait(10)
    assert cut.split("at most")[0] == said.split("at most")[0]
    assert most - 2**16 <= sum(held) <= most


def test_a_body_in_chunks_is_put_together() -> None:
    with internet() as net:
        pieces = [PICTURE[at : at + 500] for at in range(0, len(PICTURE), 500)]
        chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
        net.answers["/"] = CHUNKED + b"".join(chunks) + b"0\r\n\r\n"
        assert fetched(net.fetching(), "http://a.example/") == PICTURE


def test_where_there_is_no_room_it_ends() -> None:
    def full(count: int) -> None:
        raise ApiError(429, "full")

    with internet() as net:
        net.answers["/"] = ok(PICTURE)
        with pytest.raises(ApiError, match="full"):
            asyncio.run(net.fetching().fetch("http://a.example/", "image", full))
        assert net.closed.wait(10)


def test_who_goes_away_ends_it() -> None:
    with internet() as net:
        net.answers["/"] = dripping
        fetcher = net.fetching()

        async def work() -> None:
            came = asyncio.Event()
            hold = lambda _: came.set()  # noqa: E731
            asking = asyncio.create_task(fetcher.fetch("http://a.example/", "image", hold))
            await came.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert await asyncio.to_thread(net.closed.wait, 5)

        asyncio.run(work())


@pytest.mark.parametrize(
    ("name", "known", "comes"),
    [("pictures.example", True, True), ("other.example", True, False),
     ("pictures.example", False, False)],
)  # fmt: skip
def test_a_certificate_is_of_that_name_and_of_somebody_known(name, known, comes, said) -> None:
    with internet(**{name: [[PUBLIC]]}) as net:
        net.tls, told = own_certificate(HERE), list[str | None]()
        net.tls.sni_callback = lambda _, server, __: told.append(server)
        net.answers["/"] = ok(PICTURE)
        fetcher = net.fetching(own_certificate(HERE, authority=True) if known else None)
        if comes:
            assert fetched(fetcher, f"https://{name}/") == PICTURE
        else:
            assert refusal(fetcher, f"https://{name}/") == said and net.heads == []
    assert told == [name] and net.connected == [(PUBLIC, 443)]
