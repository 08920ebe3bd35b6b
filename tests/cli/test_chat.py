"""chat: what it takes, and that it goes on."""

import io
import sys
from inspect import signature

from rag_vqa.cli.ask import ask, chat

QUESTION = "where do puffins nest"


def test_chat_has_no_json(cli, birds, loads) -> None:
    done = cli("chat", birds, "--json")
    assert (done.code, loads) == (2, [])
    assert "--json" in done.err


def test_chat_goes_on_after_an_error(cli, birds, monkeypatch, reader) -> None:
    lines = f"{QUESTION}\n/image none.jpg\n\nstorks?\n/quit\nnever\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    done = cli("chat", birds)
    assert done.code == 0
    assert "no such file" in done.err
    assert [prompt.text.count("storks?") for prompt in reader.prompts] == [0, 1]


def test_chat_takes_no_other_word_for_image(cli, birds, monkeypatch, reader) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("/images none.jpg\n"))
    done = cli("chat", birds)
    assert done.code == 0 and "error" not in done.err and reader.prompts == []
    assert done.err.count("/image FILE") == 2  # as it began, and now


def test_chat_has_the_options_of_ask() -> None:
    assert set(signature(ask).parameters) - set(signature(chat).parameters) == {"text"}
    assert set(signature(chat).parameters) <= set(signature(ask).parameters)


def test_chat_honours_them(cli, birds, monkeypatch, reader) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{QUESTION}\n"))
    done = cli("chat", birds, "--where", "lang=de", "--max-pixels", 99, "--max-images", 2,
               "--max-new-tokens", 9, "--device", "cpu")  # fmt: skip
    assert done.code == 0
    assert [hit.document.id for hit in reader.prompts[0].kept] == ["swift"]
    asked = ("max_pixels", "max_images", "max_new_tokens", "device")
    assert [reader.options[name] for name in asked] == [99, 2, 9, "cpu"]
