"""Late interaction for training against the sum of maxima written out, and autograd of it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rag_vqa.retriever import scoring as module
from rag_vqa.retriever.scoring import maxsim


def tokens(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    drawn = torch.randn(*shape, dtype=dtype, generator=torch.manual_seed(sum(shape)))
    return F.normalize(drawn, dim=-1).requires_grad_()


def naive(queries: Tensor, passages: Tensor) -> Tensor:
    return torch.einsum("qkd,nld->qnkl", queries, passages).amax(dim=-1).sum(dim=-1)


def with_gradients(
    score: Callable[[Tensor, Tensor], Tensor], queries: Tensor, passages: Tensor
) -> tuple[Tensor, ...]:
    scores = score(queries, passages)
    upstream = torch.randn(scores.shape, generator=torch.manual_seed(1)).to(scores.dtype)
    return (scores, *torch.autograd.grad(scores, (queries, passages), upstream))


@pytest.mark.parametrize(
    ("K", "L"), [(32, 32), (5, 1), (1, 7), (3, 300)], ids=["square", "one", "first", "two bytes"]
)
@pytest.mark.parametrize("tile", [2**18, 1])
def test_scores_and_gradients(K: int, L: int, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.TILE, "cpu", tile)
    given = tokens(6, K, 16), tokens(9, L, 16)
    for found, right in zip(
        with_gradients(maxsim, *given), with_gradients(naive, *given), strict=True
    ):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-6)


def test_what_is_not_contiguous_has_the_same_gradients() -> None:
    given = tokens(4, 3, 16), tokens(5, 7, 16)
    turned = [x.detach().transpose(0, 1).contiguous().transpose(0, 1) for x in given]
    views = [x.requires_grad_() for x in turned]
    assert not any(x.is_contiguous() for x in views)
    for found, right in zip(
        with_gradients(maxsim, *views), with_gradients(naive, *given), strict=True
    ):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-6)


def test_gradients_of_a_double_by_differences() -> None:
    given = tokens(3, 4, 5, dtype=torch.float64), tokens(4, 3, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(maxsim, given)


def test_single_vectors_are_dot_products() -> None:
    queries, passages = tokens(3, 8), tokens(4, 8)
    assert torch.equal(maxsim(queries, passages), queries @ passages.T)


def test_masks_hide_tokens_and_their_gradients() -> None:
    queries, passages = tokens(3, 5, 8), tokens(4, 6, 8)
    counts = torch.arange(5) < torch.tensor([[5], [2], [3]])
    visible = torch.arange(6) >= torch.tensor([[0], [2], [5], [3]])

    def masked(q: Tensor, p: Tensor) -> Tensor:
        similarity = torch.einsum("qkd,nld->qnkl", q, p).masked_fill(~visible[:, None], -9.0)
        return (similarity.amax(dim=-1) * counts[:, None]).sum(dim=-1)

    found = with_gradients(lambda q, p: maxsim(q, p, counts, visible), queries, passages)
    for ours, right in zip(found, with_gradients(masked, queries, passages), strict=True):
        torch.testing.assert_close(ours, right, rtol=1e-5, atol=1e-6)


def test_equal_maxima_send_the_gradient_to_one_of_them() -> None:
    queries, passages = tokens(2, 3, 4), tokens(1, 1, 4).detach().repeat(5, 6, 1).requires_grad_()
    maxsim(queries, passages).sum().backward()
    assert passages.grad is not None
    expected = queries.sum(dim=(0, 1)).expand(5, 4)
    torch.testing.assert_close(passages.grad.sum(dim=1), expected)
    assert int(passages.grad.any(dim=-1).sum()) == 5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_scored_in_single(dtype: torch.dtype) -> None:
    given = [x.detach().to(dtype).requires_grad_() for x in (tokens(3, 4, 8), tokens(5, 4, 8))]
    single = [x.detach().float().requires_grad_() for x in given]
    found, right = with_gradients(maxsim, *given), with_gradients(naive, *single)
    torch.testing.assert_close(found[0], right[0])
    assert found[1].dtype == dtype
    torch.testing.assert_close(found[1].float(), right[1], rtol=1e-2, atol=1e-2)
    with torch.autocast("cpu", dtype):
        torch.testing.assert_close(maxsim(*single), right[0])


def test_the_same_bytes_in_each_run() -> None:
    given = tokens(20, 8, 16), tokens(30, 8, 16)
    once, again = with_gradients(maxsim, *given), with_gradients(maxsim, *given)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


def test_what_is_kept_is_one_byte_a_maximum() -> None:
    queries, passages, kept = tokens(8, 4, 16), tokens(16, 4, 16), []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        maxsim(queries, passages)
    given = {queries.data_ptr(), passages.data_ptr()}
    sizes = [x.numel() * x.element_size() for x in kept if x.data_ptr() not in given]
    assert sizes == [8 * 4 * 16]
