"""A knowledge base and the retriever that made it: loaded when needed; another one is refused."""

import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rag_vqa.errors import CorruptKnowledgeBase, Mismatch, RagVqaError
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.types import Document

Asked = tuple[str, str | None, dict[str, Any]]  # source, revision, options


def png(colour: str = "red") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (3, 2), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def kb(tmp_path: Path, encoder: TokenEncoder) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as base:
        yield base


def other(encoder: TokenEncoder, **attributes: Any) -> Any:
    """An encoder like `encoder`, but for these attributes."""
    made: Any = type(encoder).__new__(type("Other", (type(encoder),), attributes))
    return made


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, encoder: TokenEncoder) -> list[Asked]:
    """What `Encoder.load` was asked for; stands in for the module, which takes seconds."""
    asked: list[Asked] = []

    class Encoder:
        @classmethod
        def load(cls, source: str, *, revision: str | None, **options: Any) -> TokenEncoder:
            asked.append((source, revision, options))
            return encoder

    module = SimpleNamespace(Encoder=Encoder)
    monkeypatch.setitem(sys.modules, "rag_vqa.retriever.modeling.encoder", module)
    return asked


def counts(report: Any) -> tuple[int, int, int, int]:
    return report.added, report.unchanged, report.replaced, len(report.rejected)


def test_adding_twice_changes_nothing_and_loads_no_encoder(
    tmp_path: Path, kb: KnowledgeBase, loaded: list[Asked]
) -> None:
    documents = [Document(f"d{n}", text=f"Text {n}.", images=(png(),)) for n in range(5)]
    kb.add(documents)
    kb.close()
    before = (tmp_path / "x.kb" / "kb.sqlite").read_bytes()
    with KnowledgeBase.open(tmp_path / "x.kb") as again:
        assert counts(again.add(documents)) == (0, 5, 0, 0)
        assert (tmp_path / "x.kb" / "kb.sqlite").read_bytes() == before
        assert loaded == []
        again.add([Document("new", text="New.")])
        again.add([Document("more", text="New.")])
        assert loaded == [("fake", None, {})]


def test_the_encoder_that_is_loaded_must_match_too(
    tmp_path: Path, encoder: TokenEncoder, loaded: list[Asked]
) -> None:
    changed = other(encoder, fingerprint="e" * 64, source="hub/x", revision="r")
    KnowledgeBase.create(tmp_path / "y.kb", changed).close()
    with KnowledgeBase.open(tmp_path / "y.kb") as kb, pytest.raises(Mismatch, match="with x@r"):
        kb.add([{"id": "a", "text": "One."}])
    assert loaded == [("hub/x", "r", {})]


def test_the_encoder_is_loaded_with_the_options_that_it_was_built_with(
    tmp_path: Path, encoder: TokenEncoder, loaded: list[Asked]
) -> None:
    options = {"dtype": "bfloat16", "parity": True, "tokenizer": "hub/t"}
    KnowledgeBase.create(tmp_path / "y.kb", other(encoder, options=options)).close()
    with KnowledgeBase.open(tmp_path / "y.kb") as kb:
        assert kb.encoder is encoder  # the same fingerprint: what it calls itself is no matter
    assert loaded == [("fake", None, options)]
    line = "with fake dtype=bfloat16 parity=True tokenizer=hub/t, but the settings ask for fake. "
    with pytest.raises(Mismatch, match=line):
        KnowledgeBase.open(tmp_path / "y.kb", other(encoder, fingerprint="e" * 64))


@pytest.mark.parametrize("options", ["", "[]", '{"device": "cuda"}', '{"dtype": 5}', "[" * 99_999])
def test_options_in_the_file_that_are_none(kb: KnowledgeBase, options: str) -> None:
    with kb.store.db.commit() as commit:
        commit.set_meta("options", options)
    with pytest.raises(CorruptKnowledgeBase, match="the retriever's options"):
        KnowledgeBase.open(kb.path)


def test_an_encoder_that_does_not_match_is_refused(
    kb: KnowledgeBase, encoder: TokenEncoder
) -> None:
    kb.add([{"id": "a", "text": "One."}])
    given = other(encoder, source="hub/ReT-H", revision="c3d4", fingerprint="e" * 64)
    line = (
        r"x\.kb was built with fake, but the settings ask for ReT-H@c3d4\. "
        r"Leave out --retriever and its "
    )
    with pytest.raises(Mismatch, match=line):
        KnowledgeBase.open(kb.path, given)
    with pytest.raises(Mismatch, match=line):
        KnowledgeBase.create(kb.path, given, exist_ok=True)
    with pytest.raises(Mismatch, match=r"fake \(f{12}\), but the settings ask for fake \(e{12}\)"):
        KnowledgeBase.open(kb.path, other(encoder, fingerprint="e" * 64))
    with pytest.raises(Mismatch):
        KnowledgeBase.open(kb.path, other(encoder, K=8))
    moved = other(encoder, source="/elsewhere/fake", revision="main")  # the same weights
    KnowledgeBase.open(kb.path, moved).close()


def test_other_splitting_is_refused(
    kb: KnowledgeBase, encoder: TokenEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag_vqa.retriever.store.kb_manifest.SPLITTINGS", {"window": "window-9"})
    with pytest.raises(
        Mismatch, match=r"split by 'window-2', this rag-vqa knows window-9, window-1\. Rebuild"
    ):
        KnowledgeBase.open(kb.path, encoder)


def test_a_broken_encoder_stores_nothing(tmp_path: Path, encoder: TokenEncoder) -> None:
    for tokens in (np.full((1, 4, 64), np.nan, np.float32), np.ones((1, 4, 63), np.float32)):
        broken = other(encoder, encode_passages=lambda self, passages, t=tokens: t)
        with KnowledgeBase.create(tmp_path / "b.kb", broken, exist_ok=True) as kb:
            with pytest.raises(RagVqaError, match="checkpoint damaged"):
                kb.add([{"id": "a", "text": "One."}])
            assert len(kb) == 0
