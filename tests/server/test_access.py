from dataclasses import replace

import pytest
from served import BEARER, QUESTION, TOKEN, chat, client, guarded

from rag_vqa.errors import UsageError
from rag_vqa.server.access import Access, read_token

DOCUMENT = {"documents": [{"id": "new", "text": "wrens nest in hedges"}]}
# What is asked, and what each gets: without a token, without one where the server is public, with
# one. Written out from the promise: "--public opens the page, ask, search and evidence pictures
# alone"; a server with a token answers nothing else without it but that it is there.
ROUTES = [
    ("GET", "/", None, 200, 200, 200),
    ("GET", "/static/main.js", None, 200, 200, 200),
    ("GET", "/health", None, 200, 200, 200),
    ("GET", "/ready", None, 200, 200, 200),
    ("GET", "/v1/info", None, 401, 200, 200),
    ("GET", "/v1/models", None, 401, 200, 200),
    ("GET", "/v1/models/rag-vqa", None, 401, 200, 200),
    ("GET", "/v1/models/none", None, 401, 404, 404),
    ("HEAD", "/health", None, 200, 200, 200),
    ("POST", "/v1/chat/completions", chat(), 401, 200, 200),
    ("POST", "/v1/chat/completions", chat(stream=True), 401, 200, 200),
    ("POST", "/v1/chat/completions", chat(rag_vqa={"prompt": True}), 401, 401, 200),
    ("POST", "/v1/search", {"text": QUESTION}, 401, 200, 200),
    ("GET", "/v1/documents/puffin/image", None, 401, 404, 404),
    ("GET", "/v1/gallery/0", None, 401, 404, 404),
    ("POST", "/v1/prompt", chat(), 401, 401, 200),
    ("POST", "/v1/explain", {"text": QUESTION, "document": "none"}, 401, 401, 404),
    ("POST", "/v1/documents", DOCUMENT, 401, 401, 200),
    ("GET", "/v1/documents/puffin", None, 401, 401, 200),
    ("DELETE", "/v1/documents/swift", None, 401, 401, 200),
    ("POST", "/v1/feedback", {"id": "x", "good": True}, 401, 401, 404),
    ("GET", "/metrics", None, 401, 401, 200),
    ("GET", "/openapi.json", None, 401, 401, 200),
    ("GET", "/docs", None, 401, 401, 404),
    ("GET", "/nothing", None, 401, 401, 404),
    ("GET", "/v1/documents/a%2Fimage", None, 401, 401, 404),
    ("GET", "//v1/info", None, 401, 401, 404),
    ("GET", "/static/..%2faccess.py", None, 200, 200, 404),
    ("PUT", "/v1/search", {}, 401, 401, 405),
    ("DELETE", "/v1/search", None, 401, 401, 405),
]


@pytest.mark.parametrize("public", [False, True])
def test_every_route_with_and_without_token(make, public) -> None:
    with client(make(access=guarded(public))) as asking:
        for method, path, body, closed, opened, held in ROUTES:
            place = f"{method} {path}"
            for sent in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
                response = asking.request(method, path, json=body, headers=sent)
                wanted = opened if public else closed
                if path.startswith("/static/.."):
                    wanted = 404
                assert response.status_code == wanted, place
                if response.status_code == 401:
                    assert response.headers["www-authenticate"] == "Bearer"
                    assert response.json()["error"]["code"] == "invalid_api_key"
            response = asking.request(method, path, json=body, headers=BEARER)
            assert response.status_code == held, place


def test_without_a_token_this_machine_may_do_all(make) -> None:
    with client(make()) as asking:
        for method, path, body, _, _, held in ROUTES:
            assert asking.request(method, path, json=body).status_code == held, (method, path)


def test_the_tables_name_every_route(make) -> None:
    with client(make()) as asking:
        schema = asking.get("/openapi.json").json()["paths"]
    known = {(method, path.partition("?")[0]) for method, path, *_ in ROUTES}
    for path, methods in schema.items():
        example = path.replace("{id}", "puffin").replace("{number}", "0").replace("{name}", "none")
        for method in methods:
            named = {("DELETE", "/v1/documents/swift")} if method == "delete" else set()
            assert (method.upper(), example) in known or named & known, (method, path)


@pytest.mark.parametrize(
    "given",
    [{"host": "0.0.0.0"}, {"host": "192.0.2.1"}, {"host": "::"}, {"public": True},
     {"allowed_hosts": ("rag.example",)}],
)  # fmt: skip
def test_whoever_is_reached_from_elsewhere_needs_a_token(given) -> None:
    with pytest.raises(UsageError, match=r"secrets\.token_urlsafe"):
        Access(**given)
    Access(**given, token=TOKEN)


def test_a_token_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(UsageError, match="16 characters"):
        Access(token="secret")


def test_tokens_come_from_a_file_or_the_environment(tmp_path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert read_token(file, "other") == TOKEN
    assert read_token(None, f" {TOKEN} ") == TOKEN
    assert read_token(None, None) == ""
    for wrong in ("", "two words", "größer-als-alles-andere"):
        file.write_text(wrong)
        with pytest.raises(UsageError, match="holds no valid token"):
            read_token(file, None)
    with pytest.raises(UsageError, match="cannot be read"):
        read_token(tmp_path / "none", None)


def test_a_token_of_the_environment_is_looked_at_as_a_files_is() -> None:
    for wrong in ("two words that are long", "größer-als-alles-andere"):
        with pytest.raises(UsageError, match="RAG_VQA_TOKEN holds no valid token"):
            read_token(None, wrong)


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_what_a_proxy_hands_on_needs_a_token(make, name) -> None:
    with client(make()) as asking:
        response = asking.get("/v1/info", headers={name: "192.0.2.7"})
        assert response.status_code == 403 and "--token-file" in response.json()["error"]["message"]
    with client(make(access=guarded()), **BEARER) as asking:
        assert asking.get("/v1/info", headers={name: "192.0.2.7"}).status_code == 200


def test_where_a_retriever_lies_is_told_to_who_may_know(make, encoder, monkeypatch) -> None:
    service = make(access=guarded(public=True))
    manifest = replace(service.engine.rag.kb.manifest, source="/home/one/models/ret")
    monkeypatch.setattr(service.engine.rag.kb, "manifest", manifest)
    assert service.info(trusted=False)["retriever"] == "ret"
    assert service.info(trusted=True)["retriever"] == "/home/one/models/ret"
