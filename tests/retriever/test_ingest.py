"""What is refused when it is added, why, and with which line; documents of one id."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import Rejected
from rag_vqa.formats.jsonl import read_jsonl
from rag_vqa.images import encode
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.types import Document


def png(colour: str = "red") -> bytes:
    return encode(Image.new("RGB", (3, 2), colour))


@pytest.fixture
def kb(tmp_path: Path, encoder: TokenEncoder) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as base:
        yield base


def keys_of(kb: KnowledgeBase) -> set[int]:
    return {key for (key,) in kb.store.db.rows("SELECT key FROM passages")}


def counts(report: Any) -> tuple[int, int, int, int]:
    return report.added, report.unchanged, report.replaced, len(report.rejected)


def test_of_one_id_the_first_stays(kb: KnowledgeBase) -> None:
    report = kb.add([{"id": "a", "text": text} for text in ("One.", "Two.", "Two.", "Three.")])
    assert counts(report) == (1, 0, 0, 3)
    found = kb.get("a")
    assert found is not None and found.text == "One."


@pytest.mark.parametrize("batch_size", [1, 64])  # the first one committed already, or waiting
def test_a_second_document_of_one_id(kb: KnowledgeBase, batch_size: int) -> None:
    texts = {"a": "One.", "b": "Two."}
    good = [{"id": name, "text": text} for name, text in texts.items()]
    documents = [*good, *good, {"id": "a", "text": "Three."}, good[0]]
    report = kb.add(documents, batch_size=batch_size)
    assert counts(report) == (2, 3, 0, 1)
    assert report.rejected[0].id == "a" and "the id 'a' was given" in report.rejected[0].reason
    keys = keys_of(kb)
    assert counts(kb.add(documents, batch_size=batch_size)) == (0, 5, 0, 1)
    assert keys_of(kb) == keys  # nothing was encoded again
    assert {document.id: document.text for document in kb.documents()} == texts
    assert counts(kb.add([documents[4]])) == (0, 0, 1, 0)  # in another run it is a change
    with pytest.raises(BadInput, match="was given before"):
        kb.add(documents, strict=True)


def test_the_first_of_one_id_that_is_refused_does_not_count(kb: KnowledgeBase) -> None:
    documents = [{"id": "a", "text": " "}, {"id": "a", "text": "One."}]
    assert counts(kb.add(documents)) == (1, 0, 0, 1)
    assert counts(kb.add(documents)) == (0, 1, 0, 1)


def test_a_picture_that_a_file_s_record_may_not_use_costs_that_picture(
    kb: KnowledgeBase, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(png("blue"))
    (folder / "good.png").write_bytes(png())
    (folder / "bad.png").write_bytes(png()[:40])
    (folder / "link.png").symlink_to("../secret.png")
    (folder / "loop.png").symlink_to("loop.png")
    names = ["good.png", "bad.png", "../secret.png", str(tmp_path / "secret.png"), "link.png"]
    names += ["loop.png", "x" * 999, "../in/good.png"]
    records = [{"id": str(n), "text": "t", "image": name} for n, name in enumerate(names, 1)]
    source = tmp_path / "docs.jsonl"
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    report = kb.add(read_jsonl(source, folder))
    assert counts(report) == (8, 0, 0, 0) and kb.stats().images == 1
    assert (report.images, report.without_images) == (2, 6)
    # What is damaged is only known when it is opened, after the others.
    unusable = sorted(report.missing_images)
    assert [one.document for one in unusable] == [str(n) for n in range(2, 8)]
    assert ["outside" in one.reason for one in unusable] == [False, *[True] * 3, False, False]
    assert all(one.reason and one.image for one in unusable)
    with pytest.raises(BadInput, match=r"line 2: .*bad\.png"):
        kb.add(read_jsonl(source, folder), strict=True)


def test_a_link_put_in_after_reading_is_not_followed(kb: KnowledgeBase, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "p.png").write_bytes(png())
    (tmp_path / "secret.png").write_bytes(png("blue"))
    (tmp_path / "docs.jsonl").write_text('{"id": "a", "text": "t", "image": "p.png"}')
    records = list(read_jsonl(tmp_path / "docs.jsonl", folder))
    (folder / "p.png").unlink()
    (folder / "p.png").symlink_to(tmp_path / "secret.png")
    (unusable,) = kb.add(records).missing_images
    assert "outside" in unusable.reason and kb.stats().images == 0


def test_bad_items_are_reported_and_the_rest_is_added(kb: KnowledgeBase, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(png()[:40])
    bad: list[Any] = [
        {"id": "e", "text": " "},
        {"text": "no id"},
        {"id": "i", "text": " ", "image": str(tmp_path / "bad.png")},
        {"id": "j", "image": b"<html>"},
        {"id": "s", "text": "\ud800"},
        {"id": "k", "txt": "t"},
        Document("n", text="a\0b"),
        Document("l", text="t", images=(5,)),  # type: ignore[arg-type]
        "text",
    ]
    report = kb.add([{"id": "a", "text": "One."}, *bad, {"id": "z", "text": "Two."}])
    assert counts(report) == (2, 0, 0, len(bad))
    assert [r.id for r in report.rejected] == [*"e", None, *"sknl", None, *"ij"]
    assert report.rejected[0] == Rejected(
        None, "e", "document 'e' has neither text nor image: give it one of them."
    )
    assert kb.stats().images == 0
    for item in bad:
        with pytest.raises(BadInput):
            kb.add([item], strict=True)


def test_a_missing_image_leaves_the_text(kb: KnowledgeBase, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.png")
    documents = [{"id": "a", "text": "One.", "image": gone}, {"id": "b", "image": gone}]
    report = kb.add(documents)
    assert counts(report) == (1, 0, 0, 1)
    assert [one[:2] for one in report.missing_images] == [("a", gone), ("b", gone)]
    assert all("no such file" in one.reason for one in report.missing_images)
    assert kb.get("a") == Document("a", text="One.")
    (tmp_path / "gone.png").write_bytes(png())
    assert counts(kb.add(documents)) == (1, 0, 1, 0)


def test_of_equal_pictures_of_a_document_one_is_kept(kb: KnowledgeBase, tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(png())
    kb.add([{"id": "a", "text": "One.", "images": [tmp_path / "p.png", png(), png("blue")]}])
    found = kb.get("a")
    assert found is not None
    assert [Path(str(image)).read_bytes() for image in found.images] == [png(), png("blue")]
