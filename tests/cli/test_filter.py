"""`--filter critic` on every verb that reads, and what is refused of it."""

import io
import sys

import pytest

QUESTION = "where do puffins nest"


@pytest.fixture(autouse=True)
def judged(reader) -> None:
    reader.weighs = {"puffins nest in": 0.2, "storks nest": 0.9, "": 0.0}


def test_ask_reads_what_the_critic_keeps(cli, birds, reader) -> None:
    done = cli("ask", birds, QUESTION, "-k", 3, "--filter", "critic")
    lines = done.out.splitlines()
    assert done.code == 0, done.err
    assert lines[0].startswith("[1] Atlantic puffin") and lines[0].endswith("0.20")
    assert lines[1].startswith("[2] White stork") and lines[1].endswith("0.90")
    assert [hit.document.id for hit in reader.prompts[0].kept] == ["puffin", "stork"]


def test_threshold_and_top_are_settings(cli, birds) -> None:
    for more, kept in (("filter.threshold=0.5", ["stork"]), ("filter.top=1", ["stork"]),
                       ("filter.threshold=0", ["puffin", "stork", "swift"])):  # fmt: skip
        done = cli("ask", birds, QUESTION, "-k", 3, "--filter", "critic", "--set", more, "--json")
        assert [hit["id"] for hit in done.json["hits"]] == kept
    assert set(done.json["hits"][0]["scores"]) == {"retrieve", "critic"}
    assert done.json["seconds"].keys() == {"retrieve", "select", "read"}


def test_that_nothing_is_left_is_said(cli, birds, reader) -> None:
    done = cli("ask", birds, QUESTION, "--filter", "critic", "--set", "filter.threshold=1")
    assert (done.code, done.out.strip()) == (0, "In burrows [1].")
    assert "kept none" in done.err
    assert reader.prompts[0].template == "closed-book"


def test_prompt_show_and_chat_have_it_too(cli, birds, reader, monkeypatch) -> None:
    shown = cli("prompt", "show", birds, QUESTION, "--filter", "critic", "--json")
    assert shown.json["kept"] == ["puffin", "stork"]
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{QUESTION}\n"))
    assert cli("chat", birds, "--filter", "critic").code == 0
    assert [hit.document.id for hit in reader.prompts[0].kept] == ["puffin", "stork"]


def test_without_it_nobody_is_judged(cli, birds, reader) -> None:
    assert cli("ask", birds, QUESTION, "--filter", "none").code == 0
    assert cli("ask", birds, QUESTION).code == 0
    assert reader.weighed == []


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--filter", "best"], "filter.name"),
        (["--filter", "critic", "-k", "0"], "--filter"),
        (["--set", "filter.top=3"], "--filter critic"),
        (["--filter", "critic", "--set", "filter.threshold=2"], "filter.threshold"),
        (["--filter", "critic", "--set", "filter.top=0"], "filter.top"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_model_loads(
    cli, birds, loads, args, says
) -> None:
    done = cli("ask", birds, QUESTION, *args)
    assert (done.code, done.out, loads) == (2, "", [])
    assert says in done.err
