"""RemoteReader when servers fail: which rows fail, what the message says, when a batch stops."""

import random
import threading
from collections import Counter, defaultdict
from typing import Any

import pytest
from openai_server import OpenAiServer, answer, question, row_prompts, text_prompt

from rag_vqa.errors import Missing
from rag_vqa.readers.remote import retrying_client
from rag_vqa.readers.remote.reader import RemoteReader
from rag_vqa.types import ImagePart, Prompt, TextPart

# How many of 100 requests fail, and how.
FAULTS = {"429": 10, "500": 5, "cut": 2, "hang": 1, "empty": 1}


def misbehaving(body: dict[str, Any], tries: int) -> str:
    """Each try of a row is drawn anew; the fourth is answered, for no row is meant to fail."""
    kinds = ["ok", *FAULTS]
    weights = [100 - sum(FAULTS.values()), *FAULTS.values()]
    drawn = random.Random(f"{question(body)} {tries}").choices(kinds, weights)[0]
    return drawn if tries < 3 else "ok"


@pytest.mark.parametrize("streaming", [False, True])
def test_a_server_that_misbehaves_leaves_one_completion_a_row(quick, streaming: bool) -> None:
    prompts = row_prompts(500)
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

        first, bad, last = reader.generate(row_prompts(3), on_text if streaming else None)
    assert (first.text, last.text) == (answer("row 0"), answer("row 2"))
    assert bad.finish == "failed"
    assert bad.text == heard[1]  # a stream that is cut each time has told its beginning
    assert f"server at 127.0.0.1:{server.port}" in bad.error
    assert "after 3 tries" in bad.error
    assert server.tries == {"row 0": 1, "row 1": 3, "row 2": 1}


@pytest.mark.parametrize(
    ("second", "says"), [("other", "a different answer"), ("empty", "empty answer of 0 tokens")]
)
def test_streamed_text_cannot_be_taken_back(quick, second: str, says: str) -> None:
    steps = ["cut", second, "empty"]
    pieces: list[str] = []
    with OpenAiServer(lambda body, tries: steps[tries]) as server:
        reader = RemoteReader("served", [server.address], retries=2)
        [completion] = reader.generate([text_prompt("where?")], lambda row, p: pieces.append(p))
    assert pieces == ["answer", " to"]
    assert (completion.finish, completion.text) == ("failed", "answer to")
    assert says in completion.error


def test_the_wait_that_a_server_asks_for_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    plan = ["429", "500", "500", "ok"]
    with OpenAiServer(lambda body, tries: plan[tries]) as server:
        reader = RemoteReader("served", [server.address])
        monkeypatch.setattr("rag_vqa.readers.remote.retrying_client.asyncio.sleep", _noted(waits))
        [completion] = reader.generate([text_prompt("where?")])
    assert completion.finish == "stop"
    pauses = [wait for wait in waits if wait]
    assert pauses[0] == 0.1  # as the server's Retry-After says
    assert 0.75 <= pauses[1] <= 1.0  # 0.5 s doubled once, up to a quarter less
    assert 1.5 <= pauses[2] <= 2.0


def _noted(waits: list[float]) -> Any:
    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    return sleep


def test_a_server_that_dies_midway_is_left_out_and_logged_once(quick, caplog: Any) -> None:
    with OpenAiServer() as stays, OpenAiServer() as dies:

        def plan(body: dict[str, Any], tries: int) -> str:
            if len(dies.requests) == 20:
                threading.Thread(target=dies.close).start()
            return "ok"

        dies.plan = plan
        reader = RemoteReader("served", [stays.address, dies.address], concurrency=4)
        completions = reader.generate(row_prompts(200))
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
        reader.generate(row_prompts(5))


ERRORS = [
    (400, "At most 1 image(s) may be provided in one prompt. Set `--limit-mm-per-prompt` to ...",
     "The reader's server takes 1 image a request, the prompt holds 2. Use --max-images 1, or "
     "start vLLM with --limit-mm-per-prompt '{\"image\":2}'."),
    (400, "This model's maximum context length is 4096 tokens.", "Lower -k or --max-pixels"),
    (400, "model does not support image input", "served does not see the prompt's pictures (2)"),
    (400, "At most 0 image(s) may be provided in one prompt.",
     "vLLM --limit-mm-per-prompt '{\"image\":2}'"),
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
        bad, good = reader.generate([two, text_prompt("row 1")])
    assert (bad.finish, good.finish) == ("failed", "stop")
    assert says in bad.error
    assert server.tries["row 0"] == 1


def _picture() -> Any:
    from PIL import Image

    return Image.new("RGB", (8, 8))


def test_a_model_that_is_not_served_stops_the_batch_and_names_the_served_ones() -> None:
    missing = {"status": 404, "error": {"message": "The model `other` does not exist."}}
    with OpenAiServer(lambda body, tries: dict(missing)) as server:
        reader = RemoteReader("other", [server.address], concurrency=1)
        with pytest.raises(Missing, match=r"does not exist.*--reader \(it serves served\)"):
            reader.generate(row_prompts(5))
    assert len(server.requests) == 1


def test_an_address_that_is_no_such_server_is_named(server: OpenAiServer) -> None:
    server.plan = lambda body, tries: "page"
    with pytest.raises(Missing, match="/v1"):
        RemoteReader("served", [server.address]).generate(row_prompts(1))


def test_a_redirect_is_not_followed(server: OpenAiServer) -> None:
    with OpenAiServer() as other:
        moved = {"status": 302, "location": f"{other.address}/chat/completions"}
        server.plan = lambda body, tries: dict(moved)
        with pytest.raises(Missing, match="redirects"):
            RemoteReader("served", [server.address], api_key="sk-very-secret").generate(
                row_prompts(2)
            )
    assert other.requests == []


def test_a_picture_that_cannot_be_opened_fails_its_row(server: OpenAiServer) -> None:
    reader = RemoteReader("served", [server.address])
    bad, good = reader.generate(
        [Prompt((ImagePart(b"no picture"), TextPart("x"))), text_prompt("y")]
    )
    assert (bad.finish, good.finish) == ("failed", "stop")
    assert "<bytes>" in bad.error
