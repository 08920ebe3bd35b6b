"""The engine of a knowledge base: by its size or as asked, with the same answers, also kept."""

import errno

import numpy as np
import pytest

from rag_vqa.errors import RagVqaError, UsageError
from rag_vqa.retriever.index import EXACT_LIMIT
from rag_vqa.retriever.index.index_files import load_arrays, save_arrays
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.types import Query

CACHE_FILE = "candidates.safetensors"  # beside the rows, as format 2 names it
QUERIES = [Query("document number 3"), Query("number 117"), Query("other words")]


@pytest.fixture
def path(tmp_path, encoder):
    with KnowledgeBase.create(tmp_path / "many.kb", encoder) as kb:
        kb.add({"id": f"d{n}", "text": f"document number {n}"} for n in range(200))
    return tmp_path / "many.kb"


def found(path, encoder, engine, k=7):
    with KnowledgeBase.open(path, encoder) as kb:
        kb.engine = engine
        hits = kb.search(QUERIES, k)
        return kb.retriever, [
            [(hit.document.id, round(hit.score, 5)) for hit in row] for row in hits
        ]


def test_auto_goes_by_the_number_of_passages(path, encoder, monkeypatch) -> None:
    assert found(path, encoder, "auto")[0].choice.engine == "exact"
    monkeypatch.setattr(
        "rag_vqa.retriever.store.document_store.Store.count", lambda store: (1, EXACT_LIMIT + 1)
    )
    assert found(path, encoder, "auto")[0].choice.engine == "faiss"


def test_every_engine_gives_the_same(path, encoder) -> None:
    assert found(path, encoder, "faiss")[1] == found(path, encoder, "exact")[1]


def test_an_unknown_engine_is_refused(path, encoder) -> None:
    with pytest.raises(UsageError, match="Did you mean 'exact'"):
        found(path, encoder, "exakt")


def test_what_was_kept_is_used_and_can_be_lost(path, encoder, monkeypatch) -> None:
    with KnowledgeBase.open(path, encoder) as kb:
        kb.engine = "faiss"
        kb.retriever.keep()
    kept = path / CACHE_FILE
    before = found(path, encoder, "faiss")[1]
    with monkeypatch.context() as patch:  # nothing is computed again
        patch.setattr(
            "rag_vqa.retriever.index.faiss_engine.row_means", lambda *_: pytest.fail("again")
        )
        with KnowledgeBase.open(path, encoder) as kb:
            kb.engine = "faiss"
            kb.search(QUERIES, 1)
    whole = kept.read_bytes()
    for damaged in (whole[:100], whole[:-9] + b"\x00" + whole[-8:]):
        kept.write_bytes(damaged)
        with pytest.warns(UserWarning, match="computed anew"):
            assert found(path, encoder, "faiss")[1] == before
    kept.write_bytes(whole)
    with KnowledgeBase.open(path, encoder) as kb:
        kb.engine = "faiss"
        kb.retriever.keep()
        kb.delete("d3")
        kb.add([{"id": "new", "text": "quite other words"}])
        assert kb.search([Query("quite other words")], 1)[0][0].document.id == "new"
        assert not kb.verify()
    assert found(path, encoder, "faiss")[1] == found(path, encoder, "exact")[1]


def test_a_full_disk_costs_only_what_was_to_be_kept(path, encoder) -> None:
    resource = pytest.importorskip("resource")
    with KnowledgeBase.open(path, encoder) as kb:
        kb.engine = "faiss"
        (path / f"{CACHE_FILE}.1234567.new").write_bytes(b"of a process that was killed")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        kb.search(QUERIES, 1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
        try:
            with pytest.warns(UserWarning, match=f"{CACHE_FILE} cannot be written"):
                kb.retriever.keep()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert not list(path.glob(f"{CACHE_FILE}*"))
        kb.retriever.keep()
        assert [file.name for file in path.glob(f"{CACHE_FILE}*")] == [CACHE_FILE]
        assert not kb.verify()


def test_a_failing_save_leaves_what_was_there(tmp_path, monkeypatch) -> None:
    save_arrays(tmp_path / "rows", {"a": np.arange(3)})

    def failing(file: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.fsync", failing)
    with pytest.raises(RagVqaError, match="rows cannot be written"):
        save_arrays(tmp_path / "rows", {"a": np.arange(4)})
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]
    assert load_arrays(tmp_path / "rows")["a"].tolist() == [0, 1, 2]
