"""A source against what is stored: what is encoded, deleted, refused, and what a dry run says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.formats.document import Rejected
from rag_vqa.formats.jsonl import read_jsonl
from rag_vqa.images import encode
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.retriever.sync_and_merge import SyncReport


def png(colour: str) -> bytes:
    return encode(Image.new("RGB", (3, 2), colour))


@pytest.fixture
def kb(tmp_path: Path, encoder: TokenEncoder) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as base:
        base.add(source())
        yield base


def source(**changes: dict[str, Any]) -> list[dict[str, Any]]:
    """Forty documents; `d7={"text": "…"}` changes one."""
    documents = {f"d{n}": {"id": f"d{n}", "text": f"Text {n}."} for n in range(40)}
    return [document | changes.get(name, {}) for name, document in documents.items()]


def counts(report: SyncReport) -> tuple[int, int, int, int]:
    return report.added, report.changed, report.deleted, report.unchanged


def texts(kb: KnowledgeBase) -> dict[str, str]:
    return {document.id: document.text for document in kb.documents()}


def commits(kb: KnowledgeBase) -> int:
    return kb.store.db.number("commits")


def test_the_source_is_what_is_stored(kb: KnowledgeBase) -> None:
    records = [*source(d3={"text": "New."})[:39], {"id": "e", "text": "Added."}]
    report = kb.sync(records)
    assert counts(report) == (1, 1, 1, 38)
    assert report.encoded == 2
    assert texts(kb) == {record["id"]: record["text"] for record in records}
    before = commits(kb)
    assert counts(kb.sync(records)) == (0, 0, 0, 40)
    assert commits(kb) == before  # nothing to do: nothing written


@pytest.mark.parametrize(
    "change",
    [{"metadata": {"lang": "en"}}, {"parent": "p"}, {"url": "https://u"},
     {"text": "As readers see it.", "retrieval_text": "Text 3."}],
)  # fmt: skip
def test_what_shapes_no_passage_encodes_nothing(kb: KnowledgeBase, change: dict[str, Any]) -> None:
    before = kb.show("d3")
    report = kb.sync(source(d3=change))
    assert counts(report) == (0, 1, 0, 39)
    assert report.encoded == 0
    after = kb.show("d3")
    assert before is not None and after is not None and after.passages == before.passages
    assert {name: getattr(after.document, name) for name in change} == change
    assert kb.verify() == ()


@pytest.mark.parametrize(
    "change",
    [{"text": "New."}, {"title": "T"}, {"section": "S"}, {"image": png("red")},
     {"retrieval_text": "Seen."}],
)  # fmt: skip
def test_what_shapes_a_passage_is_encoded(kb: KnowledgeBase, change: dict[str, Any]) -> None:
    assert kb.sync(source(d3=change)).encoded == 1


def test_a_dry_run_says_the_same_and_changes_nothing(kb: KnowledgeBase, tmp_path: Path) -> None:
    records = [
        *source(d1={"text": "New."}, d2={"metadata": {"a": 1}})[:30],
        {"id": "p", "text": "x", "image": png("red")},
        {"id": "q", "text": " "},
        {"id": "r", "image": b"no picture"},
        {"id": "s", "image": str(tmp_path / "gone.png"), "text": "x"},
    ]
    before = commits(kb), texts(kb), sorted(kb.path.rglob("*"))
    planned = kb.sync(records, dry_run=True)
    assert (commits(kb), texts(kb), sorted(kb.path.rglob("*"))) == before
    assert counts(planned) == (2, 2, 10, 28)
    done = kb.sync(records, force=True)
    assert counts(done) == counts(planned)
    assert sorted(done.missing_images) == sorted(planned.missing_images)
    assert [one.document for one in sorted(done.missing_images)] == ["r", "s"]
    assert [r.id for r in done.rejected] == [r.id for r in planned.rejected] == ["q", "r"]


def test_over_five_percent_needs_force(kb: KnowledgeBase) -> None:
    rash = source(d0={"text": "New."})[:37]
    nothing = r"3 of 40 documents .*, over 5%: nothing was changed. .* --force"
    for _ in range(2):  # nor does a second run find the guard worn out
        with pytest.raises(UsageError, match=nothing):
            kb.sync([*rash, *({"id": f"new{n}", "text": "x"} for n in range(500))])
        assert len(kb) == 40 and texts(kb)["d0"] == "Text 0."
    assert kb.sync(rash, dry_run=True).rash and not kb.sync(source(), dry_run=True).rash
    with pytest.raises(UsageError, match=r"over 5%: none was deleted; what was added .* --force"):
        kb.sync(iter(rash))  # read once: it is known at its end
    assert len(kb) == 40
    assert texts(kb)["d0"] == "New."  # as it says
    assert kb.sync(source()[:38]).deleted == 2
    assert kb.sync(source()[:30], force=True).deleted == 8
    assert len(kb) == 30


def test_a_picture_whose_file_is_missing_stays(kb: KnowledgeBase, tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(png("red"))
    pictured = source(d0={"image": str(tmp_path / "p.png")})
    assert kb.sync(pictured).changed == 1
    (tmp_path / "p.png").rename(tmp_path / "away.png")  # a disk that is not mounted
    report = kb.sync(pictured)
    assert (report.changed, report.unchanged, report.held) == (0, 40, 1)
    assert [one[:2] for one in report.missing_images] == [("d0", str(tmp_path / "p.png"))]
    assert len(found.images if (found := kb.get("d0")) else ()) == 1
    gone = kb.sync(source())  # that it has none is another matter
    assert (gone.changed, gone.held) == (1, 0)


def test_what_was_refused_is_not_deleted(kb: KnowledgeBase) -> None:
    records = source(d0={"text": " "})  # neither text nor image, but it is in the source
    report = kb.sync(records[:39])
    assert (report.deleted, [r.id for r in report.rejected]) == (1, ["d0"])
    assert "d0" in texts(kb)


def test_nothing_is_deleted_where_a_refused_record_has_no_id(
    kb: KnowledgeBase, tmp_path: Path
) -> None:
    lines = [f'{{"id": "d{n}", "text": "Text {n}."}}\n' for n in range(39)]
    (tmp_path / "s.jsonl").write_text("".join([*lines[:20], "not json\n", *lines[20:]]))
    refused: list[Rejected] = []
    records = read_jsonl(tmp_path / "s.jsonl", on_reject=refused.append)
    report = kb.sync(records, rejected=refused)
    assert (report.deleted, report.kept, len(report.rejected)) == (0, 1, 1)
    assert len(kb) == 40


def test_interrupted_it_goes_on(kb: KnowledgeBase) -> None:
    records = source(**{f"d{n}": {"text": f"New {n}."} for n in range(20)})[:39]

    def stops(at: int) -> Iterator[dict[str, Any]]:
        for number, record in enumerate(records):
            if number == at:
                raise KeyboardInterrupt
            yield record

    with pytest.raises(KeyboardInterrupt):
        kb.sync(stops(10), batch_size=4)
    assert len(kb) == 40  # nothing deleted before all was seen
    assert counts(kb.sync(stops(99), batch_size=4)) == (0, 12, 1, 27)
    assert texts(kb) == {record["id"]: record["text"] for record in records}


def test_strict_stops_at_the_first(kb: KnowledgeBase) -> None:
    with pytest.raises(BadInput):
        kb.sync(source(d0={"text": " "}), strict=True)
    with pytest.raises(UsageError, match="at least 1"):
        kb.sync([], batch_size=0)


def test_progress_counts_what_is_safe(kb: KnowledgeBase) -> None:
    told: list[int] = []
    kb.sync(source(d9={"text": "New."}), on_progress=told.append)
    assert told == [*range(1, 10), 40]


def test_a_row_that_became_empty_is_refused_and_stays(kb: KnowledgeBase) -> None:
    report = kb.sync(source(d0={"text": ""}, d1={"text": None}))
    assert [one.id for one in report.rejected] == ["d0", "d1"]
    assert (counts(report), report.stayed) == ((0, 0, 0, 38), 2)
    assert texts(kb)["d0"] == "Text 0."
    new = kb.sync([*source(), {"id": "new", "text": ""}])
    assert (len(new.rejected), new.stayed) == (1, 0)  # it was never here


def test_a_picture_that_came_back_is_told(kb: KnowledgeBase, tmp_path: Path) -> None:
    records = source(d0={"image": str(tmp_path / "p.png")})
    first = kb.sync(records)  # its file is missing: the document stays without
    assert (first.unchanged, first.changed, len(first.missing_images)) == (40, 0, 1)
    (tmp_path / "p.png").write_bytes(png("red"))
    report = kb.sync(records)
    assert (counts(report), report.regained, report.encoded) == ((0, 1, 0, 39), 1, 1)
    other = kb.sync(source(d0={"image": str(tmp_path / "p.png"), "text": "New."}))
    assert (other.changed, other.regained) == (1, 0)


def test_an_unreadable_picture_loads_no_encoder_again(
    tmp_path: Path, encoder: TokenEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "good.png").write_bytes(png("red"))
    (tmp_path / "bad.png").write_bytes(png("blue")[:40])
    lines = [
        {"id": "a", "text": "Blue.", "images": ["good.png", "bad.png"]},
        {"id": "b", "text": "Red.", "image": "bad.png"},
        {"id": "c", "text": "Green.", "image": "gone.png"},
    ]
    path = tmp_path / "s.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with KnowledgeBase.create(tmp_path / "y.kb", encoder) as kb:
        assert kb.add(read_jsonl(path)).added == 3
        monkeypatch.setattr(KnowledgeBase, "encoder", property(lambda self: 1 / 0))
        for _ in range(2):
            report = kb.sync(list(read_jsonl(path)))
            assert (counts(report), len(report.missing_images)) == ((0, 0, 0, 3), 3)


def test_unchanged_pictures_are_not_read_again(
    tmp_path: Path, encoder: TokenEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag_vqa.retriever.picture_reader.is_settled", lambda path: True)
    (tmp_path / "p.png").write_bytes(png("red"))
    path = tmp_path / "s.jsonl"
    path.write_text('{"id": "a", "text": "Vase.", "image": "p.png"}\n')
    with KnowledgeBase.create(tmp_path / "y.kb", encoder) as kb:
        kb.add(read_jsonl(path))
        with monkeypatch.context() as patch:
            patch.setattr("rag_vqa.images.read_bytes", lambda *_: 1 / 0)
            assert counts(kb.sync(list(read_jsonl(path)))) == (0, 0, 0, 1)
        stored = next((kb.path / "images").iterdir())
        stored.write_bytes(b"damaged")  # by hand: it is repaired
        assert counts(kb.sync(list(read_jsonl(path)))) == (0, 0, 0, 1)
        assert kb.verify() == ()
        (tmp_path / "p.png").write_bytes(png("blue"))
        assert counts(kb.sync(list(read_jsonl(path)))) == (0, 1, 0, 0)
