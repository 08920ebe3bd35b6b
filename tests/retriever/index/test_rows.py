"""Rows on a CPU: what is mapped stays mapped, however small the parts in which it comes."""

import numpy as np
import pytest

from rag_vqa.retriever.index.rows import JOINED_ROWS, RowBlocks, memory_map_of, quantize

HEAD, N, K, D = 64, 3 * JOINED_ROWS, 1, 4
TOKENS = np.random.default_rng(0).normal(size=(N, K, D)).astype(np.float16)


@pytest.fixture
def read(tmp_path):
    """As the store maps its segments: rows of two files, from one position to another."""
    kinds = {"tokens": TOKENS, "codes": quantize(TOKENS)}
    for name, rows in kinds.items():
        (tmp_path / name).write_bytes(bytes(HEAD) + rows.tobytes())

    def reading(first, end):
        for name, rows in kinds.items():
            size = rows.nbytes // N
            place = (HEAD + first * size, ((end - first) * size,))
            plain = np.memmap(tmp_path / name, np.uint8, "r", *place).view(np.ndarray)
            yield plain.view(rows.dtype).reshape(end - first, *rows.shape[1:])

    return reading


def add(rows, read, first, end):
    tokens, codes = read(first, end)
    rows.add(tokens, np.arange(first, end), codes)


def test_neighbours_in_a_file_become_one_mapping(read) -> None:
    rows = RowBlocks()
    for first in range(0, N, 512):
        add(rows, read, first, first + 512)
    (block,) = rows.blocks
    for array, whole in ((block.tokens, TOKENS), (block.codes, quantize(TOKENS))):
        assert memory_map_of(array) is not None
        np.testing.assert_array_equal(array, whole)
    ((same, _),) = rows.select(None)
    assert same is block and len(rows) == N


@pytest.mark.parametrize("order", [[(0, 9), (10, 20)], [(9, 20), (0, 9)], [(0, 9), (5000, 5009)]])
def test_what_does_not_lie_so_is_copied(read, order) -> None:
    rows = RowBlocks()
    for first, end in order:
        add(rows, read, first, end)
    (block,) = rows.blocks
    wanted = np.concatenate([TOKENS[first:end] for first, end in order])
    np.testing.assert_array_equal(block.tokens, wanted)
    np.testing.assert_array_equal(block.codes, quantize(wanted))


def test_a_part_of_a_mapping_is_not_taken_for_all_of_it(read) -> None:
    (tokens, codes), rows = read(0, 20), RowBlocks()
    rows.add(tokens[:10], np.arange(10), codes[:10])
    add(rows, read, 20, 30)
    np.testing.assert_array_equal(rows.blocks[0].tokens, TOKENS[[*range(10), *range(20, 30)]])


def test_a_file_that_was_removed_is_still_joined(read, tmp_path) -> None:
    rows, (tokens, codes) = RowBlocks(), read(10, 20)
    add(rows, read, 0, 10)
    for name in ("tokens", "codes"):
        (tmp_path / name).unlink()
    rows.add(tokens, np.arange(10, 20), codes)
    np.testing.assert_array_equal(rows.blocks[0].tokens, TOKENS[:20])
    np.testing.assert_array_equal(rows.blocks[0].codes, quantize(TOKENS[:20]))
