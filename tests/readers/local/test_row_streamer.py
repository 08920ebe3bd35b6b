"""Streamed pieces: whole characters, each row on its own, and joined they are the text."""

from typing import Any

import pytest
import torch

from rag_vqa.readers.local.generation import Detokenizer, RowStreamer


class Bytes:
    """A tokenizer whose tokens are bytes, but 256 and above, which are skipped as special ones."""

    def decode(self, ids: list[int], **_: Any) -> str:
        return bytes(i for i in ids if i < 256).decode("utf-8", errors="replace")


END = 300


def pieces_of(data: bytes) -> list[str]:
    detokenizer = Detokenizer(Bytes())
    return [*(detokenizer.push(byte) for byte in data), detokenizer.flush()]


@pytest.mark.parametrize(
    "text", ["", "plain", "é", "Zürich · 東京 🇳🇴", "a\u0301 👩‍👩‍👧", "\ufffd!"]
)
def test_never_half_a_character(text: str) -> None:
    pieces = pieces_of(text.encode())
    assert "".join(pieces) == text
    assert all(piece == "" or piece in text for piece in pieces)
    if "\ufffd" not in text:  # each as soon as it is whole
        assert [piece for piece in pieces if piece] == list(text)


@pytest.mark.parametrize(
    "data", [b"\xf0\x9f", b"ok \xe2\x82", b"\xff\xfe\xfd\xff\xff ok", b"\x80" * 9]
)
def test_damaged_bytes_come_out_marked_and_block_nothing(data: bytes) -> None:
    pieces = pieces_of(data)
    text = "".join(pieces)
    assert "\ufffd" in text
    assert ("ok" in text) == (b"ok" in data)


def test_a_long_row_of_damage_is_not_held_back_to_the_end() -> None:
    assert "".join(pieces_of(b"\x80" * 9 + b"!")[:5]) != ""


def run(rows: list[bytes], on_text: Any, steps: int) -> RowStreamer:
    """Feeds the columns of a batch, as generate() does; rows that have ended are filled with 0."""
    streamer = RowStreamer(Bytes(), range(7, 7 + len(rows)), frozenset({END}), on_text)
    ids = torch.zeros(len(rows), 1, dtype=torch.long)
    for step in range(steps):
        column = [[*row, END, *[0] * steps][step] for row in rows]
        ids = torch.cat([ids, torch.tensor(column)[:, None]], dim=1)
        streamer(ids, None)
    streamer.close()
    return streamer


def test_rows_are_reported_by_their_numbers_and_join() -> None:
    heard: dict[int, str] = {}

    def on_text(row: int, piece: str) -> None:
        heard[row] = heard.get(row, "") + piece

    texts = ["Zürich", "東", "longer than the limit"]
    done = run([text.encode() for text in texts], on_text, steps=12).completions([5, 6, 7])
    assert heard == {7: "Zürich", 8: "東", 9: "longer than "}
    assert [completion.text for completion in done] == [heard[row] for row in (7, 8, 9)]
    assert [completion.finish for completion in done] == ["stop", "stop", "length"]
    assert [completion.tokens_in for completion in done] == [5, 6, 7]
    assert [completion.tokens_out for completion in done] == [7, 3, 12]


def test_false_cancels_its_row_alone() -> None:
    heard = []

    def on_text(row: int, piece: str) -> bool:
        heard.append((row, piece))
        return not (row == 7 and piece == "b")

    done = run([b"abcdef", b"uvwxyz"], on_text, steps=7).completions([1, 1])
    assert done[0].text == "ab"
    assert done[0].finish == "cancelled"
    assert done[1].text == "uvwxyz"
    assert done[1].finish == "stop"
    assert (7, "c") not in heard


def test_none_goes_on() -> None:
    assert run([b"ab"], lambda row, piece: None, steps=3).completions([1])[0].finish == "stop"


def test_a_row_at_its_token_limit_is_cut_and_streamed_whole() -> None:
    told: list[tuple[int, str]] = []
    most = [2, None, 3]
    streamer = RowStreamer(
        Bytes(), range(3), frozenset({END}), lambda *piece: told.append(piece), max_tokens=most
    )
    text = "aé".encode()  # three bytes: the second row is never cut, the first in its character
    ids = torch.zeros(3, 1, dtype=torch.long)
    for byte in text:
        ids = torch.cat([ids, torch.full((3, 1), byte)], dim=1)
        stopped = streamer(ids, None)
    assert stopped.tolist() == [True, False, True]
    streamer.close()
    rows = streamer.completions([1, 1, 1])
    assert [(row.text, row.tokens_out, row.finish) for row in rows] == [
        ("a\ufffd", 2, "length"), ("aé", 3, "length"), ("aé", 3, "length"),
    ]  # fmt: skip
    assert "".join(piece for row, piece in told if row == 0) == "a\ufffd"


def test_thoughts_are_not_told_and_a_thinking_row_can_be_cancelled() -> None:
    heard: dict[int, list[str]] = {7: [], 8: []}

    def on_text(row: int, piece: str) -> bool:
        heard[row].append(piece)
        return row == 7 or len(heard[8]) < 3

    rows = [b"<think>a</think>b", b"<think>abcdefghijk</think>l"]
    done = run(rows, on_text, steps=30).completions([1, 1])
    assert (done[0].text, done[0].reasoning, done[0].finish) == ("b", "a", "stop")
    assert done[0].reasoning_tokens == len("<think>a</think>") - len("<think")
    assert "".join(heard[7]) == "b" and heard[7].count("") > 0
    assert (done[1].text, done[1].finish, done[1].note) == ("", "cancelled", "")
    assert heard[8] == ["", "", ""]


def test_a_lone_end_mark_fails_a_row_that_was_streamed_and_no_other() -> None:
    """The streamer does not know that the text begins with thoughts, so it streams them."""
    data = b"A bridge.</think>Porto"
    streamed = run([data], lambda row, piece: None, steps=30).completions([1])[0]
    assert streamed.finish == "failed" and "thoughts" in streamed.error
    whole = run([data], None, steps=30).completions([1])[0]
    assert (whole.text, whole.reasoning, whole.finish) == ("Porto", "A bridge.", "stop")
