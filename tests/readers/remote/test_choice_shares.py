"""Choices by a server's log probabilities: spellings, unreported choices, rows that fail."""

import math
from pathlib import Path
from typing import Any

import pytest
from openai_server import OpenAiServer, question

from rag_vqa.errors import ReaderError, UsageError
from rag_vqa.readers.remote.choice_shares import choice_shares
from rag_vqa.readers.remote.reader import RemoteReader
from rag_vqa.types import ImagePart, Prompt, TextPart


def rows(count: int) -> list[Prompt]:
    return [Prompt((TextPart(f"row {number}"),)) for number in range(count)]


def reporting(*tokens: tuple[Any, Any]) -> dict[str, Any]:
    top = [{"token": token, "logprob": p, "bytes": None} for token, p in tokens]
    place = {"token": tokens[0][0], "logprob": tokens[0][1], "bytes": None, "top_logprobs": top}
    message = {"role": "assistant", "content": tokens[0][0]}
    choice = {"index": 0, "finish_reason": "length", "message": message}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "served",
            "choices": [{**choice, "logprobs": {"content": [place]}}]}  # fmt: skip


def logs(**shares: float) -> list[tuple[str, float]]:
    return [(token, math.log(p)) for token, p in shares.items()]


def test_choices_share_the_probability_of_their_first_tokens(server: OpenAiServer) -> None:
    # P(yes) = .5 + .1, P(no) = .2, the rest is others': shared as 3 to 1.
    told = reporting(*logs(yes=0.5, Yes=0.1, no=0.2, maybe=0.1))
    server.plan = lambda body, tries: dict(told)
    reader = RemoteReader("served", [server.address])
    table = reader.choice_probability(rows(2), ["yes", "no"])
    assert table == [pytest.approx([0.75, 0.25])] * 2
    assert server.requests[0][2]["top_logprobs"] == 20
    assert server.requests[0][2]["max_tokens"] == 1


@pytest.mark.parametrize("spelling", ["yes", "Yes", "YES", " yes", "▁Yes", "ĠYes", "\nyes"])
def test_however_a_choice_is_spelt_it_counts(spelling: str) -> None:
    tokens = [(spelling, math.log(0.6)), ("No", math.log(0.15)), (" no", math.log(0.05))]
    assert choice_shares(tokens, ["yes", "no"]) == pytest.approx([0.75, 0.25])


def test_a_choice_that_is_not_reported_has_at_most_the_least_reported_probability() -> None:
    # The least is .1, and 1 - .9 - .06 = .04 is left: "no" cannot be likelier than that.
    assert choice_shares(logs(Yes=0.8, maybe=0.1), ["yes", "no"]) == pytest.approx([8 / 9, 1 / 9])
    told = logs(Yes=0.9, maybe=0.06)
    assert choice_shares(told, ["yes", "no"]) == pytest.approx([0.9 / 0.94, 0.04 / 0.94])


def test_of_pieces_of_a_choice_the_longest_counts() -> None:
    tokens = logs(Y=0.3, Ye=0.2, ye=0.1, no=0.1)
    assert choice_shares(tokens, ["yes", "no"]) == pytest.approx([0.75, 0.25])


def test_a_server_without_log_probabilities_is_an_error_that_says_so(server: OpenAiServer) -> None:
    reader = RemoteReader("served", [server.address])
    with pytest.raises(ReaderError, match="log probabilities"):
        reader.choice_probability(rows(1), ["yes", "no"])
    server.plan = lambda body, tries: reporting(("Certainly", -0.1))
    with pytest.raises(ReaderError, match="none of"):
        reader.choice_probability(rows(1), ["yes", "no"])
    server.plan = lambda body, tries: reporting((None, -0.1), ("yes", "-0.1"), ("no", 3))
    with pytest.raises(ReaderError, match="log probabilities"):
        reader.choice_probability(rows(1), ["yes", "no"])


def test_a_row_that_cannot_be_weighed_is_a_readers_error_and_costs_itself_alone(
    server: OpenAiServer, tmp_path: Path
) -> None:
    """Each is asked alone then, as an evaluation does: the others are weighed."""
    told = {"row 0": logs(yes=0.8, no=0.2), "row 1": logs(Certainly=0.9)}
    server.plan = lambda body, tries: reporting(*told[question(body)])
    gone = Prompt((ImagePart(tmp_path / "gone.png"), TextPart("row 0")))
    reader = RemoteReader("served", [server.address])
    for bad in (rows(2)[1], gone):
        with pytest.raises(ReaderError):
            reader.choice_probability([rows(1)[0], bad], ["yes", "no"])
        with pytest.raises(ReaderError):
            reader.choice_probability([bad], ["yes", "no"])
        assert reader.choice_probability(rows(1), ["yes", "no"]) == [pytest.approx([0.8, 0.2])]


@pytest.mark.parametrize(
    "choices", [["yes"], ["yes", "yes"], ["y", "yes"], ["", "no"], ["Yes", "yes"], [" ", "no"]]
)
def test_choices_that_share_their_start_are_refused(
    server: OpenAiServer, choices: list[str]
) -> None:
    with pytest.raises(UsageError, match="choices"):
        RemoteReader("served", [server.address]).choice_probability(rows(1), choices)
