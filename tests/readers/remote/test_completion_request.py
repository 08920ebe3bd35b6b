"""What counts as an answer: first lines, thoughts, and malformed JSON."""

import json
from typing import Any

import pytest
from openai_server import OpenAiServer, answer, question

from rag_vqa.readers.remote.answer import AnswerInProgress
from rag_vqa.readers.remote.reader import RemoteReader
from rag_vqa.readers.remote.request_failures import RequestInfo
from rag_vqa.readers.remote.responses import AnswerPart
from rag_vqa.readers.remote.server_traits import ServerTraits
from rag_vqa.types import Completion, Prompt, TextPart


def rows(count: int) -> list[Prompt]:
    return [Prompt((TextPart(f"row {number}"),)) for number in range(count)]


def saying(content: Any, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "served",
            "choices": [choice], "usage": usage, **more}  # fmt: skip


def stream_answer(server: OpenAiServer, **settings: Any) -> tuple[Completion, list[str]]:
    """A streamed completion, and its pieces."""
    pieces: list[str] = []
    reader = RemoteReader("served", [server.address], retries=0, **settings)
    [completion] = reader.generate(rows(1), lambda row, piece: pieces.append(piece))
    return completion, pieces


LINES = [("Vess\nIt is", "Vess"), ("\n Vess\nIt is\n", "\n Vess"), ("Vess", "Vess")]


@pytest.mark.parametrize(("written", "line"), LINES)
def test_a_short_answer_is_its_first_line(server: OpenAiServer, written: str, line: str) -> None:
    server.plan = lambda body, tries: saying(written)
    reader = RemoteReader("served", [server.address], stop_at_newline=True)
    assert reader.generate(rows(1)) == [Completion(line, 7, 9, "stop", model="served")]
    # Told to stop there, a server that begins with a newline would write nothing.
    assert "stop" not in server.requests[0][2]
    assert reader.settings["stop_at_newline"] is True


@pytest.mark.parametrize(("written", "line"), LINES)
def test_streamed_it_is_the_same_line(monkeypatch: Any, written: str, line: str) -> None:
    monkeypatch.setattr("openai_server.answer", lambda text: written)
    with OpenAiServer() as server:
        completion, pieces = stream_answer(server, stop_at_newline=True)
    assert (completion.text, completion.finish, "".join(pieces)) == (line, "stop", line)


def test_a_stream_is_closed_after_its_line(monkeypatch: Any) -> None:
    """Of a hundred thousand lines the first is enough."""
    monkeypatch.setattr("openai_server._handler", _endless_lines)
    with OpenAiServer(lambda body, tries: "endless") as server:
        completion, pieces = stream_answer(server, stop_at_newline=True)
    assert completion == Completion("word", 0, 0, "stop", model="served")
    assert pieces == ["word"]


def _endless_lines(
    server: OpenAiServer, handler: Any = OpenAiServer.__enter__.__globals__["_handler"]
) -> Any:
    class Lines(handler(server)):  # type: ignore[misc]
        def piece(self, choice: dict[str, Any]) -> None:
            content = choice["delta"].get("content", "")
            super().piece({"delta": {"content": content.replace(" ", "\n")}})

    return Lines


THOUGHTS = [
    ("<think>Hm.\nWell.</think>\n\nVess", "Vess"),
    (" <think></think>Vess is <think> it", "Vess is <think> it"),
    ("<thinker> Vess", "<thinker> Vess"),
    ("<th", "<th"),
]


@pytest.mark.parametrize(("written", "said"), THOUGHTS)
def test_a_leading_thought_is_no_part_of_the_answer(
    server: OpenAiServer, monkeypatch: Any, written: str, said: str
) -> None:
    monkeypatch.setattr("openai_server.answer", lambda text: written)
    completion, pieces = stream_answer(server)
    assert (completion.text, "".join(pieces)) == (said, said)
    [whole] = RemoteReader("served", [server.address]).generate(rows(1))
    assert whole.text == said
    assert whole.tokens_out == len(written.split())  # the thought is counted


@pytest.mark.parametrize("one_line", [False, True])
@pytest.mark.parametrize("written", [*(w for w, _ in THOUGHTS), *(w for w, _ in LINES)])
def test_streamed_text_is_never_taken_back(written: str, one_line: bool) -> None:
    """Letter by letter, as the slowest stream comes."""
    [whole, pieces] = [
        AnswerInProgress(one_line, True, RequestInfo("a", "m", 0, 1, "", ServerTraits()))
        for _ in range(2)
    ]
    whole.add(AnswerPart(written))
    final = whole.end().text
    for letter in written:
        before, complete = pieces.text, pieces.complete
        pieces.add(AnswerPart(letter))
        assert pieces.text.startswith(before)
        assert not complete or pieces.text == before
    assert pieces.end().text == final


def test_thoughts_without_an_end_are_no_answer(server: OpenAiServer) -> None:
    odd = saying("<think>Hm")
    odd["choices"][0]["finish_reason"] = "length"
    server.plan = lambda body, tries: dict(odd)
    [completion] = RemoteReader("served", [server.address]).generate(rows(1))
    assert "raise --max-new-tokens" in completion.error


PARTS = [{"type": "thinking", "text": "Hm"}, {"type": "text", "text": "Vess"}, {"text": "!"}]
READ = [
    (saying(PARTS), Completion("Vess!", 7, 9, model="served", reasoning="Hm")),
    (saying("a\ud800b"), Completion("a\ufffdb", 7, 9, model="served")),
    (
        saying("x", usage={"prompt_tokens": "7", "completion_tokens": []}),
        Completion("x", 7, 0, model="served"),
    ),
    (saying("x", usage=[1]), Completion("x", 0, 0, model="served")),
    (saying("x", model=5), Completion("x", 7, 9)),
]


@pytest.mark.parametrize(("sent", "read"), READ)
def test_what_can_be_read_is_read(
    server: OpenAiServer, sent: dict[str, Any], read: Completion
) -> None:
    server.plan = lambda body, tries: dict(sent)
    assert RemoteReader("served", [server.address]).generate(rows(1)) == [read]


ODD = [
    saying(42),
    saying({"text": "x"}),
    saying([["x", 1]]),
    saying(None),
    saying("x", choices="x"),
    saying("x", choices=["x"]),
    saying("x", choices=[{"message": None}]),
    saying("x", choices={"a": 1}),
    {},
]


@pytest.mark.parametrize("odd", ODD)
def test_what_cannot_be_read_fails_its_row_alone(server: OpenAiServer, odd: dict[str, Any]) -> None:
    server.plan = lambda body, tries: dict(odd) if question(body) == "row 0" else "ok"
    bad, good = RemoteReader("served", [server.address], retries=0).generate(rows(2))
    assert (bad.finish, good.text) == ("failed", answer("row 1"))
    assert f"server at 127.0.0.1:{server.port}" in bad.error


@pytest.mark.parametrize("delta", ["null", "[]", '{"content": 42}', '{"content": null}', '"x"'])
def test_odd_pieces_of_a_stream_fail_its_row(
    server: OpenAiServer, monkeypatch: Any, delta: str
) -> None:
    real = json.dumps
    monkeypatch.setattr(
        "openai_server.json.dumps",
        lambda sent, **how: real(sent, **how).replace(
            '"delta": {"content": "odd"}', f'"delta": {delta}'
        ),
    )
    monkeypatch.setattr("openai_server.answer", lambda text: "odd")
    completion, pieces = stream_answer(server)
    assert (completion.finish, pieces) == ("failed", [])
