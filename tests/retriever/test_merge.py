"""Parts built one by one, merged, are what one build makes; what does not belong is refused."""

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rag_vqa.errors import CorruptKnowledgeBase, Mismatch, Missing
from rag_vqa.images import encode
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.types import Query


def document(number: int) -> dict[str, Any]:
    picture = encode(Image.new("RGB", (2, 2), (number % 5, 0, 0)))
    text = f"Bird {number} of sea {number % 3}. " + f"word{number} " * (100 * (number % 4 == 0))
    made: dict[str, Any] = {"id": f"d{number}", "text": text, "metadata": {"third": number % 3}}
    return made | ({"image": picture} if number % 2 else {})


def found(kb: KnowledgeBase) -> Any:
    """All that can be asked, without what depends on the folder."""
    queries = [Query("Bird 7"), Query("sea 2 word8")]
    hits = [*kb.search(queries, 30), *kb.search(queries, 5, {"third": 1})]
    return [
        [(h.document.id, h.score, h.passage.text, h.passage.position) for h in row] for row in hits
    ]


def documents(kb: KnowledgeBase) -> Any:
    shown = {d.id: kb.show(d.id) for d in kb.documents()}
    return {
        name: (s.document.text, s.document.metadata, [p.text for p in s.passages],
               [Path(str(i)).read_bytes() for i in s.document.images])
        for name, s in shown.items() if s is not None
    }  # fmt: skip


@pytest.mark.parametrize("keep_tokens", [True, False])
def test_merged_parts_are_one_build(
    tmp_path: Path, encoder: TokenEncoder, monkeypatch: pytest.MonkeyPatch, keep_tokens: bool
) -> None:
    def made(name: str, numbers: range) -> KnowledgeBase:
        kb = KnowledgeBase.create(tmp_path / name, encoder, keep_tokens=keep_tokens)
        kb.add((document(n) for n in numbers), batch_size=5)
        return kb

    parts = [made(f"part{i}", range(i, 23, 3)) for i in range(3)]
    parts[0].delete("d9")
    parts[0].add([document(9)])  # in no order of keys any more
    whole, merged = made("whole", range(23)), made("merged", range(0))
    monkeypatch.setattr(encoder, "encode_passages", None)  # nothing is encoded
    report = merged.merge([part.path for part in parts])
    assert (report.added, report.encoded, report.rejected) == (23, 0, [])
    assert documents(merged) == documents(whole)
    assert found(merged) == found(whole)
    assert merged.verify() == ()
    again = merged.merge([part.path for part in parts])
    assert (again.added, again.unchanged) == (0, 23)


def test_an_id_of_other_content_is_refused(tmp_path: Path, encoder: TokenEncoder) -> None:
    with (
        KnowledgeBase.create(tmp_path / "a", encoder) as a,
        KnowledgeBase.create(tmp_path / "b", encoder) as b,
    ):
        a.add([{"id": "x", "text": "One."}])
        b.add([{"id": "x", "text": "Two."}, {"id": "y", "text": "Three."}])
        report = a.merge([b.path])
        assert report.added == 1 and [r.id for r in report.rejected] == ["x"]
        assert {d.id: d.text for d in a.documents()} == {"x": "One.", "y": "Three."}


def test_what_was_not_built_alike_is_refused(tmp_path: Path, encoder: TokenEncoder) -> None:
    other: Any = type("Other", (type(encoder),), {"fingerprint": "e" * 64})()
    KnowledgeBase.create(tmp_path / "codes", encoder, keep_tokens=False).close()
    KnowledgeBase.create(tmp_path / "whole", encoder, split="none").close()
    KnowledgeBase.create(tmp_path / "other", other).close()
    with KnowledgeBase.create(tmp_path / "a", encoder) as kb:
        for name in ("codes", "whole", "other"):
            with pytest.raises(Mismatch, match="was built with other options than"):
                kb.merge([tmp_path / name])
        with pytest.raises(Missing):
            kb.merge([tmp_path / "none"])


def test_damage_is_not_taken_over(tmp_path: Path, encoder: TokenEncoder) -> None:
    with KnowledgeBase.create(tmp_path / "b", encoder) as part:
        part.add([document(n) for n in range(4)])
    file = tmp_path / "b" / "segments" / "000001.codes"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with KnowledgeBase.create(tmp_path / "a", encoder) as kb:
        with pytest.raises(CorruptKnowledgeBase, match=r"000001\.codes is damaged at byte 64"):
            kb.merge([tmp_path / "b"])
        assert len(kb) == 0


def test_a_part_of_very_many_commits_needs_few_open_files(
    tmp_path: Path, encoder: TokenEncoder
) -> None:
    """Each commit makes a block of its own; a segment of them is mapped once."""
    with KnowledgeBase.create(tmp_path / "b", encoder) as part:
        part.add(({"id": f"d{n}", "text": f"Bird {n}."} for n in range(60)), batch_size=1)
    resource = pytest.importorskip("resource")  # not on Windows
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with KnowledgeBase.create(tmp_path / "a", encoder) as kb:
        lowest = os.open(os.devnull, os.O_RDONLY)  # descriptors are given from the lowest
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 40, hard))
        try:
            report = kb.merge([tmp_path / "b"])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert report.added == len(kb) == 60 and kb.verify() == ()
