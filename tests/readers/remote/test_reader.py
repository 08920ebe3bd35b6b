"""RemoteReader against servers in this process: rows, streams, several servers, the API key."""

import logging
import signal
import threading
import traceback
from collections import defaultdict
from contextlib import nullcontext
from typing import Any

import pytest
from openai_server import OpenAiServer, answer, asked_questions, question, row_prompts, text_prompt

from rag_vqa.errors import Missing, ReaderError, UsageError
from rag_vqa.readers.base import Reader
from rag_vqa.readers.remote.reader import RemoteReader
from rag_vqa.types import Completion, ImagePart, Prompt, PromptLimits, TextPart

SECRET = "sk-very-secret-0123456789"


def test_it_is_a_reader(server: OpenAiServer) -> None:
    reader: Reader = RemoteReader("served", [server.address], max_new_tokens=9, max_images=2)
    [completion] = reader.generate([text_prompt("where?")])
    assert completion == Completion("answer to where?", 7, 3, "stop", model="served")
    assert (reader.name, reader.limits) == ("served@server", PromptLimits(2, 8192 - 9))
    [(path, headers, body)] = server.requests
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == "Bearer none"
    assert body == {
        "model": "served", "max_tokens": 9, "temperature": 0, "reasoning_effort": "none",
        "chat_template_kwargs": {"enable_thinking": False, "thinking": False},
        "messages": [
            {"role": "system", "content": "Answer."}, {"role": "user", "content": "where?"}
        ],
    }  # fmt: skip
    assert reader.generate([]) == []


def test_each_row_has_a_length_of_its_own(server: OpenAiServer) -> None:
    reader = RemoteReader("served", [server.address], max_new_tokens=9)
    reader.generate(row_prompts(3), max_tokens=[2, None, 1000])
    asked = {question(body): body["max_tokens"] for _, _, body in server.requests}
    assert asked == {"row 0": 2, "row 1": 9, "row 2": 9}


def test_what_the_answers_depend_on_names_no_server_and_no_path(server: OpenAiServer) -> None:
    one = RemoteReader("/data/models/qwen/", [server.address])
    two = RemoteReader("/data/models/qwen", [server.address, "http://other:1/v1"], concurrency=2)
    assert (one.name, one.settings) == (two.name, two.settings)
    assert one.name == "qwen@server"
    assert one.settings["max_new_tokens"] == 128


def _noted(waits: list[float]) -> Any:
    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    return sleep


def test_requests_are_spaced_evenly(server: OpenAiServer, monkeypatch: Any) -> None:
    waits: list[float] = []
    reader = RemoteReader("served", [server.address], requests_per_minute=6)
    monkeypatch.setattr("rag_vqa.readers.remote.retrying_client.asyncio.sleep", _noted(waits))
    reader.generate(row_prompts(3))
    # All three want to go at once: at 0, 10 and 20 seconds, less what this test takes.
    assert [round(wait, -1) for wait in waits] == [0, 10, 20]


def test_requests_are_shared_among_servers() -> None:
    """Eight at once, none of which is answered before all are there: four go to each."""
    together = threading.Barrier(8)

    def wait(body: dict[str, Any], tries: int) -> str:
        together.wait(30)
        return "ok"

    with OpenAiServer(wait) as one, OpenAiServer(wait) as two:
        for server in (one, two):
            server.lock = nullcontext()  # requests are let in at the same time
        reader = RemoteReader("served", [one.address, two.address], concurrency=4)
        completions = reader.generate(row_prompts(8))
    assert [each.text for each in completions] == [answer(f"row {n}") for n in range(8)]
    assert (len(one.requests), len(two.requests)) == (4, 4)
    assert sorted(asked_questions(one) + asked_questions(two)) == [f"row {n}" for n in range(8)]


