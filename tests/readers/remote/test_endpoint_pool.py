"""Which of several servers gets the next request, on a clock that the test controls."""

from typing import Any

import pytest

from rag_vqa.readers.remote.retrying_client import (
    MAX_REFUSALS,
    REST_SECONDS,
    Endpoint,
    EndpointPool,
    RequestPacer,
)
from rag_vqa.readers.remote.server_error import parse_retry_after


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def three(clock: Clock) -> EndpointPool:
    return EndpointPool([Endpoint(f"http://{name}:1/v1", None) for name in "abc"], clock)


def strike(endpoints: EndpointPool, server: Endpoint, times: int = MAX_REFUSALS) -> None:
    for _ in range(times):
        endpoints.record_refusal(server, f"{server.host} is gone")


def test_the_one_with_the_fewest_requests_under_way_is_next(three: EndpointPool) -> None:
    a, b, c = three.servers
    a.open_requests, b.open_requests, c.open_requests = 2, 1, 3
    assert three.pick() is b
    b.open_requests = 2
    b.requests = 7  # as many under way: the one that was asked less
    assert three.pick() is a
    assert three.pick(failed=a) is b


def test_the_dead_rest_and_are_tried_again(three: EndpointPool, clock: Clock, caplog: Any) -> None:
    a, b, _ = three.servers
    strike(three, a, MAX_REFUSALS - 1)
    three.record_response(a)
    strike(three, a, MAX_REFUSALS - 1)
    assert three.pick() is a  # fewer than MAX_REFUSALS in a row
    strike(three, a, 1)
    strike(three, a)  # of requests that were under way
    assert three.pick() is b
    assert [record.message for record in caplog.records] == [
        "Left out until it answers: a:1 is gone"
    ]
    clock.now += REST_SECONDS + 1
    assert three.pick() is a
    three.record_response(a)
    assert caplog.records[-1].message == "The reader's server at a:1 answers again"
    strike(three, a, 1)
    assert three.pick() is a


def test_with_all_out_the_first_to_rest_is_the_first_to_be_tried(
    three: EndpointPool, clock: Clock
) -> None:
    for server in three.servers:
        assert not three.none_available
        strike(three, server)
        clock.now += 1
    assert three.none_available
    assert three.pick() is three.servers[0]


def test_a_single_server_is_tried_again_after_a_failure(clock: Clock) -> None:
    alone = EndpointPool([Endpoint("http://a/v1", None)], clock)
    assert alone.pick(failed=alone.servers[0]) is alone.servers[0]


def test_no_pace_is_no_wait() -> None:
    assert [RequestPacer().wait(now) for now in (0.0, 0.0, 5.0)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("stated", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("soon", None), ("nan", None), (None, None),
     ("Fri, 13 Feb 2009 23:32:30 GMT", 60.0), ("Fri, 13 Feb 2009 23:31:00 GMT", 0.0)],
)  # fmt: skip
def test_retry_after(stated: str | None, seconds: float | None, monkeypatch: Any) -> None:
    # 1234567890 is Friday, 13 February 2009, 23:31:30 UTC.
    monkeypatch.setattr("rag_vqa.readers.remote.server_error.time", lambda: 1234567890.0)
    assert parse_retry_after({} if stated is None else {"retry-after": stated}) == seconds
