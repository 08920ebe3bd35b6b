"""Candidates by means, and by lists: what they find, and that they go on as rows come and go."""

from dataclasses import replace

import numpy as np
import pytest

from rag_vqa.errors import CorruptKnowledgeBase, Missing
from rag_vqa.retriever.index import faiss_engine
from rag_vqa.retriever.index.faiss_engine import MEANS, FaissIndex, row_means
from rag_vqa.retriever.index.index_files import CandidateCache, row_checksums
from rag_vqa.retriever.index.rows import quantize

pytest.importorskip("faiss")
K, D = 8, 32


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def aspects(rng: np.random.Generator, count: int, topics: np.ndarray) -> np.ndarray:
    """Rows (N, K, D) of two topics each, half of the tokens near each."""
    chosen = topics[rng.integers(len(topics), size=(count, 2))].repeat(K // 2, axis=1)
    return unit(chosen + rng.standard_normal(chosen.shape) * 0.1).astype(np.float16)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """Rows and queries; sizes at which lists are learned and candidates are few."""
    for name, value in {"_LISTED": 1000, "_BY_MEANS": 200, "_BY_CODES": 50}.items():
        monkeypatch.setattr(faiss_engine, name, value)
    monkeypatch.setattr(faiss_engine, "LISTS", 64)
    monkeypatch.setattr(faiss_engine, "PROBED", 8)
    rng = np.random.default_rng(0)
    topics = unit(rng.standard_normal((200, D)))
    rows = aspects(rng, 3000, topics)
    queries = rows[rng.integers(3000, size=20)].astype(np.float32)
    return rows, unit(queries + rng.standard_normal(queries.shape) * 0.05).astype(np.float32)


def truth(rows: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    dots = np.einsum("qid,njd->qnij", queries, rows.astype(np.float32))
    return np.argsort(-dots.max(-1).sum(-1), axis=1)[:, :k]


def recall(found: np.ndarray, wanted: np.ndarray) -> float:
    pairs = zip(found, wanted, strict=True)
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in pairs]))


def test_the_means_of_a_row_are_its_meanings() -> None:
    meanings = np.eye(8, dtype=np.float32)[[1, 3, 4, 6]]
    row = meanings[[0, 1, 2, 3, 2, 1, 0, 0]][None]
    found = row_means(row)[0]
    assert sorted(found.argmax(1).tolist()) == [1, 3, 4, 6]
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    same = row_means(np.repeat(meanings[:1], 9, axis=0)[None])[0]
    np.testing.assert_allclose(same, np.repeat(meanings[:1], MEANS, axis=0), atol=1e-6)
    assert row_means(row[:, :2]).shape == (1, 2, 8)
    assert row_means(row[:0]).shape == (0, 4, 8)


def test_lists_find_what_a_scan_finds(world) -> None:
    rows, queries = world
    index = FaissIndex()
    for start in range(0, 3000, 750):
        index.add(rows[start : start + 750], np.arange(start, start + 750))
    assert index._lists is not None and len(index._lists) == 3000
    found, scores = index.search(queries, 10)
    assert recall(found, truth(rows, queries, 10)) >= 0.95
    assert (np.diff(scores) <= 0).all()


def test_with_lists_rows_still_come_and_go(world, tmp_path) -> None:
    rows, queries = world
    index = FaissIndex()
    index.add(rows[:2000], np.arange(2000))
    before, _ = index.search(queries, 5)
    gone = np.unique(before[:, 0])
    index.delete(gone)
    after, _ = index.search(queries, 5)
    assert not np.isin(after, gone).any()
    index.add(rows[2000:], np.arange(2000, 3000))  # nothing is learned again
    index.add(rows[gone], gone)
    found, _ = index.search(queries, 10)
    assert recall(found, truth(rows, queries, 10)) >= 0.95
    index.save(tmp_path / "index")
    for given, wanted in zip(
        FaissIndex.open(tmp_path / "index").search(queries, 10),
        index.search(queries, 10),
        strict=True,
    ):
        np.testing.assert_array_equal(given, wanted)