def test_a_row_is_cancelled_alone_and_its_request_is_closed() -> None:
    def plan(body: dict[str, Any], tries: int) -> str:
        return "endless" if question(body) == "row 1" else "ok"

    heard: dict[int, list[str]] = defaultdict(list)

    def on_text(row: int, piece: str) -> bool:
        heard[row].append(piece)
        return row != 1 or len(heard[1]) < 3

    with OpenAiServer(plan) as server:
        reader = RemoteReader("served", [server.address])
        first, cut, last = reader.generate(row_prompts(3), on_text)
        again = reader.generate(row_prompts(1))  # the connection that was closed is not used again
    assert cut == Completion("wordwordword".replace("dw", "d w"), 0, 0, "cancelled", model="served")
    assert heard[1] == ["word", " word", " word"]
    assert (first.finish, last.finish) == ("stop", "stop")
    assert again == [first]


def test_an_exception_of_on_text_is_raised(server: OpenAiServer) -> None:
    def on_text(row: int, piece: str) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        RemoteReader("served", [server.address]).generate(row_prompts(5), on_text)


def test_it_works_inside_a_running_loop(server: OpenAiServer) -> None:
    """As in a notebook."""
    import asyncio

    async def cell() -> list[Completion]:
        return RemoteReader("served", [server.address]).generate(row_prompts(2))

    assert [each.text for each in asyncio.run(cell())] == [answer("row 0"), answer("row 1")]


def _picture() -> Any:
    from PIL import Image

    return Image.new("RGB", (8, 8))


def test_too_many_images_are_refused_before_anything_is_sent(server: OpenAiServer) -> None:
    reader = RemoteReader("served", [server.address])
    with pytest.raises(ReaderError, match="holds 2 images and the reader takes 1"):
        reader.generate([Prompt((ImagePart(_picture()), ImagePart(_picture()), TextPart("x")))])
    assert server.requests == []


def test_after_an_interrupt_the_reader_works_again(server: OpenAiServer) -> None:
    """^C reaches the thread that waits, not the one that asks."""

    def interrupt(body: dict[str, Any], tries: int) -> str:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return "hang"

    server.plan = interrupt
    reader = RemoteReader("served", [server.address])
    with pytest.raises(KeyboardInterrupt):
        reader.generate(row_prompts(1))
    server.plan = lambda body, tries: "ok"
    assert reader.generate(row_prompts(1))[0].text == answer("row 0")


# The key


def test_the_key_comes_from_the_environment_and_openais_goes_to_openai_alone(
    server: OpenAiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-theirs")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-theirs")
    RemoteReader("served", [server.address]).generate(row_prompts(1))
    assert "theirs" not in str(server.requests)
    monkeypatch.setenv("RAG_VQA_API_KEY", SECRET)
    RemoteReader("served", [server.address]).generate(row_prompts(1))
    assert server.requests[1][1]["authorization"] == f"Bearer {SECRET}"
    assert "theirs" not in str(server.requests)


def test_the_key_is_in_no_setting_message_or_log(
    quick, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Servers that repeat it in what they say, wrong or right."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("RAG_VQA_API_KEY", SECRET)
    told: list[str] = []
    with OpenAiServer(key="another") as wrong:
        reader = RemoteReader("served", [wrong.address])
        told.append(repr((reader.name, reader.settings, reader.servers, reader)))
        with pytest.raises(Missing, match="RAG_VQA_API_KEY") as refused:
            reader.generate(row_prompts(3))
        told += traceback.format_exception(refused.value)
    for step in (
        {"status": 400, "error": {"message": f"key {SECRET}"}},
        {"status": 500, "detail": {"headers": f"Bearer {SECRET}"}},
        "cut",
    ):
        with OpenAiServer(lambda body, tries, s=step: dict(s) if isinstance(s, dict) else s) as odd:
            [failed] = RemoteReader("served", [odd.address], retries=1).generate(row_prompts(1))
            assert failed.finish == "failed"
            told.append(failed.error)
    assert SECRET not in "".join(told)
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"servers": []},
        {"servers": ["localhost:8000"]},
        {"servers": ["ftp://a/v1"]},
        {"servers": [f"http://me:{SECRET}@a/v1"]},
        {"servers": [f"http://a/v1?key={SECRET}"]},
        {"concurrency": 0},
        {"requests_per_minute": 0},
        {"max_context": 64, "max_new_tokens": 64},
        {"model": ""},
    ],
)
def test_invalid_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as error:
        RemoteReader(**{"model": "served", "servers": ["http://localhost:1/v1"], **wrong})
    assert SECRET not in str(error.value)
