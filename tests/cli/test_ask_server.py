"""ask and prompt show with a reader of a server."""

import pytest
from openai_server import OpenAiServer, question

from rag_vqa.readers.remote.reader import RemoteReader

QUESTION = "where do puffins nest"


@pytest.fixture
def server():
    with OpenAiServer() as running:
        yield running


def test_ask_a_server_streams_and_downloads_no_reader(cli, birds, loads, server) -> None:
    done = cli("ask", birds, QUESTION, "--reader", "Qwen/some-vl", "--server", server.address)
    assert done.code == 0, done.err
    assert "\nanswer to " in done.out
    assert loads == ["fake"]  # the retriever
    body = server.requests[0][2]
    assert (body["model"], body["stream"], body["max_tokens"]) == ("Qwen/some-vl", True, 128)
    assert QUESTION in question(body)
    told = cli("ask", birds, QUESTION, "--reader", "x", "--server", server.address, "--json").json
    assert told["model"] == "served"


def test_settings_of_a_server_reach_the_reader(cli, birds, monkeypatch, server) -> None:
    options = {}

    def remote(model, servers, **given):
        options.update(given, servers=servers)
        return RemoteReader(model, servers, **given)

    monkeypatch.setattr("rag_vqa.readers.remote.reader.RemoteReader", remote)
    monkeypatch.setattr(
        "rag_vqa.jobs.download_consent.is_available", lambda model, revision=None: True
    )
    monkeypatch.setenv("RAG_VQA_READER__SERVERS", f"{server.address}, http://localhost:1/v1")
    monkeypatch.setenv("RAG_VQA_API_KEY", "sk-1")
    done = cli("ask", birds, QUESTION, "--preset=12gb", "--set", "reader.requests_per_minute=90")
    assert done.code == 0, done.err
    assert options["servers"] == (server.address, "http://localhost:1/v1")
    assert options["requests_per_minute"] == 90
    assert (options["max_images"], options["max_pixels"]) == (3, 768 * 768)
    assert "quantization" not in options


def test_prompt_show_asks_no_server(cli, birds, server) -> None:
    verb = ["prompt", "show", birds, QUESTION, "--reader", "x", "--server", server.address]
    done = cli(*verb)
    assert done.code == 0
    assert QUESTION in done.out and "user: " in done.out
    assert server.requests == []


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--server", "http://localhost:1/v1"], "--reader MODEL"),
        (["--server", "localhost:1", "--reader", "x"], "http://localhost:8000/v1"),
        (["--server", "http://me:secret@a/v1", "--reader", "x"], "RAG_VQA_API_KEY"),
        (["--server", "http://a/v1", "--reader", "x", "--quantization", "nf4"], "quantization"),
        (["--server", "http://a/v1", "--reader", "x", "--set", "reader.dtype=float16"], "dtype"),
        (["--set", "reader.concurrency=4"], "concurrency"),
    ],
)
def test_what_belongs_to_the_other_kind_of_reader_is_refused(cli, birds, loads, args, says) -> None:
    done = cli("ask", birds, QUESTION, *args)
    assert (done.code, len(done.err.splitlines()), loads) == (2, 1, [])
    assert says in done.err
    assert "secret" not in done.err


@pytest.mark.parametrize("how", [[], ["--json"]])
def test_a_server_that_gives_no_answer_is_an_error(cli, birds, server, how) -> None:
    server.plan = lambda body, tries: "400"
    done = cli("ask", birds, QUESTION, "--reader", "x", "--server", server.address, *how)
    assert done.code == 1
    assert "error: the reader's server at 127.0.0.1" in done.err


def test_config_show_has_the_servers_and_no_key(cli, monkeypatch) -> None:
    monkeypatch.setenv("RAG_VQA_API_KEY", "sk-secret")
    done = cli("config", "show", "--json", "--set", "reader.servers=http://a/v1,http://b/v1")
    assert done.json["reader"]["servers"] == ["http://a/v1", "http://b/v1"]
    assert "secret" not in done.out + done.err
