"""What exact search does beyond what every engine promises."""

import numpy as np
import pytest

from rag_vqa.retriever.index.exact_engine import ExactIndex
from rag_vqa.retriever.index.rows import quantize


def unit(*shape: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def test_rows_that_codes_cannot_tell_apart_are_found_all_the_same() -> None:
    # 2,000 rows that differ by less than a code's step: far more than are scored again at first.
    rng = np.random.default_rng(0)
    rows = (unit(1, 4, 16) + rng.standard_normal((2000, 4, 16)) * 1e-3).astype(np.float16)
    query = unit(1, 4, 16, seed=1)
    index = ExactIndex()
    index.add(rows, np.arange(2000))
    dots = np.einsum("id,njd->nij", query[0].astype(np.float64), rows.astype(np.float64))
    expected = np.argsort(-dots.max(-1).sum(-1), kind="stable")[:10]
    found, scores = index.search(query, 10)
    np.testing.assert_allclose(scores[0], np.sort(dots.max(-1).sum(-1))[::-1][:10], atol=2e-6)
    assert len(set(found[0].tolist()) & set(expected.tolist())) >= 9  # the last may tie in fp32


def test_fp16_rows_in_one_piece_are_kept_by_reference(tmp_path) -> None:
    rows = unit(3000, 4, 16).astype(np.float16)
    np.save(tmp_path / "rows.npy", rows, allow_pickle=False)
    np.save(tmp_path / "codes.npy", quantize(rows).view(np.uint8), allow_pickle=False)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r", allow_pickle=False)
    raw = np.load(tmp_path / "codes.npy", mmap_mode="r", allow_pickle=False)
    index = ExactIndex()
    index.add(mapped, np.arange(3000), raw.view(quantize(rows).dtype))
    (block,) = index._rows.blocks
    assert np.shares_memory(block.tokens, mapped) and np.shares_memory(block.codes, raw)
    assert index.search(rows[7:8].astype(np.float32), 1)[0].tolist() == [[7]]


def test_many_small_additions_become_few_blocks() -> None:
    index = ExactIndex()
    for start in range(0, 3000, 100):
        index.add(unit(100, 2, 4, seed=start), np.arange(start, start + 100))
    assert len(index._rows.blocks) == 2
    assert index.search(unit(100, 2, 4, seed=500)[3:4], 1)[0].tolist() == [[503]]


def test_threads_find_what_one_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from rag_vqa.retriever.index import kernels

    rows, queries = unit(900, 4, 16), unit(5, 4, 16, seed=1)
    index = ExactIndex()
    index.add(rows, np.random.default_rng(0).permutation(900))
    index.delete(np.arange(100))
    alone = index.search(queries, 20)
    monkeypatch.setattr(kernels, "_PIECE_ROWS", 50)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for given, wanted in zip(index.search(queries, 20), alone, strict=True):
        np.testing.assert_array_equal(given, wanted)
