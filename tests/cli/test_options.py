"""The options that ask for a run's settings again."""

from typing import Any

import pytest
from typer.main import get_command

from rag_vqa.cli import options
from rag_vqa.cli.app import app
from rag_vqa.cli.ask_command import settings_to_args
from rag_vqa.cli.context import CommandContext
from rag_vqa.settings import load_settings


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
        ({"metadata": {"show": "artist, year"}}, ["--show", "artist", "--show", "year"]),
        ({"metadata": {"show": ""}}, ["--show", ""]),
    ],
)  # fmt: skip
def test_ask_takes_the_words_for_the_same_settings(given: dict[str, Any], words) -> None:
    settings = load_settings(given, environment={})
    assert settings_to_args(settings) == words
    verb = get_command(app).commands["ask"]  # type: ignore[attr-defined]
    context = verb.make_context("ask", ["kb", "question", *words], obj=CommandContext())
    assert options.settings_from_options(context) == settings


def test_what_has_no_option_of_its_own_is_set() -> None:
    reader = {"device": "cpu", "concurrency": 2}
    asked = {"preset": "laptop", "offline": True, "seed": 4, "reader": reader}
    words = settings_to_args(load_settings(asked, environment={}))
    assert words[:5] == ["--preset", "laptop", "--offline", "--seed", "4"]
    assert words[5:] == ["--set", "reader.device=cpu", "--set", "reader.concurrency=2"]


def test_in_public_a_file_has_no_folder(tmp_path) -> None:
    file = tmp_path / "own.jinja"
    file.touch()
    settings = load_settings({"prompt": {"template": str(file)}}, environment={})
    assert settings_to_args(settings, private=True) == ["--template", "own.jinja"]


@pytest.mark.parametrize("verb", [["ask"], ["chat"], ["serve"], ["mcp"], ["eval", "run"]])
def test_an_option_of_a_reader_is_declared_once_for_every_verb_that_reads(verb: list[str]) -> None:
    command: Any = get_command(app)
    for name in verb:
        command = command.commands[name]
    taken = {parameter.name: parameter for parameter in command.params}
    for name in options.READING:
        declared = options.SETTING_OPTIONS[name]
        assert declared.flag.split("/")[0] in taken[name].opts
        assert taken[name].help == declared.help
