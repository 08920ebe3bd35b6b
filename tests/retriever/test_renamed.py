"""Documents under another id: their tokens are copied, and they are neither added nor deleted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rag_vqa.errors import UsageError
from rag_vqa.formats.source import open_source
from rag_vqa.images import encode
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.retriever.sync_and_merge import SyncReport
from rag_vqa.types import Query


def png(colour: str) -> bytes:
    return encode(Image.new("RGB", (3, 2), colour))


def records(count: int = 10, **ids: str) -> list[dict[str, Any]]:
    """`d3="x"` gives d3 the id x."""
    names = [ids.get(f"d{n}", f"d{n}") for n in range(count)]
    return [
        {"id": name, "title": "T", "text": f"Text {n}. " * 60, "image": png("red")}
        for n, name in enumerate(names)
    ]


@pytest.fixture(params=[True, False], ids=["tokens", "codes"])
def kb(
    tmp_path: Path, encoder: TokenEncoder, request: pytest.FixtureRequest
) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.create(tmp_path / "x.kb", encoder, keep_tokens=request.param) as base:
        base.add(records())
        yield base


def counts(report: SyncReport) -> tuple[int, int, int, int, int]:
    return (
        report.added, report.changed, len(report.renamed), report.deleted, report.unchanged,
    )  # fmt: skip


def test_a_renamed_document_keeps_its_tokens(kb: KnowledgeBase) -> None:
    before = kb.show("d3")
    query = Query("Text 3.")
    (hits,) = kb.search([query], 10)
    report = kb.sync(records(d3="vase"))
    assert counts(report) == (0, 0, 1, 0, 9)
    assert (report.renamed, report.encoded) == ([("d3", "vase")], 0)
    after = kb.show("vase")
    assert before is not None and after is not None and kb.get("d3") is None
    assert [p.text for p in after.passages] == [p.text for p in before.passages]
    assert {p.document for p in after.passages} == {"vase"}
    (again,) = kb.search([query], 10)
    renamed = [(h.document.id.replace("vase", "d3"), h.score) for h in again]
    assert sorted(renamed) == sorted((h.document.id, h.score) for h in hits)
    assert kb.verify() == ()
    assert counts(kb.sync(records(d3="vase"))) == (0, 0, 0, 0, 10)


def test_all_of_a_folder_may_be_renamed(kb: KnowledgeBase) -> None:
    moved = records(**{f"d{n}": f"new/d{n}" for n in range(10)})
    planned = kb.sync(moved, dry_run=True)
    assert (counts(planned), planned.rash) == ((0, 0, 10, 0, 0), False)
    assert counts(kb.sync(moved)) == (0, 0, 10, 0, 0)  # without force
    with pytest.raises(UsageError, match="9 of 10 documents are not in the source"):
        kb.sync([*records(1, d0="other"), {"id": "p", "text": "x"}])


def test_a_copy_is_added_without_encoding(kb: KnowledgeBase) -> None:
    report = kb.sync([*records(), *records(1, d0="copy")])
    assert (counts(report), report.encoded) == ((1, 0, 0, 0, 10), 0)
    assert kb.verify() == ()


def test_a_document_that_changed_too_gives_no_tokens(kb: KnowledgeBase) -> None:
    changed = records(d1="d0", d0="new")  # d0 now has the text of d1, and new that of d0
    report = kb.sync(changed, force=True)
    assert sorted(document.id for document in kb.documents()) == sorted(
        one["id"] for one in changed
    )
    for record in changed:
        found = kb.show(record["id"])
        assert found is not None and found.document.text == record["text"]
        assert all(passage.text.startswith("T\nText") for passage in found.passages)
    assert report.changed == 1 and kb.verify() == ()


def test_a_file_of_a_folder_is_renamed(tmp_path: Path, encoder: TokenEncoder) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("vase", "bowl", "plate"):
        (folder / f"{name}.txt").write_text(f"This is the {name} of Bow.")
        (folder / f"{name}.png").write_bytes(png("blue"))
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as kb:
        assert kb.add(open_source(folder).records()).added == 3
        for suffix in ("txt", "png"):
            (folder / f"vase.{suffix}").rename(folder / f"Vase of 1760.{suffix}")
        report = kb.sync(list(open_source(folder).records()))
        assert (counts(report), report.encoded) == ((0, 0, 1, 0, 2), 0)
        assert report.renamed == [("vase", "Vase of 1760")]


def test_a_title_that_changed_with_the_name_is_encoded(
    tmp_path: Path, encoder: TokenEncoder
) -> None:
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as kb:
        kb.add([{"id": "a", "title": "a", "text": "Blue."}])
        report = kb.sync([{"id": "b", "title": "b", "text": "Blue."}])
        assert (report.renamed, report.encoded) == ([("a", "b")], 1)
        rows = kb.search([Query("b")], 1)
        assert rows[0][0].passage.text == "b\nBlue." and np.isfinite(rows[0][0].score)
