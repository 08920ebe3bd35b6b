"""`rag-vqa serve`: what is refused before a model loads, and a server in its own process."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from rag_vqa.cli.serve import exit_cleanly_on_sigterm
from rag_vqa.errors import UsageError
from rag_vqa.server.app import open_socket

TOKEN = "a-token-of-the-tests"

# Denies every connection and every look-up of a name but those of this machine, and says so.
DENY = """
import socket, sys
LOCAL = ("127.0.0.1", "::1", "localhost", "")
def own(address):
    return not isinstance(address, tuple) or address[0] in LOCAL
def denied(name):
    before = getattr(socket.socket, name)
    def call(self, address, *rest):
        if not own(address):
            print("DENIED", address, file=sys.stderr, flush=True)
            raise OSError("denied")
        return before(self, address, *rest)
    return call
for name in ("connect", "connect_ex"):
    setattr(socket.socket, name, denied(name))
look_up = socket.getaddrinfo
def getaddrinfo(host, *rest, **more):
    if host not in (*LOCAL, None):
        print("DENIED", host, file=sys.stderr, flush=True)
        raise OSError("denied")
    return look_up(host, *rest, **more)
socket.getaddrinfo = getaddrinfo
"""


@pytest.mark.parametrize(
    ("options", "told"),
    [(["--port", "70000"], "65535"), (["--port", "-1"], "--port"), (["--host", "0.0.0.0"], "token"),
     (["--public"], "token"), (["--allowed-host", "rag.example"], "token"),
     (["--token-file", "none"], "none"), (["--root-path", "rag"], "/rag"),
     (["--keep-days", "3"], "--log-questions"), (["--log-questions", "x", "--keep-days", "0"], "1"),
     (["--root-path", "/a/../b"], "/rag"), (["--root-path", "/a//b"], "/rag"),
     (["--allowed-host", "a/b"], "a/b"), (["--host", "192.0.2.7"], "token"),
     (["-k", "-1"], "k"), (["--template", "none"], "--template"), (["--gallery", "none"], "none"),
     (["--fetch-images", "--offline"], "--offline"), (["--fetch-images", "--public"], "token"),
     (["--fetch-images", "--set", "offline=true"], "--offline")],
)  # fmt: skip
def test_what_cannot_be_meant_is_told_before_a_model_loads(
    cli, birds, loads, options, told, monkeypatch, tmp_path
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("serve", birds, *options)
    assert done.code == (3 if "--gallery" in options else 2) and told in done.err
    assert "http://" not in done.err  # it never listened
    assert loads == []


def test_a_public_server_fetches_nothing(cli, birds, loads, monkeypatch) -> None:
    monkeypatch.setenv("RAG_VQA_TOKEN", TOKEN)
    done = cli("serve", birds, "--fetch-images", "--public")
    assert done.code == 2 and "--public" in done.err and "http://" not in done.err and loads == []


@pytest.mark.parametrize("fetches", [False, True])
def test_whether_it_fetches_is_told(cli, birds, monkeypatch, fetches) -> None:
    made = []
    monkeypatch.setattr("rag_vqa.server.app.create_app", made.append)
    monkeypatch.setattr("rag_vqa.server.app.run_app", lambda *_: None)
    done = cli("serve", birds, "--port", "0", *(["--fetch-images"] if fetches else []))
    assert done.code == 0 and ("fetched" in done.err) is fetches
    assert (made[0].fetcher is not None) is fetches


def test_an_address_that_is_taken_is_told(cli, birds, loads) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = cli("serve", birds, "--port", port)
    assert done.code == 2 and port in done.err and "--port" in done.err and loads == []


def test_of_two_servers_that_start_on_one_port_the_second_is_told() -> None:
    with (
        open_socket("127.0.0.1", 0) as taken,
        pytest.raises(UsageError, match="Cannot listen on"),
    ):
        open_socket("127.0.0.1", taken.getsockname()[1])


def test_sigterm_while_models_are_opened_is_no_failure() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, exit_cleanly_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)  # it does not come to that
    assert ended.value.code == 0 and signal.getsignal(signal.SIGTERM) is before


def test_the_token_of_the_environment_is_no_setting(cli, birds, monkeypatch) -> None:
    monkeypatch.setenv("RAG_VQA_TOKEN", TOKEN)
    done = cli("serve", birds, "--host", "192.0.2.7")  # an address of nobody
    assert done.code == 2 and "192.0.2.7" in done.err and TOKEN not in done.err
    assert cli("config", "show").code == 0 and TOKEN not in cli("config", "show").out


@pytest.mark.parametrize("public", [False, True])
def test_the_page_names_the_command_that_asks_the_same(
    cli, birds, monkeypatch, tmp_path, public
) -> None:
    made = []
    monkeypatch.setattr("rag_vqa.server.app.create_app", made.append)
    monkeypatch.setattr("rag_vqa.server.app.run_app", lambda *_: None)
    monkeypatch.setenv("RAG_VQA_TOKEN", TOKEN)
    template = tmp_path / "my own.jinja"
    template.write_text("{{ question }}")
    open_to = ["--public"] if public else []
    done = cli("serve", birds, "--port", "0", "--hybrid", "--template", template, *open_to)
    assert done.code == 0, done.err
    kb, own = (birds.name, template.name) if public else (birds, template)
    assert made[0].command == f"rag-vqa ask {kb} --hybrid --template '{own}'"


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> Path:
    """A small knowledge base, built with the embedded retriever."""
    folder = tmp_path_factory.mktemp("flags")
    source = folder / "docs.jsonl"
    rows = [{"id": f"{n}", "text": f"The capital of Land {n} is Town {n}."} for n in range(3)]
    source.write_text("\n".join(json.dumps(row) for row in rows))
    build = ["kb", "build", str(source), "--out", str(folder / "kb"), "--quiet"]
    subprocess.run([sys.executable, "-m", "rag_vqa", *build], check=True, timeout=300)
    return folder / "kb"


@pytest.mark.slow
def test_offline_it_asks_nobody_and_sigterm_ends_it(flags, tmp_path) -> None:
    (tmp_path / "sitecustomize.py").write_text(DENY)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    # HF_HUB_OFFLINE is what --offline sets: here it is --offline that must.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "RAG_VQA_"))}
    environment |= {"PYTHONPATH": path, "RAG_VQA_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "hf")}
    program = [sys.executable, "-m", "rag_vqa", "serve", str(flags), "--port", "0", "--offline"]
    running = subprocess.Popen(program, env=environment, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    try:
        lines: list[str] = []
        while not (found := re.search(r"(http://127\.0\.0\.1:\d+)/", "".join(lines))):
            line = running.stderr.readline()
            assert line, "".join(lines)
            lines.append(line)
        with httpx.Client(base_url=found[1], timeout=60) as asking:
            transport_ready(asking)
            assert asking.get("/v1/info").status_code == 401
            asking.headers["Authorization"] = f"Bearer {TOKEN}"
            body = {"messages": [{"role": "user", "content": "What is the capital of Land 2?"}]}
            sent = asking.post("/v1/chat/completions", json=body)
            assert sent.status_code == 200 and len(sent.json()["rag_vqa"]["hits"]) == 3
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0
        told = "".join(lines) + running.stderr.read()
    finally:
        running.kill()
        running.communicate()
    assert "DENIED" not in told and "Traceback" not in told and "leaked" not in told
    assert "What is the capital" not in told


def transport_ready(asking: httpx.Client) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            if asking.get("/ready").status_code == 200:
                return
        except httpx.ConnectError:
            pass
        time.sleep(0.1)
    raise AssertionError("it did not become ready")


def test_the_demo_offers_flags_whose_documents_know(birds, encoder) -> None:
    from rag_vqa.checkpoints import EMBEDDED
    from rag_vqa.cli.serve import demo_gallery
    from rag_vqa.demo.gallery import country_codes, real_documents
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

    documents = {document.id for document in real_documents()}
    with KnowledgeBase.open(birds, encoder) as kb:
        assert demo_gallery(kb) == []  # documents of somebody else
        kb.manifest = replace(kb.manifest, source=EMBEDDED)
        kb.add([{"id": "jamaica/geography", "text": "flags"}])
        offered = demo_gallery(kb)
    assert "jamaica/geography" in documents
    facts = ("capital", "currency", "population", "official language", "national day",
             "highest point")  # fmt: skip
    verbs = ["When" if fact == "national day" else "What" for fact in facts]
    assert [each.question for each in offered] == [
        f"{verb} is the {fact} of this country?" for verb, fact in zip(verbs, facts, strict=True)
    ]
    assert {each.id for each in offered} <= set(country_codes())
    assert all(each.image.size == (320, 240) for each in offered)
