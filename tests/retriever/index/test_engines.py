"""What every engine promises, against the formula written out as one einsum in fp64."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rag_vqa.errors import CorruptKnowledgeBase, Missing, UsageError
from rag_vqa.retriever.index import ENGINES, NO_KEY, Index, kernels, make_index
from rag_vqa.retriever.index.rows import dequantize, quantize

Floats = NDArray[np.float32]
SHAPES = [(32, 128), (16, 64), (1, 128), (3, 6)]  # the last fills no register
HAS = {name: importlib.util.find_spec(name) is not None for name in ("triton", "qdrant_client")}


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not HAS[module], reason=f"{module} is not installed")


WAYS = [
    pytest.param(("exact", {}), id="exact"),
    pytest.param(("exact", {"kernel": "avx2"}), id="exact-avx2"),
    pytest.param(("exact", {"kernel": "portable"}), id="exact-portable"),
    pytest.param(("exact", {"kernel": "torch"}), id="exact-torch"),
    pytest.param(("faiss", {}), id="faiss"),
    pytest.param(("faiss", {"kernel": "torch"}), id="faiss-torch"),
    pytest.param(("triton", {"device": "cpu"}), id="triton", marks=needs("triton")),
    pytest.param(("triton", {"device": "cuda"}), id="triton-cuda", marks=pytest.mark.gpu),
    pytest.param(("qdrant", {}), id="qdrant", marks=needs("qdrant_client")),
]  # fmt: skip
Way = tuple[str, dict[str, Any]]
Make = Callable[[], Index]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    engine, options = request.param
    kernel = options.get("kernel")
    if kernel is not None and kernel not in kernels.available_kernels(128):
        pytest.skip(f"{kernel} does not run here")
    return engine, options


@pytest.fixture
def make(way: Way) -> Make:
    engine, options = way
    return lambda: make_index(engine, **options)


@pytest.fixture
def reopen(way: Way) -> Callable[[Path], Index]:
    engine, options = way
    where = {"device": options["device"]} if "device" in options else {}
    return lambda path: type(make_index(engine, **options)).open(path, **where)


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


def filled(make: Make, rows: Floats, keys: Any = None) -> Index:
    index = make()
    index.add(rows, np.arange(len(rows)) if keys is None else np.asarray(keys))
    return index


def same(given: tuple[Any, Any], wanted: tuple[Any, Any]) -> None:
    np.testing.assert_array_equal(given[0], wanted[0])
    np.testing.assert_allclose(given[1], wanted[1], atol=2e-5)


@pytest.mark.parametrize(("K", "D"), SHAPES)
def test_equals_the_formula(make: Make, K: int, D: int) -> None:
    rows, queries = unit(300, K, D), unit(9, K, D, seed=1)
    index = filled(make, rows)
    keys, scores = index.search(queries, 20)
    expected = formula(queries, rows)
    order = np.argsort(-expected, axis=1)[:, :20]
    same((keys, scores), (order, np.take_along_axis(expected, order, 1)))
    assert keys.dtype == np.int64 and scores.dtype == np.float32 and len(index) == 300


def test_equal_scores_go_to_the_lower_key(make: Make) -> None:
    # Eighths: their products add up without rounding, in whatever order an engine adds.
    rows = np.repeat(np.round(8 * unit(2, 4, 16)) / 8, 200, axis=0)
    keys = np.random.default_rng(0).permutation(400)
    index = filled(make, rows[:150], keys[:150])
    index.add(rows[150:], keys[150:])
    query = np.round(8 * unit(1, 4, 16, seed=1)) / 8
    better = int(formula(query, rows[[0, -1]])[0].argmax())
    lower = np.sort(keys[:200] if better == 0 else keys[200:])
    found, scores = index.search(query, 120)
    assert found[0].tolist() == lower[:120].tolist()
    assert len(set(scores[0].tolist())) == 1


def test_fewer_rows_than_k_are_padded(make: Make) -> None:
    keys, scores = filled(make, unit(2, 3, 4)).search(unit(2, 3, 4), 4)
    assert (keys[:, 2:] == NO_KEY).all() and (scores[:, 2:] == -np.inf).all()
    assert sorted(keys[0, :2].tolist()) == [0, 1]
    keys, scores = make().search(unit(1, 3, 4), 2)
    assert keys.tolist() == [[NO_KEY, NO_KEY]] and (scores == -np.inf).all()
    assert len(make()) == 0


@pytest.mark.parametrize("count", [10, 1], ids=["1 %", "0.1 %"])
def test_a_selective_filter_still_finds_k(make: Make, count: int) -> None:
    rows, queries = unit(1000, 4, 16), unit(3, 4, 16, seed=1)
    index = filled(make, rows)
    among = np.random.default_rng(2).permutation(1000)[:count]
    k = min(5, count)
    keys, _ = index.search(queries, k, np.concatenate([among, among[:1], [5000]]))
    scores = formula(queries, rows)
    for found, row in zip(keys, scores, strict=True):
        assert found.tolist() == sorted(among.tolist(), key=lambda key: -row[key])[:k]
    assert (index.search(queries, 2, np.empty(0, np.int64))[0] == NO_KEY).all()


def test_add_and_delete_in_any_order_equal_one_build(make: Make) -> None:
    rows, queries = unit(50, 4, 16), unit(5, 4, 16, seed=1)
    index = filled(make, rows[30:], range(30, 50))
    index.add(rows[:30], np.arange(30))
    index.delete(np.array([3, 44, 999]))
    assert len(index) == 48
    kept = [key for key in range(50) if key not in (3, 44)]
    same(index.search(queries, 48), filled(make, rows[kept], kept).search(queries, 48))
    assert not np.isin([3, 44], index.search(queries, 5, np.array([3, 44, 7]))[0]).any()
    index.add(rows[[3, 44]], np.array([3, 44]))
    same(index.search(queries, 50), filled(make, rows).search(queries, 50))
    index.delete(np.arange(50))
    assert len(index) == 0 and (index.search(queries, 2)[0] == NO_KEY).all()


def test_codes_alone_are_scored_as_the_tokens_they_stand_for(make: Make) -> None:
    rows, queries = unit(60, 4, 16), unit(2, 4, 16, seed=1)
    index = make()
    index.add(None, np.arange(60), quantize(rows))
    expected = formula(queries, dequantize(quantize(rows)))
    order = np.argsort(-expected, axis=1)[:, :9]
    same(index.search(queries, 9), (order, np.take_along_axis(expected, order, 1)))


def test_codes_that_were_made_before_change_nothing(make: Make) -> None:
    rows, queries = unit(60, 4, 16).astype(np.float16), unit(2, 4, 16, seed=1)
    index = make()
    index.add(rows, np.arange(60), quantize(rows))
    same(index.search(queries, 9), filled(make, rows).search(queries, 9))


@pytest.mark.parametrize(
    ("tokens", "keys", "codes"),
    [
        (unit(2, 3, 5), [10, 11], None),  # another width
        (unit(2, 2, 4), [10, 11], None),  # another number of tokens
        (unit(2, 3, 4), [10], None),
        (unit(2, 3, 4), [10, 10], None),
        (unit(2, 3, 4), [0, 10], None),  # in use
        (unit(2, 3, 4), [-1, 10], None),
        (np.full((1, 3, 4), np.nan, np.float32), [10], None),
        (np.full((1, 3, 4), 1e6, np.float32), [10], None),  # infinity in fp16
        (unit(6, 4), [10, 11], None),
        (None, [10], None),
        (None, [10], quantize(unit(1, 3, 5))),
        (unit(2, 3, 4), [10, 11], quantize(unit(1, 3, 4))),
    ],
)
def test_invalid_rows_are_refused(make: Make, tokens, keys, codes) -> None:
    index = filled(make, unit(2, 3, 4))
    with pytest.raises(UsageError):
        index.add(tokens, np.array(keys), codes)
    assert len(index) == 2


def test_queries_must_fit(make: Make) -> None:
    index = filled(make, unit(2, 3, 4))
    for queries in (unit(1, 3, 5), unit(1, 4, 4), unit(3, 4), np.full((1, 3, 4), np.nan)):
        with pytest.raises(UsageError):
            index.search(queries.astype(np.float32), 1)
    for k in (0, -1):
        with pytest.raises(UsageError, match="at least 1"):
            index.search(unit(1, 3, 4), k)


def test_saved_and_opened_it_is_the_same(make: Make, reopen: Any, tmp_path: Path) -> None:
    index, queries = filled(make, unit(90, 3, 4)), unit(2, 3, 4, seed=1)
    index.delete(np.array([4]))
    index.save(tmp_path / "rows")
    again = reopen(tmp_path / "rows")
    for given, wanted in zip(again.search(queries, 90), index.search(queries, 90), strict=True):
        np.testing.assert_allclose(given, wanted, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]
    make().save(tmp_path / "none")
    assert len(reopen(tmp_path / "none")) == 0


def test_damaged_files_are_told_apart_from_missing_ones(
    make: Make, reopen: Any, tmp_path: Path
) -> None:
    path, index = tmp_path / "rows", filled(make, unit(9, 3, 4))
    with pytest.raises(Missing):
        reopen(path)
    index.save(path)
    whole = path.read_bytes()
    for cut in (0, 1, 8, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(CorruptKnowledgeBase, match="rows"):
            reopen(path)


def test_every_engine_is_tested_here() -> None:
    assert {way.values[0][0] for way in WAYS} == set(ENGINES.names())
