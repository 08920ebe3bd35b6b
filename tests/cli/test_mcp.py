"""`rag-vqa mcp`: what is refused, and that a client is greeted before any model loads."""

import os

import pytest


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