def test_what_was_worked_out_is_not_worked_out_again(world, tmp_path, monkeypatch) -> None:
    rows, queries = world
    keys = np.random.default_rng(3).permutation(3000)
    index = FaissIndex()
    index.add(rows[:2500], keys[:2500])
    index.delete(keys[:10])
    index.save_cache(tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(faiss_engine, "row_means", lambda tokens: pytest.fail("computed again"))
        patch.setattr(
            faiss_engine.InvertedLists, "assign", lambda *given: pytest.fail("assigned again")
        )
        again = FaissIndex(cache=tmp_path / "cache")
        again.add(rows[1000:2500], keys[1000:2500])
        again.add(rows[10:1000], keys[10:1000])
    for given, wanted in zip(again.search(queries, 10), index.search(queries, 10), strict=True):
        np.testing.assert_array_equal(given, wanted)
    again.add(rows[2500:], keys[2500:])
    again.add(rows[:10], keys[:10])
    found = keys.argsort()[again.search(queries, 10)[0]]
    assert recall(found, truth(rows, queries, 10)) >= 0.95
    FaissIndex().save_cache(tmp_path / "none")
    none = FaissIndex(cache=tmp_path / "none")
    none.add(rows[:20], keys[:20])
    assert len(none) == 20


def test_a_damaged_file_of_what_was_worked_out_is_refused(world, tmp_path) -> None:
    rows, _ = world
    index = FaissIndex()
    index.add(rows, np.arange(3000))
    path = tmp_path / "cache"
    with pytest.raises(Missing):
        FaissIndex(cache=path)
    index.save_cache(path)
    whole = path.read_bytes()
    for cut in (0, 8, 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(CorruptKnowledgeBase, match="cache"):
            FaissIndex(cache=path)
    codes = quantize(np.zeros((2, 1, 4)))
    found = CandidateCache(np.arange(2), row_checksums(codes), codes, np.zeros((1, 4), np.float32))
    replace(found, ids=np.ones((2, 1), np.uint16)).write(path)
    with pytest.raises(CorruptKnowledgeBase, match="no centre"):
        FaissIndex(cache=path)
    replace(found, checks=found.checks[:1]).write(path)
    with pytest.raises(CorruptKnowledgeBase, match="damaged"):
        FaissIndex(cache=path)
    head = b'{"keys":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'  # numpy has no such type
    path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(2))
    with pytest.raises(CorruptKnowledgeBase, match="cache"):
        FaissIndex(cache=path)


def test_what_was_kept_of_other_rows_is_not_theirs(world, tmp_path) -> None:
    rows, queries = world
    other = aspects(
        np.random.default_rng(5), 3000, unit(np.random.default_rng(6).normal(size=(9, D)))
    )
    index, keys = FaissIndex(), np.arange(3000)
    index.add(other, keys)
    index.save_cache(tmp_path / "cache")
    plain = FaissIndex()
    plain.add(rows, keys)
    again = FaissIndex(cache=tmp_path / "cache")  # of the same keys, as after a restored copy
    again.add(rows, keys)
    for given, wanted in zip(again.search(queries, 10), plain.search(queries, 10), strict=True):
        np.testing.assert_array_equal(given, wanted)
    again = FaissIndex(cache=tmp_path / "cache")
    again.add(other, keys)
    again.delete(keys)
    again.add(rows, keys)
    found, _ = again.search(queries, 10)
    assert recall(found, truth(rows, queries, 10)) >= 0.95


def test_what_was_kept_of_rows_of_another_width_is_announced(world, tmp_path) -> None:
    rows, queries = world
    index = FaissIndex()
    index.add(rows[..., :16], np.arange(3000))
    index.save_cache(tmp_path / "cache")
    again = FaissIndex(cache=tmp_path / "cache")
    with pytest.warns(UserWarning, match="computed anew"):
        again.add(rows, np.arange(3000))
    found, _ = again.search(queries, 10)
    assert recall(found, truth(rows, queries, 10)) >= 0.95


def test_only_rows_that_are_new_are_worked_out(world, tmp_path, monkeypatch) -> None:
    rows, _ = world
    index = FaissIndex()
    index.add(rows[:2000], np.arange(2000))
    index.save_cache(tmp_path / "cache")
    counted: list[int] = []

    def counting(tokens):
        counted.append(len(tokens))
        return row_means(tokens)

    monkeypatch.setattr(faiss_engine, "row_means", counting)
    again = FaissIndex(cache=tmp_path / "cache")
    again.add(rows, np.arange(3000))  # as one block: the old and the new in one run
    assert sum(counted) == 1000


def test_deletes_leave_no_trace_in_answers(world, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        faiss_engine, "PROBED", 1
    )  # so that lists lose much, where they are looked into
    monkeypatch.setattr(faiss_engine, "_BY_MEANS", 20)
    monkeypatch.setattr(faiss_engine, "_MEANS_PER_ROW", 2)
    rows = unit(np.random.default_rng(4).normal(size=(1100, K, D))).astype(np.float16)
    queries = unit(np.random.default_rng(5).normal(size=(20, K, D))).astype(np.float32)
    index, keys = FaissIndex(), np.arange(1100)
    index.add(rows, keys)
    index.delete(keys[::7])  # 942 are left: fewer than lists are looked into for
    index.save(tmp_path / "index")
    left = np.setdiff1d(keys, keys[::7])
    plain = FaissIndex()
    plain.add(rows[left], left)
    given = index.search(queries, 10)
    for other in (FaissIndex.open(tmp_path / "index"), plain):
        for one, two in zip(other.search(queries, 10), given, strict=True):
            np.testing.assert_array_equal(one, two)


def test_a_filter_beyond_the_lists_still_finds_k(world) -> None:
    rows, queries = world
    index = FaissIndex()
    index.add(rows, np.arange(3000))
    for among in (np.arange(0, 3000, 2), np.arange(0, 3000, 300), np.arange(3)):
        found, _ = index.search(queries, 3, among)
        assert np.isin(found, among).all()
    every, _ = index.search(queries[:1], 3000)
    assert sorted(every[0].tolist()) == list(range(3000))
