"""What is chosen on creation: splitting or not, tokens or codes alone. And `retrieval_text`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_vqa.errors import UsageError
from rag_vqa.retriever.index import rows as index_rows
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.types import Query


def test_unsplit_a_document_is_one_passage_and_the_cut_is_told(
    tmp_path: Path, encoder: TokenEncoder
) -> None:
    # The encoder's window holds 77 tokens, two of them marks; the fake's tokens are words.
    texts = {"short": "w " * 75, "long": "w " * 100}
    with KnowledgeBase.create(tmp_path / "x.kb", encoder, split="none") as kb:
        report = kb.add({"id": name, "text": text} for name, text in texts.items())
        assert (report.tokens, report.cut, report.encoded) == (175, 25, 2)
        stats = kb.stats()
        assert (stats.passages, stats.splitting, stats.cut_off) == (2, "none-1", 25 / 175)
        kb.add([{"id": "long", "text": "w " * 100, "metadata": {"a": 1}}])  # it stays, uncounted
        assert kb.stats().cut_off == 25 / 175
        kb.delete("long")
        assert kb.stats().cut_off == 0
    with KnowledgeBase.create(tmp_path / "y.kb", encoder) as kb:
        assert kb.add([{"id": "long", "text": texts["long"]}]).encoded == 2
        assert kb.stats().cut_off == 0


def test_codes_alone_find_what_they_can_tell(tmp_path: Path, encoder: TokenEncoder) -> None:
    documents = [{"id": f"d{n:02}", "text": f"bird {n} sea {n % 5}"} for n in range(40)]
    query = Query("bird 7 sea 2")
    with KnowledgeBase.create(tmp_path / "x.kb", encoder, keep_tokens=False) as kb:
        kb.add(documents)
        kb.delete("d09")
        kb.compact()
        files = sorted(file.name for file in (kb.path / "segments").iterdir())
        assert files == ["000002.codes"]
        (hits,) = kb.search([query], 39)
        rows = encoder.encode_passages([hit.passage for hit in hits]).astype(np.float16)
        seen = index_rows.dequantize(index_rows.quantize(rows))
        pairs = np.einsum("id,njd->nij", encoder.encode_queries([query])[0], seen)
        due = pairs.max(-1).sum(-1)
        # The exact engine holds what it decodes in fp16: 2^-11 of each of K products.
        np.testing.assert_allclose([hit.score for hit in hits], due, atol=encoder.K * 2**-11)
        assert kb.verify() == ()
        size = index_rows.code_dtype(encoder.K, encoder.D).itemsize
        assert kb.stats().token_bytes == 64 + 39 * size


@pytest.mark.parametrize(
    "options", [{"split": "none"}, {"keep_tokens": False}, {"split": "none", "keep_tokens": False}]
)
def test_what_was_chosen_stays(
    tmp_path: Path, encoder: TokenEncoder, options: dict[str, Any]
) -> None:
    KnowledgeBase.create(tmp_path / "x.kb", encoder, **options).close()
    for same in ({}, options):
        with KnowledgeBase.create(tmp_path / "x.kb", encoder, exist_ok=True, **same) as kb:
            assert kb.stats().keep_tokens is options.get("keep_tokens", True)
    other = {"split": "window"} if "split" in options else {"keep_tokens": True}
    with pytest.raises(UsageError, match="which cannot change"):
        KnowledgeBase.create(tmp_path / "x.kb", encoder, exist_ok=True, **other)


def test_an_unknown_splitting(tmp_path: Path, encoder: TokenEncoder) -> None:
    with pytest.raises(UsageError, match=r"'windows'; give window or none\. Did you mean 'window'"):
        KnowledgeBase.create(tmp_path / "x.kb", encoder, split="windows")
    assert not (tmp_path / "x.kb").exists()


def test_retrieval_text_is_searched_and_text_is_read(tmp_path: Path, encoder: TokenEncoder) -> None:
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as kb:
        kb.add(
            [
                {"id": "a", "text": "Macareux moine.", "retrieval_text": "Atlantic puffin."},
                {"id": "b", "text": "Cormorant of the sea."},
                {"id": "c", "text": "", "retrieval_text": "Only searched."},
            ]
        )
        (hits,) = kb.search([Query("Atlantic puffin")], 3)
        assert hits[0].document.id == "a"
        assert hits[0].document.text == "Macareux moine."
        assert hits[0].passage.text == "Atlantic puffin."
        found = kb.get("c")
        assert found is not None and found.retrieval_text == "Only searched."
