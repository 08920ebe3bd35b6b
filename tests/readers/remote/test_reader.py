"""RemoteReader against servers in this process: rows, streams, several servers, errors, secrets."""

import logging
import random
import signal
import threading
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from openai_server import OpenAiServer, answer, question

from rag_vqa.errors import Missing, ReaderError, UsageError
from rag_vqa.readers.base import Reader
from rag_vqa.readers.remote import retrying_client
from rag_vqa.readers.remote.reader import RemoteReader
from rag_vqa.types import Completion, ImagePart, Prompt, PromptLimits, TextPart

SECRET = "sk-very-secret-0123456789"


def asking(text: str) -> Prompt:
    return Prompt((TextPart("Answer.", trusted=True, role="system"), TextPart(text)))


def rows(count: int) -> list[Prompt]:
    return [asking(f"row {number}") for number in range(count)]


def said(server: OpenAiServer) -> list[str]:
    return [question(body) for _, _, body in server.requests]


@pytest.fixture
def server() -> Iterator[OpenAiServer]:
    with OpenAiServer() as running:
        yield running


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits before another try that take no second."""
    monkeypatch.setattr("rag_vqa.readers.remote.retrying_client._FIRST_WAIT", 0.01)


def test_it_is_a_reader(server: OpenAiServer) -> None:
    reader: Reader = RemoteReader("served", [server.address], max_new_tokens=9, max_images=2)
    [completion] = reader.generate([asking("where?")])
    assert completion == Completion("answer to where?", 7, 3, "stop", model="served")
    assert (reader.name, reader.limits) == ("served@server", PromptLimits(2, 8192 - 9))
    [(path, headers, body)] = server.requests
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == "Bearer none"
    assert body == {
        "model": "served", "max_tokens": 9, "temperature": 0,
        "messages": [
            {"role": "system", "content": "Answer."}, {"role": "user", "content": "where?"}
        ],
    }  # fmt: skip
    assert reader.generate([]) == []


def test_each_row_has_a_length_of_its_own(server: OpenAiServer) -> None:
    reader = RemoteReader("served", [server.address], max_new_tokens=9)
    reader.generate(rows(3), max_tokens=[2, None, 1000])
    asked = {question(body): body["max_tokens"] for _, _, body in server.requests}
    assert asked == {"row 0": 2, "row 1": 9, "row 2": 9}


def test_what_the_answers_depend_on_names_no_server_and_no_path(server: OpenAiServer) -> None:
    one = RemoteReader("/data/models/qwen/", [server.address])
    two = RemoteReader("/data/models/qwen", [server.address, "http://other:1/v1"], concurrency=2)
    assert (one.name, one.settings) == (two.name, two.settings)
    assert one.name == "qwen@server"
    assert one.settings["max_new_tokens"] == 64


# Of 100 requests: so many fail, and how.
FAULTS = {"429": 10, "500": 5, "cut": 2, "hang": 1, "empty": 1}


def misbehaving(body: dict[str, Any], tries: int) -> str:
    """Each try of a row is drawn anew; the fourth is answered, for no row is meant to fail."""
    kinds = ["ok", *FAULTS]
    weights = [100 - sum(FAULTS.values()), *FAULTS.values()]
    drawn = random.Random(f"{question(body)} {tries}").choices(kinds, weights)[0]
    return drawn if tries < 3 else "ok"


@pytest.mark.parametrize("streaming", [False, True])
def test_a_server_that_misbehaves_leaves_one_completion_a_row(quick, streaming: bool) -> None:
    prompts = rows(500)
    heard: dict[int, str] = defaultdict(str)

    def on_text(row: int, piece: str) -> None:
        heard[row] += piece

    with OpenAiServer(misbehaving) as server:
        reader = RemoteReader("served", [server.address], timeout=2)
        completions = reader.generate(prompts, on_text if streaming else None)
        drawn = Counter(
            misbehaving(body, tries)
            for prompt in prompts
            for body in [{"messages": [{"content": prompt.parts[1].text}]}]
            for tries in range(server.tries[prompt.parts[1].text])
        )
    assert min(drawn[fault] for fault in FAULTS) > 0  # each of them happened
    assert drawn["ok"] == 500
    assert [completion.text for completion in completions] == [
        answer(f"row {number}") for number in range(500)
    ]
    assert {completion.finish for completion in completions} == {"stop"}
    if streaming:
        assert [heard[row] for row in range(500)] == [c.text for c in completions]


@pytest.mark.parametrize("fault", ["500", "cut", "empty", "429"])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_row_that_fails_for_good_is_a_failed_row(quick, fault: str, streaming: bool) -> None:
    def plan(body: dict[str, Any], tries: int) -> str:
        return fault if question(body) == "row 1" else "ok"

    with OpenAiServer(plan) as server:
        reader = RemoteReader("served", [server.address], retries=2)
        heard: dict[int, str] = defaultdict(str)

        def on_text(row: int, piece: str) -> None:
            heard[row] += piece

        first, bad, last = reader.generate(rows(3), on_text if streaming else None)
    assert (first.text, last.text) == (answer("row 0"), answer("row 2"))
    assert bad.finish == "failed"
    assert bad.text == heard[1]  # a stream that is cut each time has told its beginning
    assert f"server at 127.0.0.1:{server.port}" in bad.error
    assert "after 3 tries" in bad.error
    assert server.tries == {"row 0": 1, "row 1": 3, "row 2": 1}


@pytest.mark.parametrize(
    ("second", "says"), [("other", "another answer"), ("empty", "empty answer of 0 tokens")]
)
def test_what_was_told_cannot_be_taken_back(quick, second: str, says: str) -> None:
    steps = ["cut", second, "empty"]
    pieces: list[str] = []
    with OpenAiServer(lambda body, tries: steps[tries]) as server:
        reader = RemoteReader("served", [server.address], retries=2)
        [completion] = reader.generate([asking("where?")], lambda row, p: pieces.append(p))
    assert pieces == ["answer", " to"]
    assert (completion.finish, completion.text) == ("failed", "answer to")
    assert says in completion.error


def test_the_server_says_how_long_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    plan = ["429", "500", "500", "ok"]
    with OpenAiServer(lambda body, tries: plan[tries]) as server:
        reader = RemoteReader("served", [server.address])
        monkeypatch.setattr("rag_vqa.readers.remote.retrying_client.asyncio.sleep", _noted(waits))
        [completion] = reader.generate([asking("where?")])
    assert completion.finish == "stop"
    pauses = [wait for wait in waits if wait]
    assert pauses[0] == 0.1  # as the server's Retry-After says
    assert 0.75 <= pauses[1] <= 1.0  # 0.5 s doubled once, up to a quarter less
    assert 1.5 <= pauses[2] <= 2.0


def _noted(waits: list[float]) -> Any:
    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    return sleep


def test_requests_keep_their_distance(server: OpenAiServer, monkeypatch: Any) -> None:
    waits: list[float] = []
    reader = RemoteReader("served", [server.address], requests_per_minute=6)
    monkeypatch.setattr("rag_vqa.readers.remote.retrying_client.asyncio.sleep", _noted(waits))
    reader.generate(rows(3))
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
        completions = reader.generate(rows(8))
    assert [each.text for each in completions] == [answer(f"row {n}") for n in range(8)]
    assert (len(one.requests), len(two.requests)) == (4, 4)
    assert sorted(said(one) + said(two)) == [f"row {n}" for n in range(8)]


def test_a_server_that_dies_midway_is_left_out_and_said_once(quick, caplog: Any) -> None:
    with OpenAiServer() as stays, OpenAiServer() as dies:

        def plan(body: dict[str, Any], tries: int) -> str:
            if len(dies.requests) == 20:
                threading.Thread(target=dies.close).start()
            return "ok"

        dies.plan = plan
        reader = RemoteReader("served", [stays.address, dies.address], concurrency=4)
        completions = reader.generate(rows(200))
    assert [completion.text for completion in completions] == [
        answer(f"row {n}") for n in range(200)
    ]
    left_out = [record.message for record in caplog.records if "Left out" in record.message]
    assert len(left_out) == 1
    assert f"127.0.0.1:{dies.port}" in left_out[0]


def test_no_server_at_all_stops_the_batch(quick) -> None:
    with OpenAiServer() as gone:
        pass
    reader = RemoteReader("served", [gone.address], retries=retrying_client.MAX_REFUSALS)
    with pytest.raises(Missing, match=r"does not answer.*is it running"):
        reader.generate(rows(5))


def test_a_row_is_cancelled_alone_and_the_server_is_told() -> None:
    def plan(body: dict[str, Any], tries: int) -> str:
        return "endless" if question(body) == "row 1" else "ok"

    heard: dict[int, list[str]] = defaultdict(list)

    def on_text(row: int, piece: str) -> bool:
        heard[row].append(piece)
        return row != 1 or len(heard[1]) < 3

    with OpenAiServer(plan) as server:
        reader = RemoteReader("served", [server.address])
        first, cut, last = reader.generate(rows(3), on_text)
        again = reader.generate(rows(1))  # the connection that was closed is not used again
    assert cut == Completion("wordwordword".replace("dw", "d w"), 0, 0, "cancelled", model="served")
    assert heard[1] == ["word", " word", " word"]
    assert (first.finish, last.finish) == ("stop", "stop")
    assert again == [first]


def test_what_on_text_raises_comes_out(server: OpenAiServer) -> None:
    def on_text(row: int, piece: str) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        RemoteReader("served", [server.address]).generate(rows(5), on_text)


def test_it_works_inside_a_running_loop(server: OpenAiServer) -> None:
    """As in a notebook."""
    import asyncio

    async def cell() -> list[Completion]:
        return RemoteReader("served", [server.address]).generate(rows(2))

    assert [each.text for each in asyncio.run(cell())] == [answer("row 0"), answer("row 1")]


ERRORS = [
    (400, "At most 1 image(s) may be provided in one prompt. Set `--limit-mm-per-prompt` to ...",
     "The reader's server takes 1 image a request, the prompt holds 2. Use --max-images 1, or "
     "start vLLM with --limit-mm-per-prompt '{\"image\":2}'."),
    (400, "This model's maximum context length is 4096 tokens.", "Lower -k or --max-pixels"),
    (400, "model does not support image input", "does served take images?"),
    (400, "At most 0 image(s) may be provided in one prompt.", "2; does served take images?"),
    (413, "too large", "Lower --max-images or --max-pixels"),
    (422, "Unexpected fields", "refuses (HTTP 422): Unexpected fields"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "message", "says"), ERRORS)
def test_a_request_that_is_refused_fails_its_row_with_the_flag_that_helps(
    status: int, message: str, says: str
) -> None:
    refused = {"status": status, "error": {"message": message}}
    picture = ImagePart(_picture())
    two = Prompt((picture, picture, TextPart("row 0")))
    with OpenAiServer(lambda body, t: dict(refused) if "0" in question(body) else "ok") as server:
        reader = RemoteReader("served", [server.address], max_images=2)
        bad, good = reader.generate([two, asking("row 1")])
    assert (bad.finish, good.finish) == ("failed", "stop")
    assert says in bad.error
    assert "--max-images 0" not in bad.error
    assert server.tries["row 0"] == 1


def _picture() -> Any:
    from PIL import Image

    return Image.new("RGB", (8, 8))


def test_a_model_that_is_not_served_stops_the_batch_and_those_served_are_named() -> None:
    missing = {"status": 404, "error": {"message": "The model `other` does not exist."}}
    with OpenAiServer(lambda body, tries: dict(missing)) as server:
        reader = RemoteReader("other", [server.address], concurrency=1)
        with pytest.raises(Missing, match=r"does not exist.*--reader \(it serves served\)"):
            reader.generate(rows(5))
    assert len(server.requests) == 1


def test_what_is_no_such_server_is_said(server: OpenAiServer) -> None:
    server.plan = lambda body, tries: "page"
    with pytest.raises(Missing, match="/v1"):
        RemoteReader("served", [server.address]).generate(rows(1))


def test_a_redirect_is_not_followed(server: OpenAiServer) -> None:
    with OpenAiServer() as other:
        moved = {"status": 302, "location": f"{other.address}/chat/completions"}
        server.plan = lambda body, tries: dict(moved)
        with pytest.raises(Missing, match="elsewhere"):
            RemoteReader("served", [server.address], api_key=SECRET).generate(rows(2))
    assert other.requests == []


def test_too_many_images_are_refused_before_anything_is_sent(server: OpenAiServer) -> None:
    reader = RemoteReader("served", [server.address])
    with pytest.raises(ReaderError, match="holds 2 images and the reader takes 1"):
        reader.generate([Prompt((ImagePart(_picture()), ImagePart(_picture()), TextPart("x")))])
    assert server.requests == []


def test_a_picture_that_cannot_be_opened_fails_its_row(server: OpenAiServer) -> None:
    reader = RemoteReader("served", [server.address])
    bad, good = reader.generate([Prompt((ImagePart(b"no picture"), TextPart("x"))), asking("y")])
    assert (bad.finish, good.finish) == ("failed", "stop")
    assert "<bytes>" in bad.error


def test_interrupted_it_lets_go_and_works_again(server: OpenAiServer) -> None:
    """^C reaches the thread that waits, not the one that asks."""

    def interrupt(body: dict[str, Any], tries: int) -> str:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return "hang"

    server.plan = interrupt
    reader = RemoteReader("served", [server.address])
    with pytest.raises(KeyboardInterrupt):
        reader.generate(rows(1))
    server.plan = lambda body, tries: "ok"
    assert reader.generate(rows(1))[0].text == answer("row 0")


# The key


def test_the_key_comes_from_the_environment_and_openais_goes_to_openai_alone(
    server: OpenAiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-theirs")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-theirs")
    RemoteReader("served", [server.address]).generate(rows(1))
    assert "theirs" not in str(server.requests)
    monkeypatch.setenv("RAG_VQA_API_KEY", SECRET)
    RemoteReader("served", [server.address]).generate(rows(1))
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
            reader.generate(rows(3))
        told += traceback.format_exception(refused.value)
    for step in (
        {"status": 400, "error": {"message": f"key {SECRET}"}},
        {"status": 500, "detail": {"headers": f"Bearer {SECRET}"}},
        "cut",
    ):
        with OpenAiServer(lambda body, tries, s=step: dict(s) if isinstance(s, dict) else s) as odd:
            [failed] = RemoteReader("served", [odd.address], retries=1).generate(rows(1))
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
def test_arguments_that_cannot_be_meant(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as error:
        RemoteReader(**{"model": "served", "servers": ["http://localhost:1/v1"], **wrong})
    assert SECRET not in str(error.value)
