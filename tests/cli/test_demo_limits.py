"""The built-in models state their limits on the command line once, and are mixed with no others."""

import json
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from rag_vqa.demo_limits import default_reader
from rag_vqa.retriever.knowledge_base import KnowledgeBase

REAL = "Qwen/Qwen3-VL-2B-Instruct"
WARNING = "The built-in models only know national flags. For these documents use --preset laptop"
FLAGS = [{"id": "jm", "text": "The capital is Kingston. The national day is 6 August."}]
MUSEUM = [{"id": "vase", "text": "A blue vase with cranes, made in Harne."}]


@pytest.fixture
def demo(encoder, monkeypatch):
    """An encoder that passes for the built-in retriever."""
    monkeypatch.setattr(encoder, "source", "demo", raising=False)
    return encoder


def write(path: Path, documents: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(each)}\n" for each in documents))
    return path


@pytest.fixture
def museum(tmp_path, demo):
    with KnowledgeBase.create(tmp_path / "museum.kb", demo) as kb:
        kb.add(MUSEUM)
    return tmp_path / "museum.kb"


@pytest.fixture
def flags(tmp_path, demo):
    with KnowledgeBase.create(tmp_path / "flags.kb", demo) as kb:
        kb.add(FLAGS)
    return tmp_path / "flags.kb"


def warnings_in(text: str) -> list[str]:
    return [line for line in text.splitlines() if "national flags" in line]


def test_a_build_of_other_documents_warns_once(cli, tmp_path, demo) -> None:
    source = write(tmp_path / "museum.jsonl", MUSEUM)
    done = cli("kb", "build", source, "--out", tmp_path / "x.kb")
    (line,) = warnings_in(done.err)
    assert done.code == 0
    assert line.startswith(f"{WARNING} (6.3 GB download): rag-vqa kb build SOURCE --out NEW.kb")
    for verb in ("add", "sync"):
        assert len(warnings_in(cli("kb", verb, source, "--out", tmp_path / "x.kb").err)) == 1


def test_a_dry_run_warns_too(cli, tmp_path, demo) -> None:
    source = write(tmp_path / "museum.jsonl", MUSEUM)
    assert len(warnings_in(cli("kb", "build", source, "--out", "x.kb", "--dry-run").err)) == 1


def test_quiet_builds_say_nothing(cli, tmp_path, demo) -> None:
    source = write(tmp_path / "museum.jsonl", MUSEUM)
    assert cli("--quiet", "kb", "build", source, "--out", tmp_path / "x.kb").err == ""


def test_documents_of_the_flag_world_are_not_warned_of(cli, tmp_path, demo, flags) -> None:
    source = write(tmp_path / "other-name.jsonl", FLAGS)
    built = cli("kb", "build", source, "--out", tmp_path / "x.kb")
    asked = cli("ask", flags, "What is the capital?")
    assert (built.code, asked.code) == (0, 0)
    assert warnings_in(built.err + asked.err) == []


@pytest.mark.parametrize("verb", ["search", "ask"])
def test_search_and_ask_warn_once_and_json_stays_pure(cli, museum, verb) -> None:
    done = cli(verb, museum, "vase", "--json")
    assert done.json and len(warnings_in(done.err)) == 1
    assert warnings_in(done.out) == []
    assert cli("--quiet", verb, museum, "vase", "--json").err == ""


def test_chat_warns_once(cli, museum, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO("vase\nvase again\n/quit\n"))
    assert len(warnings_in(cli("chat", museum).err)) == 1


@pytest.mark.parametrize(
    "models",
    [
        ["--reader", REAL],
        ["--preset", "laptop"],
        ["--reader", REAL, "--server", "http://localhost:9/v1"],
        ["--set", f"reader.model={REAL}"],
    ],
)
@pytest.mark.parametrize("verb", ["ask", "chat", "prompt show", "serve", "mcp"])
def test_the_demo_retriever_is_not_combined_with_another_reader(
    cli, museum, flags, loads, verb, models
) -> None:
    asked = ["vase"] if verb in ("ask", "prompt show") else []
    for kb in (museum, flags):
        done = cli(*verb.split(), kb, *asked, *models)
        assert (done.code, done.out, loads) == (2, "", [])
        assert f"--retriever demo --reader {REAL}" in done.err
        assert "rag-vqa kb build SOURCE --out NEW.kb --preset laptop" in done.err


def test_an_evaluation_does_not_combine_them_either(cli, museum, tmp_path, loads) -> None:
    asked = [{"id": "q", "question": "Where?", "answers": ["Harne"], "document_ids": ["vase"]}]
    questions = write(tmp_path / "questions.jsonl", asked)
    done = cli("eval", "run", "own", questions, "--kb", museum, "--out", tmp_path / "run",
               "--reader", REAL)  # fmt: skip
    assert (done.code, loads) == (2, [])
    assert "name both" in done.err and not (tmp_path / "run").exists()


def test_the_demo_itself_keeps_to_its_own_reader(cli, loads) -> None:
    done = cli("demo", "--set", f"reader.model={REAL}")
    assert (done.code, loads) == (2, [])
    assert "name both" in done.err


def test_a_search_needs_no_reader_so_a_preset_changes_nothing(cli, museum) -> None:
    assert cli("search", museum, "vase", "--preset", "laptop", "-k", 1).code == 0


def test_without_retrieval_any_reader_may_answer(cli, museum, monkeypatch) -> None:
    monkeypatch.setattr("rag_vqa.jobs.download_consent.is_available", lambda *_: True)
    assert cli("ask", museum, "vase", "--reader", REAL, "-k", 0).code == 0


def test_both_named_are_combined_and_the_retriever_still_warns(cli, museum, monkeypatch) -> None:
    monkeypatch.setattr("rag_vqa.jobs.download_consent.is_available", lambda *_: True)
    done = cli("ask", museum, "vase", "--reader", REAL, "--retriever", "demo")
    assert done.code == 0
    (line,) = warnings_in(done.err)
    assert line.startswith("The built-in retriever only knows national flags.")


def test_who_names_no_reader_gets_a_quotation(cli, museum, birds, monkeypatch) -> None:
    monkeypatch.setattr("rag_vqa.demo_limits.default_reader", default_reader)
    for kb in (museum, birds):
        done = cli("ask", kb, "where do puffins nest")
        assert done.code == 0
        assert "Reading with the reader quote" in done.err


def test_unknown_is_explained_on_stderr(cli, museum, flags, reader) -> None:
    reader.says, reader.name = "unknown", "demo@0123+nf4"
    done = cli("ask", museum, "Where was the vase made?", "--reader", "demo")
    assert done.out.splitlines()[-1] == "unknown"
    assert (
        "No answer found. The built-in demo reader only understands questions about flags; use "
        "--preset laptop for these documents." in done.err
    )
    assert "geography, people, government" in cli("ask", flags, "Who wrote Hamlet?").err
    spoken = cli("ask", museum, "Where was the vase made?", "--json").json
    assert spoken["text"] == "unknown" and spoken["notes"][0].startswith("No answer found.")
    assert cli("--quiet", "ask", museum, "Where was the vase made?").err == ""
