"""Requests to several servers: some serve another model, some die, or none is there."""

import threading
from typing import Any

import pytest
from openai_server import OpenAiServer, answer, question

from rag_vqa.errors import Missing
from rag_vqa.readers.remote.reader import RemoteReader
from rag_vqa.types import Prompt, TextPart


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits before another try that take no second."""
    monkeypatch.setattr("rag_vqa.readers.remote.retrying_client.FIRST_WAIT", 0.01)


def rows(count: int) -> list[Prompt]:
    return [Prompt((TextPart(f"row {number}"),)) for number in range(count)]


def refusing(status: int, **more: Any) -> Any:
    return lambda body, tries: {"status": status, "error": {"message": "not here"}, **more}


USELESS = [
    refusing(404),
    refusing(401),
    refusing(403),
    refusing(302, location="http://127.0.0.1:9/v1"),
    lambda body, tries: "page",
    lambda body, tries: {
        "status": 429,
        "error": {"message": "paid?", "code": "insufficient_quota"},
    },
]


@pytest.mark.parametrize("plan", USELESS)
def test_one_useless_server_of_two_is_left_out_and_logged_once(plan: Any, caplog: Any) -> None:
    with OpenAiServer() as good, OpenAiServer(plan) as bad:
        reader = RemoteReader("served", [bad.address, good.address], concurrency=1, retries=0)
        completions = reader.generate(rows(9))
    assert [each.text for each in completions] == [answer(f"row {n}") for n in range(9)]
    assert len(bad.requests) == 1
    left_out = [record.message for record in caplog.records if "Left out" in record.message]
    assert len(left_out) == 1
    assert f"127.0.0.1:{bad.port}" in left_out[0]


def test_where_all_are_useless_the_batch_stops_and_a_later_one_asks_again() -> None:
    with OpenAiServer(refusing(404)) as one, OpenAiServer(refusing(401)) as two:
        reader = RemoteReader("served", [one.address, two.address], concurrency=1)
        with pytest.raises(Missing):
            reader.generate(rows(50))
        assert len(one.requests) + len(two.requests) < 8
        one.plan = two.plan = lambda body, tries: "ok"
        assert reader.generate(rows(1))[0].text == answer("row 0")


def test_a_prompt_that_one_server_does_not_take_is_put_to_one_other() -> None:
    with OpenAiServer(refusing(400)) as small, OpenAiServer() as large:
        reader = RemoteReader("served", [small.address, large.address], concurrency=1, retries=0)
        assert {each.finish for each in reader.generate(rows(4))} == {"stop"}
        large.plan = refusing(400)
        large.tries.clear()
        small.tries.clear()
        [failed] = reader.generate(rows(1))
    assert (failed.finish, small.tries["row 0"], large.tries["row 0"]) == ("failed", 1, 1)


def test_what_was_answered_before_the_servers_died_is_kept() -> None:
    with OpenAiServer() as server:

        def plan(body: dict[str, Any], tries: int) -> str:
            if question(body) == "row 3":
                threading.Thread(target=server.close).start()
            return "ok"

        server.plan = plan
        reader = RemoteReader("served", [server.address], concurrency=1, retries=3)
        completions = reader.generate(rows(40))
        with pytest.raises(Missing, match="does not answer"):
            reader.generate(rows(2))
    finishes = [each.finish for each in completions]
    assert finishes[:4] == ["stop"] * 4
    assert finishes[-1] == "failed"
    assert "does not answer" in completions[-1].error


def test_a_server_that_never_answered_is_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []
    monkeypatch.setattr(
        "rag_vqa.readers.remote.retrying_client.backoff_seconds",
        lambda tried: waits.append(tried) or 0.0,
    )
    with OpenAiServer() as gone:
        pass
    with pytest.raises(Missing, match=r"is it running.*\(after 2 tries\)"):
        RemoteReader("served", [gone.address]).generate(rows(1))
    assert waits == [0]


def test_a_server_that_was_there_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be starting again."""
    waits = []
    monkeypatch.setattr(
        "rag_vqa.readers.remote.retrying_client.backoff_seconds",
        lambda tried: waits.append(tried) or 0.0,
    )
    with OpenAiServer() as server:
        reader = RemoteReader("served", [server.address])
        reader.generate(rows(1))
    with pytest.raises(Missing, match="after 6 tries"):
        reader.generate(rows(1))
    assert waits == [0, 1, 2, 3, 4]
