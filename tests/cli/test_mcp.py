"""`rag-vqa mcp`: what is refused, and that clients get a reply before any model loads."""

import json
import os
import signal
import subprocess
import sys

import pytest

from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling.encoder import Encoder


def test_what_cannot_be_meant_is_refused(cli, birds, loads, tmp_path) -> None:
    for options in (["--json"], ["--images", tmp_path / "none"], ["--template", "none"]):
        done = cli("mcp", birds, *options)
        assert done.code == 2 and done.out == "" and options[0] in done.err
    assert cli("mcp", tmp_path / "none.kb").code == 2
    assert loads == []


def test_it_serves_before_models_load(cli, birds, loads, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "0")  # put back afterwards
    served: list[list[str]] = []
    monkeypatch.setattr(
        "mcp.server.mcpserver.MCPServer.run", lambda server: served.append(list(loads))
    )
    done = cli("mcp", birds, "-k", "2")
    assert (done.code, done.out, served) == (0, "", [[]])
    assert os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"


@pytest.mark.parametrize("verb", ["search", "ask"])
def test_other_verbs_load_the_retriever_at_once(cli, birds, loads, verb) -> None:
    assert cli(verb, birds, "nest").code == 0 and loads[0] == "fake"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_signal_ends_it_while_its_client_is_silent(checkpoint, tmp_path, number, code) -> None:
    """Its standard input stays open, as a terminal's does."""
    with KnowledgeBase.create(tmp_path / "birds.kb", Encoder.load(checkpoint, device="cpu")) as kb:
        kb.add([{"id": "1", "text": "a red bird"}])
    command = [sys.executable, "-m", "rag_vqa", "mcp", str(tmp_path / "birds.kb"), "--quiet",
               "--reader", "demo"]  # fmt: skip
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as server:
        assert server.stdin is not None and server.stdout is not None and server.stderr is not None
        who = {"name": "a test", "version": "0"}
        asked = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": who}
        greeting = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": asked}
        print(json.dumps(greeting), file=server.stdin, flush=True)
        assert json.loads(server.stdout.readline())["result"]["serverInfo"]["name"] == "rag-vqa"
        server.send_signal(number)
        try:
            assert server.wait(60) == code
        finally:
            server.kill()
        assert server.stderr.read() == ("^C stopped.\n" if number == signal.SIGINT else "")
