"""The frozen splitting: what it made before it was frozen, and that old knowledge bases keep it."""

from pathlib import Path

import pytest

from rag_vqa.errors import UsageError
from rag_vqa.retriever import passages
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.retriever.passages import split_document
from rag_vqa.types import Document

TEXT = "Dr. A. Smith came. a | b\n1 | 2\n3 | 4\n说。好！ - item one goes on, and on\n" + "x" * 30
# Made by the splitting as it was when it was called window-1, at 12 words and marks a window.
WINDOWS = [
    "T\nDr. A. Smith came. a | b",
    "T\n1 | 2 3 | 4 说。 好！",
    "T\n- item one goes on, and on " + "x" * 30,
]


def words(text: str) -> int:
    return len(text.split()) + 2


def test_it_cuts_as_it_did() -> None:
    document = Document("a", TEXT, title="T")
    found = split_document(document, words, 12, "window-1")
    assert [passage.text for passage in found] == WINDOWS


@pytest.fixture
def old(tmp_path: Path, encoder: TokenEncoder, monkeypatch: pytest.MonkeyPatch) -> Path:
    with monkeypatch.context() as patch:
        patch.setitem(passages.SPLITTINGS, "window", "window-1")
        with KnowledgeBase.create(tmp_path / "old.kb", encoder) as kb:
            kb.add([{"id": "a", "text": "| a | b |\n" * 40}, {"id": "b", "text": "Short."}])
            assert kb.stats().splitting == "window-1"
    return tmp_path / "old.kb"


def test_an_old_knowledge_base_stays_as_it_is(old: Path, encoder: TokenEncoder) -> None:
    with KnowledgeBase.open(old, encoder) as kb:
        same = kb.add([{"id": "a", "text": "| a | b |\n" * 40}, {"id": "b", "text": "Short."}])
        assert (same.unchanged, same.encoded) == (2, 0)
        # A new table is cut by the old rules, too: 75 words a window, and no header again.
        assert kb.add([{"id": "c", "text": "| a | b |\n" * 40}]).encoded == 3
        assert kb.verify() == ()
    with KnowledgeBase.create(old, encoder, split="window", exist_ok=True) as kb:
        assert kb.stats().splitting == "window-1"
    with pytest.raises(UsageError, match="splitting 'window-1', which cannot change"):
        KnowledgeBase.create(old, encoder, split="none", exist_ok=True)
