import logging
import socket

import httpx
import pytest
from served import BEARER, chat, client, guarded, running

from rag_vqa.server.middleware import RateLimiter


@pytest.mark.parametrize(
    ("host", "known"),
    [("127.0.0.1", True), ("localhost:8000", True), ("[::1]:8000", True), ("rag.example", True),
     ("RAG.example:443", True), ("evil.example", False), ("0.0.0.0", False), ("", False),
     ("localhost.evil.example", False), ("localhost@evil.example", False), ("127.1", False),
     ("rag.example:x", False)],
)  # fmt: skip
def test_only_its_own_names_are_answered(make, host, known) -> None:
    access = guarded(allowed_hosts=("rag.example",))
    with client(make(access=access)) as asking:
        for path in ("/health", "/", "/v1/info"):
            response = asking.get(path, headers={**BEARER, "Host": host})
            assert (response.status_code == 200) is known, path
            assert known or response.json()["error"]["code"] == "unknown_host"


@pytest.mark.parametrize(
    ("origin", "known"),
    [("http://127.0.0.1", True), ("https://rag.example:8443", True), ("null", False),
     ("http://evil.example", False), ("http://127.0.0.1:3000", False), ("", False),
     ("http://127.0.0.1@evil.example", False), ("file://", False),
     ("http://rag.example.evil.example", False)],
)  # fmt: skip
def test_pages_of_others_may_not_ask(make, origin, known) -> None:
    access = guarded(allowed_hosts=("rag.example:8443",))
    with client(make(access=access), **BEARER) as asking:
        sent = asking.post("/v1/search", json={"text": "nest"}, headers={"Origin": origin})
        assert (sent.status_code == 200) is known
        assert asking.get("/v1/info", headers={"Origin": origin}).is_success is known


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_only_json_is_a_body(make, kind) -> None:
    with client(make()) as asking:
        for method, path in (("POST", "/v1/search"), ("POST", "/v1/documents"), ("PUT", "/v1/x")):
            headers = {"Content-Type": kind}
            sent = asking.request(method, path, content=b'{"text": "nest"}', headers=headers)
            assert sent.status_code == 415
        kind = "application/json; charset=utf-8"
        sent = asking.post("/v1/search", content=b'{"text": "a"}', headers={"Content-Type": kind})
        assert sent.status_code == 200


def test_every_answer_says_what_a_browser_may_do(make) -> None:
    with client(make(access=guarded()), **BEARER) as asking:
        sent = asking.post("/v1/search", content=b"no", headers={"Content-Type": "text/plain"})
        for response in (
            asking.get("/"),
            asking.get("/health"),
            asking.get("/nothing"),
            sent,
            asking.get("/v1/info"),
            asking.get("/health", headers={"Host": "evil"}),
        ):
            policy = response.headers["content-security-policy"]
            assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy
            assert not any(each in policy for each in ("unsafe", "data:", "blob:"))
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["referrer-policy"] == "no-referrer"
            assert "server" not in response.headers and "access-control-allow-origin" not in (
                response.headers
            )


def test_preflight_is_not_answered(make) -> None:
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    with client(make()) as asking:
        response = asking.options("/v1/search", headers=asked)
        assert response.status_code == 403
        assert not [name for name in response.headers if name.startswith("access-control")]


def test_a_client_without_token_may_ask_so_often(make) -> None:
    with client(make(access=guarded(public=True))) as asking:
        codes = [asking.post("/v1/search", json={"text": "nest"}).status_code for _ in range(25)]
        assert codes[:19] == [200] * 19 and codes[-1] == 429
        refused = asking.post("/v1/search", json={"text": "nest"})
        assert 1 <= int(refused.headers["retry-after"]) <= 3
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert asking.post("/v1/search", json={"text": "nest"}, headers=BEARER).is_success
        assert asking.get("/health").is_success


def test_a_bucket_fills_again() -> None:
    now = [0.0]
    rates = RateLimiter(lambda: now[0])
    for _ in range(20):
        assert rates.take("192.0.2.1") == 0
    assert rates.take("192.0.2.1") == pytest.approx(2.0)  # 30 a minute
    assert rates.take("192.0.2.2") == 0
    now[0] = 2.0
    assert rates.take("192.0.2.1") == 0
    assert rates.take("192.0.2.1") > 0


def test_one_household_of_version_6_is_one_client() -> None:
    rates = RateLimiter(lambda: 0.0)
    spent = [rates.take(f"2001:db8::{n:x}") for n in range(1, 25)]
    assert spent[19] == 0 and spent[20] > 0
    assert rates.take("2001:db8:0:1::1") == 0


def test_so_many_clients_are_remembered_and_no_more(monkeypatch) -> None:
    monkeypatch.setattr("rag_vqa.server.middleware.MAX_CLIENTS", 3)
    rates = RateLimiter(lambda: 0.0)
    for n in range(100):
        rates.take(f"192.0.2.{n}")
    assert rates.client_count == 3


def test_no_error_says_what_is_inside(make, monkeypatch, caplog) -> None:
    secret = "puffin-secret"

    def broken(*_: object, **__: object) -> None:
        raise ValueError(f"{secret} /etc/passwd")

    service = make()
    with client(service) as asking, caplog.at_level(logging.DEBUG):
        monkeypatch.setattr(service.engine.rag.kb, "search", broken)
        for body in (chat(secret), chat(secret, stream=True)):
            response = asking.post("/v1/chat/completions", json=body)
            assert response.status_code in (500, 503)
            assert secret not in response.text and "passwd" not in response.text
        response = asking.post("/v1/search", json={"text": secret})
        assert response.status_code == 500
        assert response.json()["error"]["code"] == "internal_error"
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert "ValueError" in logged and secret not in logged and secret not in caplog.text


def test_the_page_is_whole_and_asks_nobody_else(make) -> None:
    with client(make()) as asking:
        page = asking.get("/")
        assert page.headers["content-type"].startswith("text/html")
        tag = page.headers["etag"]
        assert asking.get("/", headers={"If-None-Match": tag}).status_code == 304
        assert asking.get("/static/page.css").headers["content-type"].startswith("text/css")
        assert asking.get("/static/main.js").headers["content-type"].startswith("text/javascript")
        for name in ("..%2f..%2ferrors.py", "%2e%2e", "none.js", "index.html%00", "__init__.py"):
            assert asking.get(f"/static/{name}").status_code == 404


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_all_addresses_of_version_6_are_those_of_version_4_too(make) -> None:
    access = guarded(host="::")
    with running(make(access=access), host="::") as address:
        port = address.rpartition(":")[2]
        for connect, named in [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "localhost"),
                               ("[::1]", "[::1]"), ("[::1]", "localhost")]:  # fmt: skip
            sent = httpx.get(f"http://{connect}:{port}/health", headers={"Host": f"{named}:{port}"})
            assert sent.status_code == 200, (connect, named)
        sent = httpx.get(f"http://127.0.0.1:{port}/health", headers={"Host": "evil.example"})
        assert sent.status_code == 403
