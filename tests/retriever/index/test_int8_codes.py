"""Int8 codes: how far off they are, by the formula; and odd values."""

import numpy as np
import pytest

from rag_vqa.retriever.index.rows import code_dtype, dequantize, quantize


@pytest.mark.parametrize(("K", "D"), [(32, 128), (16, 64), (1, 128), (1, 1024)])
def test_a_number_is_off_by_half_a_scale_at_most(K: int, D: int) -> None:
    tokens = np.random.default_rng(0).standard_normal((5000, K, D)).astype(np.float16)
    tokens = tokens[:200] if K * D > 1024 else tokens  # more rows than are worked on at once
    codes = quantize(tokens)
    bound = codes["scales"].astype(np.float64)[..., None] / 2
    assert (np.abs(dequantize(codes) - tokens.astype(np.float64)) <= bound * 1.001).all()
    assert int(np.abs(codes["values"].astype(int)).max()) <= 127
    assert np.array_equal(codes["sums"], codes["values"].sum(axis=2, dtype=np.int32))


def test_a_row_of_the_released_shape_takes_4288_bytes_and_lies_on_cache_lines() -> None:
    assert code_dtype(32, 128).itemsize == 32 * 128 + 32 * 2 + 32 * 4 == 67 * 64


def test_zeros_and_the_smallest_numbers_survive() -> None:
    tokens = np.zeros((1, 2, 4))
    tokens[0, 1, 0] = 1e-9
    assert np.abs(dequantize(quantize(tokens)) - tokens).max() < 1e-4


def test_no_rows_give_no_rows() -> None:
    assert dequantize(quantize(np.empty((0, 2, 4)))).shape == (0, 2, 4)
