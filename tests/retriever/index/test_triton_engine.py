"""What the engine on a GPU copies on it, here with the kernel interpreted; see test_engines.py."""

import numpy as np
import pytest

pytest.importorskip("triton")
from rag_vqa.retriever.index import triton_engine
from rag_vqa.retriever.index.triton_engine import TritonIndex


def test_a_deleted_row_does_not_have_the_others_copied(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    rows, queries = rng.normal(size=(2, 40, 3, 16)).astype(np.float16)
    index = TritonIndex("cpu")
    index.add(rows, np.arange(40))
    index.delete(np.array([7]))
    scored = []
    kernel = triton_engine.fused_late_interaction

    def watched(queries, block):
        scored.append(block)
        return kernel(queries, block)

    monkeypatch.setattr(triton_engine, "fused_late_interaction", watched)
    dots = np.einsum("qid,njd->qnij", queries.astype(np.float32), rows.astype(np.float32))
    order = np.argsort(-dots.max(-1).sum(-1), axis=1)
    for among, lent in [(None, True), (np.arange(20), True), (np.arange(9), False)]:
        left = np.setdiff1d(np.arange(40) if among is None else among, [7])
        found, _ = index.search(queries.astype(np.float32), 50, among)
        assert (scored.pop() is index._blocks[0]) == lent and not scored
        for row, wanted in zip(found, order, strict=True):
            assert row[: len(left)].tolist() == wanted[np.isin(wanted, left)].tolist()
            assert (row[len(left) :] == -1).all()
