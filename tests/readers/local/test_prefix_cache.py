"""Which prompts share a prefix, and how long it is; on token ids alone."""

import random

import pytest
import torch

from rag_vqa.readers.local.choice_scoring import (
    group_by_prefix,
    prefix_inputs,
    shared_prefix_length,
)


def test_runs_end_where_less_is_shared() -> None:
    one = [[1, 2, 3, 4, 5, n] for n in range(3)]
    other = [[1, 2, 8, 8, 8, n] for n in range(2)]
    assert group_by_prefix([*one, *other], [True] * 4) == [range(3), range(3, 5)]
    # A single prompt of one question does not spoil the next question's.
    assert group_by_prefix([[1, 9], *one], [True] * 3) == [range(1), range(1, 4)]


def test_runs_end_where_pictures_differ() -> None:
    rows = [[1, 2, 3, n] for n in range(4)]
    assert group_by_prefix(rows, [True, False, True]) == [range(2), range(2, 4)]
    assert group_by_prefix(rows, [False] * 3) == [range(n, n + 1) for n in range(4)]


@pytest.mark.parametrize(("rows", "expected"), [([], []), ([[1]], [range(1)])])
def test_runs_of_few(rows: list[list[int]], expected: list[range]) -> None:
    assert group_by_prefix(rows, [True] * (len(rows) - 1)) == expected


def test_every_row_is_in_one_run() -> None:
    chance = random.Random(0)
    for _ in range(200):
        rows = [
            [chance.randrange(2) for _ in range(chance.randrange(1, 6))]
            for _ in range(chance.randrange(1, 7))
        ]
        found = group_by_prefix(rows, [chance.random() < 0.8 for _ in rows[1:]])
        assert [row for run in found for row in run] == list(range(len(rows)))


def test_what_is_shared_leaves_each_row_a_token() -> None:
    chance = random.Random(1)
    for _ in range(200):
        rows = [
            [chance.randrange(2) for _ in range(chance.randrange(1, 6))]
            for _ in range(chance.randrange(1, 5))
        ]
        length = shared_prefix_length(rows)
        longer = length + 1
        assert len({tuple(row[:length]) for row in rows}) == 1
        assert all(len(row) > length for row in rows)
        alike = len({tuple(row[:longer]) for row in rows}) == 1
        assert not alike or min(map(len, rows)) == longer


def test_the_beginning_of_inputs_keeps_all_pictures() -> None:
    inputs = {
        "input_ids": torch.arange(6)[None],
        "attention_mask": torch.ones(1, 6),
        "pixel_values": torch.ones(1, 3, 6, 6),
        "image_grid_thw": torch.ones(1, 3),
    }
    cut = prefix_inputs(inputs, 4)
    assert {key: tuple(value.shape) for key, value in cut.items()} == {
        "input_ids": (1, 4),
        "attention_mask": (1, 4),
        "pixel_values": (1, 3, 6, 6),
        "image_grid_thw": (1, 3),
    }
