"""Exact search against the formula written out as one einsum."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rag_vqa.errors import CorruptKnowledgeBase, Missing, UsageError
from rag_vqa.retriever.index import exact, make_index
from rag_vqa.retriever.index.exact import ExactIndex

Floats = NDArray[np.float32]


def unit(*shape: int, seed: int = 0) -> Floats:
    values = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    rows: Floats = values / np.linalg.norm(values, axis=-1, keepdims=True)
    return rows


def formula(queries: Floats, rows: Floats) -> NDArray[np.float64]:
    """s(Q, D) = Σ_i max_j Q_i · D_j, in fp64, over rows as they are stored."""
    stored = rows.astype(np.float16).astype(np.float64)
    pairs = np.einsum("qid,njd->qnij", queries.astype(np.float64), stored)
    scores: NDArray[np.float64] = pairs.max(-1).sum(-1)
    return scores


def filled(rows: Floats, keys: list[int] | None = None) -> ExactIndex:
    index = ExactIndex()
    index.add(rows, np.arange(len(rows)) if keys is None else np.array(keys))
    return index


@pytest.mark.parametrize(("K", "D"), [(32, 128), (16, 64), (1, 128)])
def test_equals_the_formula(K: int, D: int) -> None:
    rows, queries = unit(700, K, D), unit(11, K, D, seed=1)
    keys, scores = filled(rows).search(queries, 20)
    expected = formula(queries, rows)
    order = np.argsort(-expected, axis=1)[:, :20]
    assert (keys == order).all()
    np.testing.assert_allclose(scores, np.take_along_axis(expected, order, 1), atol=2e-5)
    assert keys.dtype == np.int64 and scores.dtype == np.float32


def test_no_tensor_is_larger_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = exact.late_interaction

    def spy(queries: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        seen.append(len(rows) * len(queries) * queries.shape[1] ** 2)
        return real(queries, rows)

    monkeypatch.setattr(exact, "late_interaction", spy)
    filled(unit(3000, 32, 8)).search(unit(20, 32, 8, seed=1), 3)
    assert max(seen) <= exact._BLOCK
    assert sum(seen) == 3000 * 20 * 32 * 32


def test_equal_scores_go_to_the_lower_key_across_blocks() -> None:
    rows = np.repeat(unit(1, 32, 128), 1001, axis=0)
    keys = np.random.default_rng(0).permutation(1001).tolist()
    found, scores = filled(rows, keys).search(unit(1, 32, 128, seed=1), 1001)
    assert found[0].tolist() == list(range(1001))
    assert len(set(scores[0].tolist())) == 1


def test_fewer_rows_than_k_are_padded() -> None:
    keys, scores = filled(unit(2, 3, 4)).search(unit(2, 3, 4), 4)
    assert (keys[:, 2:] == -1).all() and (scores[:, 2:] == -np.inf).all()
    assert sorted(keys[0, :2].tolist()) == [0, 1]
    keys, scores = ExactIndex().search(unit(1, 3, 4), 2)
    assert keys.tolist() == [[-1, -1]] and (scores == -np.inf).all()


def test_among_chooses_from_those_rows_only() -> None:
    rows, queries = unit(900, 4, 16), unit(3, 4, 16, seed=1)
    among = np.array([800, 5, 17, 4000, 17])
    keys, _ = filled(rows).search(queries, 3, among)
    scores = formula(queries, rows)
    for found, row in zip(keys, scores, strict=True):
        assert found.tolist() == sorted([5, 17, 800], key=lambda key: -row[key])
    assert (filled(rows).search(queries, 2, np.empty(0, np.int64))[0] == -1).all()


def test_add_and_delete_in_any_order_equal_one_build() -> None:
    rows, queries = unit(50, 4, 16), unit(5, 4, 16, seed=1)
    index = filled(rows[30:], list(range(30, 50)))
    index.add(rows[:30], np.arange(30))
    index.delete(np.array([3, 44, 999]))
    assert len(index) == 48
    kept = [key for key in range(50) if key not in (3, 44)]
    expected = filled(rows[kept], kept).search(queries, 48)
    for given, wanted in zip(index.search(queries, 48), expected, strict=True):
        np.testing.assert_array_equal(given, wanted)
    index.add(rows[3:4], np.array([3]))
    scores = formula(queries, rows)
    scores[:, 44] = -np.inf
    assert index.search(queries, 49)[0].tolist() == np.argsort(-scores)[:, :49].tolist()


@pytest.mark.parametrize(
    ("tokens", "keys"),
    [
        (unit(2, 3, 5), [10, 11]),  # another width
        (unit(2, 2, 4), [10, 11]),  # another number of tokens
        (unit(2, 3, 4), [10]),
        (unit(2, 3, 4), [10, 10]),
        (unit(2, 3, 4), [0, 10]),  # in use
        (unit(2, 3, 4), [-1, 10]),
        (np.full((1, 3, 4), np.nan, np.float32), [10]),
        (unit(6, 4), [10, 11]),
    ],
)
def test_rows_that_cannot_be_meant_are_refused(tokens: Floats, keys: list[int]) -> None:
    index = filled(unit(2, 3, 4))
    with pytest.raises(UsageError):
        index.add(tokens, np.array(keys))
    assert len(index) == 2


@pytest.mark.parametrize("k", [0, -1])
def test_k_must_be_positive(k: int) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        filled(unit(2, 3, 4)).search(unit(1, 3, 4), k)


def test_queries_must_fit() -> None:
    index = filled(unit(2, 3, 4))
    for queries in (unit(1, 3, 5), unit(1, 4, 4), unit(3, 4), np.full((1, 3, 4), np.nan)):
        with pytest.raises(UsageError):
            index.search(queries.astype(np.float32), 1)


def test_saved_and_opened_it_is_the_same(tmp_path: Path) -> None:
    index, queries = filled(unit(9, 3, 4)), unit(2, 3, 4, seed=1)
    index.save(tmp_path / "rows")
    again = ExactIndex.open(tmp_path / "rows")
    for given, wanted in zip(again.search(queries, 5), index.search(queries, 5), strict=True):
        np.testing.assert_array_equal(given, wanted)
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_damaged_files_are_told_apart_from_missing_ones(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    with pytest.raises(Missing):
        ExactIndex.open(path)
    filled(unit(9, 3, 4)).save(path)
    whole = path.read_bytes()
    for cut in (0, 1, 8, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(CorruptKnowledgeBase, match="rows"):
            ExactIndex.open(path)


def test_an_unknown_engine_is_named_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'exakt'; there is: exact\. Did you mean 'exact'"):
        make_index("exakt")
    with pytest.raises(UsageError, match="nprobe"):
        make_index("exact", nprobe=3)
