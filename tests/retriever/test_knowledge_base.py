"""The knowledge base on disk: what is added is there, once, also after a kill."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rag_vqa.errors import Missing, UsageError
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.types import Document, Passage

Asked = tuple[str, str | None, dict[str, Any]]  # source, revision, options


def png(colour: str = "red") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (3, 2), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def kb(tmp_path: Path, encoder: TokenEncoder) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as base:
        yield base


def keys_of(kb: KnowledgeBase) -> set[int]:
    return {key for (key,) in kb.store.db.rows("SELECT key FROM passages")}


def counts(report: Any) -> tuple[int, int, int, int]:
    return report.added, report.unchanged, report.replaced, len(report.rejected)


def test_what_is_added_is_found_after_reopening(
    tmp_path: Path, kb: KnowledgeBase, encoder: TokenEncoder
) -> None:
    (tmp_path / "p.png").write_bytes(png())
    full = Document(
        id="../x",
        text="Nests in burrows.",
        title="Puffin",
        section="Breeding",
        images=(tmp_path / "p.png", png("blue")),
        parent="birds",
        url="https://u",
        metadata={"lang": "en", "year": 1990, "ok": True, "x": 0.5},
    )
    report = kb.add([full, {"id": "b", "text": "One.", "image": Image.new("RGB", (2, 2))}])
    assert counts(report) == (2, 0, 0, 0)
    kb.close()
    with KnowledgeBase.open(tmp_path / "x.kb", encoder) as again:
        assert len(again) == 2
        found = again.get("../x")
        assert found is not None and found.metadata["ok"] is True
        images = [Path(str(image)).read_bytes() for image in found.images]
        assert images == [png(), png("blue")]
        assert Document(**{**_fields(found), "images": full.images}) == full
        assert [document.id for document in again.documents()] == ["../x", "b"]
        assert again.get("c") is None
        stats = again.stats()
        assert (stats.documents, stats.passages, stats.images) == (2, 3, 3)


def _fields(document: Document) -> dict[str, Any]:
    return {name: getattr(document, name) for name in Document.__slots__}


@pytest.mark.parametrize(
    "change",
    [
        {"text": "Two."},
        {"title": "T"},
        {"metadata": {"a": 2}},
        {"images": (png("blue"),)},
        {"parent": "p"},
    ],
)
def test_other_content_replaces(kb: KnowledgeBase, change: dict[str, Any]) -> None:
    first = Document("a", text="One.", images=(png(),), metadata={"a": 1})
    kb.add([first, Document("b", text="B.")])
    assert counts(kb.add([Document(**(_fields(first) | change))])) == (0, 0, 1, 0)
    assert [document.id for document in kb.documents()] == ["a", "b"]
    found = kb.get("a")
    assert found is not None and found.metadata == change.get("metadata", {"a": 1})
    assert kb.stats().passages == 2


def test_keys_are_never_used_again(kb: KnowledgeBase) -> None:
    kb.add([{"id": "a", "text": "One."}, {"id": "b", "text": "Two."}])
    first = keys_of(kb)
    assert kb.delete(["a", "b", "none"]) == 2
    kb.add([{"id": "a", "text": "One."}])
    assert len(kb) == 1 and not first & keys_of(kb)


def test_what_changes_nothing_commits_nothing(kb: KnowledgeBase) -> None:
    kb.add([{"id": "a", "text": "One."}])
    before = kb.store.db.number("commits")
    assert kb.delete(["none", "other"]) == kb.delete([]) == 0
    kb.add([{"id": "a", "text": "One."}])
    kb.merge([kb.path])
    assert kb.store.db.number("commits") == before
    assert kb.delete(["a", "a", "none"]) == 1
    assert (len(kb), kb.verify()) == (0, ())


def test_long_documents_become_passages_that_each_fit(
    tmp_path: Path, encoder: TokenEncoder
) -> None:
    seen: list[Passage] = []
    sizes: list[int] = []

    class Spy(type(encoder)):  # type: ignore[misc]
        def encode_passages(self, passages: Sequence[Passage], **options: Any) -> Any:
            seen.extend(passages)
            sizes.append(len(passages))
            return super().encode_passages(passages, **options)

    with KnowledgeBase.create(tmp_path / "y.kb", Spy()) as kb:
        kb.add([{"id": "a", "text": "w " * 1000, "title": "T"}], batch_size=4)
        assert kb.stats().passages == len(seen) > 13
    assert max(encoder.count_tokens(passage.text) for passage in seen) <= 77
    assert max(sizes) == 4


def test_progress_counts_what_is_safe(kb: KnowledgeBase) -> None:
    safe: list[tuple[int, int]] = []
    documents = [{"id": str(n), "text": f"{n}."} for n in range(10)]
    kb.add(documents, batch_size=4, on_progress=lambda done: safe.append((done, len(kb))))
    assert safe == [(4, 4), (8, 8), (10, 10)]


def test_interrupted_the_same_call_goes_on(kb: KnowledgeBase) -> None:
    def documents(stop: int) -> Iterator[dict[str, str]]:
        for n in range(10):
            if n == stop:
                raise KeyboardInterrupt
            yield {"id": str(n), "text": f"{n}."}

    with pytest.raises(KeyboardInterrupt):
        kb.add(documents(stop=7), batch_size=3)
    assert len(kb) == 6
    assert counts(kb.add(documents(stop=99), batch_size=3)) == (4, 6, 0, 0)


def test_create_refuses_what_is_there(tmp_path: Path, kb: KnowledgeBase, encoder: Any) -> None:
    with pytest.raises(UsageError, match=r"rag-vqa kb build SOURCE --out \S+x\.kb, or"):
        KnowledgeBase.create(kb.path, encoder)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("x")
    for path in (tmp_path / "folder", tmp_path / "folder" / "mine.txt"):
        with pytest.raises(UsageError, match="other files"):
            KnowledgeBase.create(path, encoder)
    (tmp_path / "killed.kb" / "images").mkdir(parents=True)
    (tmp_path / "killed.kb" / "kb.sqlite.new").write_bytes(b"half")
    with KnowledgeBase.create(tmp_path / "killed.kb", encoder) as made:
        assert len(made) == 0


def test_a_missing_one_names_the_next_command(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"a\.kb does not exist\. Build one: rag-vqa kb build"):
        KnowledgeBase.open(tmp_path / "a.kb")
    with pytest.raises(Missing, match=r"is no knowledge base: kb\.sqlite is not in it"):
        KnowledgeBase.open(tmp_path)


def test_closed_it_says_so(kb: KnowledgeBase) -> None:
    kb.close()
    kb.close()
    with pytest.raises(UsageError, match="closed"):
        len(kb)


def test_batch_size_must_be_positive(kb: KnowledgeBase) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        kb.add([], batch_size=0)


@pytest.mark.filterwarnings("ignore::rag_vqa.errors.NoMatch")
def test_lists_go_on_where_they_ended(kb: KnowledgeBase) -> None:
    kb.add([{"id": f"d{n}", "text": "T.", "metadata": {"odd": n % 2}} for n in range(1000)])
    kb.delete("d3")
    names = [f"d{n}" for n in range(1000) if n != 3]

    def listed(**options: Any) -> list[str]:
        return [document.id for document in kb.list(**options)]

    assert listed() == names
    assert listed(limit=3) == ["d0", "d1", "d2"]
    assert listed(after="d2", limit=2) == ["d4", "d5"]
    assert listed(where={"odd": 1}) == [f"d{n}" for n in range(1, 1000, 2) if n != 3]
    assert listed(where={"odd": 1}, after="d996") == ["d997", "d999"]
    assert listed(limit=0) == listed(after="d999") == listed(where={"odd": 7}) == []
    with pytest.raises(UsageError, match="No document has the id 'd3'"):
        listed(after="d3")
    with pytest.raises(UsageError, match="Did you mean 'odd'"):
        listed(where={"od": 1})


def test_a_document_is_shown_with_its_passages(kb: KnowledgeBase) -> None:
    kb.add([{"id": "a", "text": "w " * 150, "title": "T", "images": [png("red"), png("blue")]}])
    shown = kb.show("a")
    assert shown is not None and shown.document == kb.get("a")
    assert [p.position for p in shown.passages] == [0, 1, 2]
    assert all(p.document == "a" and p.text.startswith("T\n") for p in shown.passages)
    assert [p.image for p in shown.passages] == [*shown.document.images, shown.document.images[0]]
    assert kb.show("b") is None


def test_a_compaction_frees_what_was_deleted(kb: KnowledgeBase) -> None:
    kb.add(
        [{"id": str(n), "text": f"{n}.", "image": png("red" if n else "blue")} for n in range(9)]
    )
    kb.delete(["0", "1", "2"])
    keys, before = keys_of(kb), kb.stats()
    assert (before.gone, before.images) == (3, 2)
    freed = kb.compact()
    row = 4 * 64 * 2 + 4 * 64 + 4 * 2 + 4 * 4  # K · D fp16; K · D int8, K scales, K sums
    assert (freed.rows, freed.pictures, freed.bytes) == (3, 1, 3 * row)
    after = kb.stats()
    assert (after.gone, after.images, after.documents) == (0, 1, 6)
    assert keys_of(kb) == keys  # a key is for ever
    assert kb.compact().rows == 0
    kb.add([{"id": "new", "text": "New."}])
    assert min(keys_of(kb) - keys) > 9


def test_a_copy_is_the_last_commit(
    tmp_path: Path, kb: KnowledgeBase, encoder: TokenEncoder
) -> None:
    kb.add([{"id": str(n), "text": f"{n}.", "image": png()} for n in range(5)])
    kb.delete("0")
    kb.snapshot(tmp_path / "deep" / "copy.kb")
    kb.add([{"id": "later", "text": "Later."}])
    with KnowledgeBase.open(tmp_path / "deep" / "copy.kb", encoder) as copy:
        assert [document.id for document in copy.documents()] == ["1", "2", "3", "4"]
        assert copy.verify() == ()
        copy.add([{"id": "own", "text": "Its own."}])
        assert copy.verify() == kb.verify() == ()
    for taken in (kb.path, tmp_path / "deep"):
        with pytest.raises(UsageError, match="not empty"):
            kb.snapshot(taken)


def test_many_commits_of_few_documents_fill_segments(
    kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag_vqa.retriever.store.document_store.SEGMENT_ROWS", 5)
    kb.add([{"id": str(n), "text": f"{n}."} for n in range(14)], batch_size=3)
    ends = kb.store.db.rows("SELECT number, rows FROM segments")
    assert ends == [(1, 6), (2, 6), (3, 2)]  # the commit that fills a segment stays whole
    assert kb.verify() == ()
