"""Each kernel against its formula in numpy, bit for bit; sizes that do not fit are refused."""

import numpy as np
import pytest

from rag_vqa.errors import UsageError
from rag_vqa.retriever.index import kernels
from rag_vqa.retriever.index.kernels import QuantizedQueries, TopRows
from rag_vqa.retriever.index.rows import quantize

KERNELS = ("avx512-vnni", "avx2", "portable", "torch")
SHAPES = [(32, 32, 128), (16, 4, 64), (1, 1, 128), (40, 7, 20), (3, 5, 6), (2, 3, 1500)]


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> str:
    if request.param not in kernels.available_kernels(4):
        pytest.skip(f"{request.param} does not run here")
    return str(request.param)


def tokens(*shape: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return values / np.sqrt(np.float32(shape[-1]))


def formula(codes: np.ndarray, numbers: QuantizedQueries) -> np.ndarray:
    """Scores (Q, N): whole dots, times the scale of the row's token, the best of them times the
    scale of the query's token, summed in 16 lanes and these by halves: native/portable.c."""
    dots = np.einsum("qid,njd->qnij", numbers.values.astype(int), codes["values"].astype(int))
    worth = dots.astype(np.float32) * codes["scales"].astype(np.float32)[:, None, :]
    best = worth.max(-1) * numbers.scales[:, None, :]
    best = np.pad(best, [(0, 0), (0, 0), (0, -best.shape[2] % 16)])
    lanes = np.zeros((*best.shape[:2], 16), np.float32)
    for group in range(0, best.shape[2], 16):
        lanes = lanes + best[..., group : group + 16]
    for half in (8, 4, 2, 1):
        lanes = lanes[..., :half] + lanes[..., half : 2 * half]
    return lanes[..., 0]


@pytest.mark.parametrize(("K", "J", "D"), SHAPES)
def test_codes_are_scored_by_the_formula(kernel: str, K: int, J: int, D: int) -> None:
    if kernel not in kernels.available_kernels(D):
        with pytest.raises(UsageError, match="does not run here"):
            kernels.select_kernel(D, kernel)
        return
    codes, numbers = quantize(tokens(50, J, D)), QuantizedQueries.quantize(tokens(3, K, D, seed=1))
    best = TopRows.allocate(3, 50)
    kernels.select_kernel(D, kernel).scan(best, codes, numbers, np.arange(50), 0, None)
    assert best.count.tolist() == [50, 50, 50]
    expected = np.take_along_axis(formula(codes, numbers), best.positions, 1)
    if kernel == "torch":
        np.testing.assert_allclose(best.scores, expected, rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_array_equal(best.scores, expected)
    assert [sorted(row) for row in best.positions.tolist()] == [list(range(50))] * 3


def test_extreme_codes_do_not_overflow(kernel: str) -> None:
    codes, numbers = (
        quantize(np.full((1, 2, 128), -1.0)),
        QuantizedQueries.quantize(np.ones((1, 2, 128), np.float32)),
    )
    best = TopRows.allocate(1, 1)
    kernels.select_kernel(128, kernel).scan(best, codes, numbers, np.arange(1), 0, None)
    assert best.scores[0, 0] == pytest.approx(-256, rel=2e-3)  # the scale is fp16


@pytest.mark.parametrize("m", [1, 7, 30, 100])
def test_the_best_are_kept_from_call_to_call(kernel: str, m: int) -> None:
    rows = tokens(60, 4, 8)
    rows[40:] = rows[:20]  # equal scores
    codes, numbers = quantize(rows), QuantizedQueries.quantize(tokens(2, 4, 8, seed=1))
    keys = np.random.default_rng(2).permutation(60)
    selected, best = kernels.select_kernel(8, kernel), TopRows.allocate(2, m)
    selected.scan(best, codes[:25], numbers, keys, 0, None)
    selected.scan(best, codes[25:], numbers, keys, 25, np.array([0, 3, 4, 20, 34]))
    places = np.array([*range(25), 25, 28, 29, 45, 59])
    scores = formula(codes, numbers)[:, places]
    for row in range(2):
        order = np.lexsort((keys[places], -scores[row]))[:m]
        assert best.count[row] == len(order)
        assert sorted(best.positions[row, : len(order)]) == sorted(places[order])


@pytest.mark.parametrize(("K", "D"), [(32, 128), (16, 64), (1, 128), (3, 6), (40, 7)])
def test_halves_are_scored_in_fp32(kernel: str, K: int, D: int) -> None:
    if kernel not in kernels.available_kernels(D):
        pytest.skip("of another width")
    rows, query = tokens(20, K, D).astype(np.float16), tokens(K, D, seed=1)
    rows[0] = 2.0**-24  # subnormal
    at = np.array([0, 3, 19, 4])
    scores = kernels.select_kernel(D, kernel).rescore(rows, query, at)
    dots = np.einsum("id,njd->nij", query.astype(np.float64), rows[at].astype(np.float64))
    np.testing.assert_allclose(scores, dots.max(-1).sum(-1), atol=1e-5)


def test_a_score_does_not_depend_on_the_rows_beside_it(kernel: str) -> None:
    rows, query = tokens(9, 4, 8).astype(np.float16), tokens(4, 8, seed=1)
    selected = kernels.select_kernel(8, kernel)
    if kernel == "torch":
        pytest.skip("a library's matrix product is free to round by position")
    every = selected.rescore(rows, query, np.arange(9))
    alone = [selected.rescore(rows[row : row + 1], query, np.array([0]))[0] for row in range(9)]
    assert every.tolist() == alone


def test_nothing_out_of_bounds_is_read_or_written() -> None:
    native = pytest.importorskip("rag_vqa.retriever.index._native")
    codes, numbers = quantize(tokens(5, 4, 8)), QuantizedQueries.quantize(tokens(2, 4, 8))
    good = {
        "rows": codes, "K": 4, "J": 4, "D": 8, "numbers": numbers.values,
        "scales": numbers.scales, "keys": np.arange(5), "start": 0, "at": None,
        "scores": np.empty((2, 3), np.float32), "places": np.empty((2, 3), np.int64),
        "held": np.zeros(2, np.int64), "kernel": "portable",
    }  # fmt: skip
    bad: list[tuple[str, object]] = [
        ("rows", codes[:1].tobytes()[:-1]), ("K", 5), ("K", 0), ("K", 2**40), ("J", -1), ("D", 7),
        ("numbers", b""), ("scales", numbers.scales[:1].copy()), ("keys", np.arange(4)),
        ("start", 1), ("start", -1), ("at", np.array([5])), ("at", np.array([-1])),
        ("scores", np.empty((2, 2), np.float32)), ("places", np.empty((1, 3), np.int64)),
        ("held", np.array([4, 0])), ("held", np.array([-1, 0])), ("kernel", "none"),
    ]  # fmt: skip
    native.scan(*good.values())
    for name, value in bad:
        with pytest.raises(ValueError, match=r"\w"):
            native.scan(*{**good, "held": np.zeros(2, np.int64), name: value}.values())
    good["held"], good["places"] = np.array([1, 0]), np.full((2, 3), 99)
    with pytest.raises(ValueError, match="beyond the keys"):
        native.scan(*good.values())


def test_a_kernel_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'none' does not run here; there is: .*torch"):
        kernels.select_kernel(128, "none")


def test_without_the_compiled_module_torch_serves_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kernels, "available_kernels", lambda D: ("torch",))
    kernels._warn_not_compiled.cache_clear()
    for _ in range(2):
        assert kernels.select_kernel(128).name == "torch"
    (record,) = caplog.records
    assert "compiler" in record.message and "pip install" in record.message
    kernels._warn_not_compiled.cache_clear()
