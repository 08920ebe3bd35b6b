"""Documents whose pictures workers open: the same bytes, the same refusals; the pace of commits."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rag_vqa import images
from rag_vqa.errors import BadInput
from rag_vqa.retriever import ingest
from rag_vqa.retriever.ingest_batch import AddReport
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.retriever.store.segments import RowReader

WORKERS = [0, 2]


def png(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (20 + number % 7, 33, 3), np.uint8)
    return images.encode(Image.fromarray(pixels))


def document(number: int) -> dict[str, Any]:
    """Some without a picture, some with two, some of one page's picture; texts of all lengths."""
    shown = [[png(number)], [], [png(number), png(7)], [png(7)]][number % 4]
    text = "a red bird " * (number % 3) or "nest" * (number % 4 == 1)
    return {"id": f"d{number}", "text": text, "images": shown,
            "title": "bird"}  # fmt: skip


def made(path: Path, checkpoint: Path, workers: int) -> KnowledgeBase:
    encoder = Encoder.load(checkpoint, device="cpu", batch_size=4, workers=workers)
    return KnowledgeBase.create(path, encoder)


def stored(kb: KnowledgeBase) -> tuple[list[Any], bytes]:
    """Every row, and the bytes of all tokens."""
    with kb.store.db.snapshot():
        rows = kb.store.db.rows("SELECT key, document, position, text, image FROM passages")
        tokens, _ = RowReader(kb.store.db, kb.store.segments).rows(
            np.array([row[0] for row in rows], np.int64)
        )
    assert tokens is not None
    return rows, tokens.tobytes()


def counts(report: AddReport) -> tuple[int, int, int, int]:
    return report.added, report.unchanged, report.replaced, len(report.rejected)


def test_tokens_with_workers_are_those_without(tmp_path: Path, checkpoint: Path) -> None:
    found = []
    for workers in WORKERS:
        told: list[int] = []
        with made(tmp_path / f"{workers}.kb", checkpoint, workers) as kb:
            report = kb.add(map(document, range(120)), batch_size=16, on_progress=told.append)
            assert counts(report) == (120, 0, 0, 0) and kb.verify() == ()
            found.append(stored(kb))
            assert kb.stats().images == len({image for *_, image in found[-1][0] if image})
        assert told == sorted({*told}) and told[-1] == 120 and len(told) > 5
    assert found[0] == found[1]


@pytest.mark.parametrize("workers", WORKERS)
def test_refused_is_what_was_refused(tmp_path: Path, checkpoint: Path, workers: int) -> None:
    bad = png(1)[:60]
    (tmp_path / "cut.png").write_bytes(bad)
    documents: list[Any] = [
        document(0),
        {"id": "x", "image": str(tmp_path / "cut.png")},
        {"id": "x", "text": "red", "image": png(3)},  # its first was refused: this one is good
        {"id": "x", "text": "a", "image": png(3)},
        {"id": "y", "text": "bird", "images": [png(4), b"<html>"]},
        {"id": "z", "image": bad},
        {"id": "z", "text": "bird", "image": bad},
        {"id": "z", "text": "bird", "image": bad},
        document(0),
    ]
    with made(tmp_path / "x.kb", checkpoint, workers) as kb:
        report = kb.add(documents)
        assert counts(report) == (4, 2, 0, 3)
        assert sorted(str(r.id) for r in report.rejected) == ["x", "x", "z"]
        unusable = sorted(
            (one.document, "truncated" in one.reason) for one in report.missing_images
        )
        assert unusable == [("x", True), ("y", False), ("z", True), ("z", True)]
        assert {d.id: len(d.images) for d in kb.documents()} == {"d0": 1, "x": 1, "y": 1, "z": 0}
        assert kb.stats().images == 3  # none of a refused document was kept
        again = kb.add(documents)
        assert (again.added, again.replaced, again.encoded) == (0, 0, 0)
    with (
        made(tmp_path / "y.kb", checkpoint, workers) as kb,
        pytest.raises(BadInput, match=r"cut\.png"),  # not the address, which shows earlier
    ):
        later = {"id": "w", "text": "bird", "image": "https://x/y.png"}
        kb.add([*documents[:2], later], strict=True)


def test_a_picture_is_decoded_once(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, read = [], []
    load, read_bytes = images.load, images.read_bytes
    monkeypatch.setattr(images, "load", lambda s, **o: seen.append(type(s)) or load(s, **o))
    monkeypatch.setattr("rag_vqa.retriever.modeling.processor.load", images.load)
    monkeypatch.setattr(images, "read_bytes", lambda s, *r: read.append(s) or read_bytes(s, *r))
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(png(number % 3))
    documents = [{"id": str(n), "text": "a", "image": str(tmp_path / f"{n}.png")} for n in range(6)]
    with made(tmp_path / "x.kb", checkpoint, 0) as kb:
        kb.add(documents)
        assert len([source for source in read if isinstance(source, Path)]) == 6
        assert seen.count(bytes) == 3  # of equal pictures one
        assert {*seen} == {bytes, Image.Image}  # what is open by then is only converted


def test_at_most_two_batches_are_taken_ahead(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, most = 0, 0

    def documents() -> Iterator[dict[str, Any]]:
        nonlocal given, most
        for number in range(200):
            given = number + 1
            most = max(most, given - len(kb))
            yield {"id": str(number), "text": "a", "image": png(number % 5)}

    with made(tmp_path / "x.kb", checkpoint, 1) as kb:
        kb.add(documents(), batch_size=10)
    assert most == 30  # two batches ahead, and the one being filled
    assert threading.active_count() == 1 or not any(
        "Executor" in thread.name for thread in threading.enumerate()
    )


class Clock:
    """Goes on by `seconds` for each passage encoded."""

    def __init__(self, encoder: TokenEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.seconds, self.sizes = 0.0, 0.0, list[int]()
        encode = encoder.encode_passages

        def slowly(passages: Any) -> Any:
            self.now += self.seconds * len(passages)
            self.sizes.append(len(passages))
            return encode(passages)

        monkeypatch.setattr(encoder, "encode_passages", slowly)
        monkeypatch.setattr(ingest, "monotonic", lambda: self.now)


def test_commits_grow_while_they_are_quick_and_shrink_when_slow(
    tmp_path: Path, encoder: TokenEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(encoder, monkeypatch)

    def sizes(name: str, seconds: float, number: int) -> list[int]:
        clock.seconds, clock.sizes = seconds, []
        with KnowledgeBase.create(tmp_path / name, encoder) as kb:
            kb.add({"id": str(n), "text": f"{n}."} for n in range(number))
        return clock.sizes

    assert sizes("quick", 0.001, 1000) == [32, 64, 128, 256, 256, 256, 8]
    assert sizes("slow", 0.5, 100) == [32, 16, 8, 8, 8, 8, 8, 8, 4]  # 16 s, 8 s, then 4 s each
    assert sizes("between", 0.05, 256) == [32, 64, 64, 64, 32]  # 1.6 s, then 3.2 s
