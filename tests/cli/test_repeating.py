"""The options that ask for a run's settings again."""

from typing import Any

import pytest
from typer.main import get_command

from rag_vqa.cli import options
from rag_vqa.cli.app import app
from rag_vqa.cli.repeating import words_of
from rag_vqa.cli.run import Run
from rag_vqa.settings import load


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, []),
        ({"k": 7, "retriever": {"hybrid": True}}, ["-k", "7", "--hybrid"]),
        ({"retriever": {"sections": True}, "filter": {"name": "critic"}},
         ["--sections", "--filter", "critic"]),
        ({"reader": {"servers": ["http://a/v1", "http://b/v1"], "model": "x"}},
         ["--reader", "x", "--server", "http://a/v1", "--server", "http://b/v1"]),
        ({"reader": {"device": "cpu"}, "retriever": {"device": "cpu"}}, ["--device", "cpu"]),
        ({"prompt": {"template": "t t.jinja"}}, ["--template", "t t.jinja"]),
    ],
)  # fmt: skip
def test_ask_takes_the_words_for_the_same_settings(given: dict[str, Any], words) -> None:
    settings = load(given, environment={})
    assert words_of(settings) == words
    verb = get_command(app).commands["ask"]  # type: ignore[attr-defined]
    context = verb.make_context("ask", ["kb", "question", *words], obj=Run())
    assert options.settings_of(context) == settings


def test_what_has_no_option_of_its_own_is_set() -> None:
    reader = {"device": "cpu", "concurrency": 2}
    asked = {"preset": "laptop", "offline": True, "seed": 4, "reader": reader}
    words = words_of(load(asked, environment={}))
    assert words[:5] == ["--preset", "laptop", "--offline", "--seed", "4"]
    assert words[5:] == ["--set", "reader.device=cpu", "--set", "reader.concurrency=2"]


def test_in_public_a_file_has_no_folder(tmp_path) -> None:
    file = tmp_path / "own.jinja"
    file.touch()
    settings = load({"prompt": {"template": str(file)}}, environment={})
    assert words_of(settings, private=True) == ["--template", "own.jinja"]
