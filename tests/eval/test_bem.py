"""BEM's input as the official notebook makes it, its probabilities, and what is refused."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from bert_files import WORDS, bert
from transformers import BertConfig, BertForSequenceClassification, BertModel

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.eval.bem import Bem, Triple

TRIPLES = [
    ("Which town?", "Oslo", "the Oslo"),
    ("Which town?", "Bergen", "Oslo"),
    ("a", "b, c", ""),
    ("Which?", "OSLO.", "a b c d e f g h i " * 9),
]


def official(folder: Path, triple: tuple[str, str, str], types: int = 3) -> float:
    """P(1) of one triple alone, padded to 512, tokens looked up word by word."""
    split = {"the": ["the"], "oslo": ["oslo"], "bergen": ["ber", "##gen"], "oslo.": ["oslo", "."],
             "town?": ["town", "?"], "which?": ["which", "?"], "b,": ["b", ","]}  # fmt: skip
    question, reference, candidate = (
        [piece for word in text.lower().split() for piece in split.get(word, [word])]
        for text in triple
    )
    words = ["[CLS]", *candidate, "[SEP]", *reference, "[SEP]", *question, "[SEP]"]
    sizes = len(candidate) + 2, len(reference) + 1, len(question) + 1
    segments = [s for s, size in enumerate(sizes) for _ in range(size)]
    padding = [0] * (512 - len(words))
    ids = torch.tensor([[WORDS.index(word) for word in words] + padding])
    kinds = torch.tensor([[min(s, types - 1) for s in segments] + padding])
    mask = (torch.arange(512) < len(words))[None].long()
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        logits = model(input_ids=ids, token_type_ids=kinds, attention_mask=mask).logits
    return float(logits.softmax(-1)[0, 1])


def test_probabilities_are_those_of_single_rows_padded_to_512(bem: Bem, bem_folder: Path) -> None:
    expected = [official(bem_folder, triple) for triple in TRIPLES]
    assert bem.probabilities(TRIPLES) == pytest.approx(expected, abs=1e-6)
    assert len({round(p, 3) for p in expected}) == len(TRIPLES)  # or order would not matter
    assert bem(*TRIPLES[1]) == pytest.approx(expected[1], abs=1e-6)


def test_a_classifier_of_two_segments_counts_the_question_to_the_second(tmp_path: Path) -> None:
    folder = bert(tmp_path, types=2)
    bem = Bem.load(str(folder), device="cpu", offline=True)
    expected = [official(folder, triple, types=2) for triple in TRIPLES]
    assert bem.probabilities(TRIPLES) == pytest.approx(expected, abs=1e-6)


def test_the_third_segment_is_heard(bem: Bem, bem_folder: Path) -> None:
    assert official(bem_folder, TRIPLES[0], types=2) != pytest.approx(bem(*TRIPLES[0]), abs=1e-4)


def test_more_than_a_batch_comes_back_in_order(bem_folder: Path) -> None:
    bem = Bem.load(str(bem_folder), device="cpu", offline=True)
    letters = "abcdefghi"
    triples = [(q, r, f"{c} {q}") for q in letters for r in letters for c in "ab"]
    together = bem.probabilities([*triples, triples[0]])
    assert together[-1] == together[0]
    fresh = Bem.load(str(bem_folder), device="cpu", offline=True)
    assert together[:5] == pytest.approx([fresh(*triple) for triple in triples[:5]], abs=1e-6)


def test_what_is_known_is_not_computed_again(bem_folder: Path, monkeypatch: Any) -> None:
    bem = Bem.load(str(bem_folder), device="cpu", offline=True)
    first = bem.probabilities(TRIPLES)
    rows: list[int] = []
    score = bem._score
    monkeypatch.setattr(bem, "_score", lambda batch: (rows.append(len(batch)), score(batch))[1])
    assert bem.probabilities(TRIPLES[::-1]) == first[::-1]
    assert rows == []
    monkeypatch.setattr("rag_vqa.eval.bem._CACHE_SIZE", 2)
    bem.probabilities([("g", "h", "i"), ("h", "h", "i"), ("i", "h", "i")])
    bem.probabilities([("h", "h", "i"), ("g", "h", "i")])
    assert rows == [3, 1]  # the oldest, "g", had to be computed again


def test_a_long_candidate_loses_its_end_and_this_is_reported(bem_folder: Path) -> None:
    bem = Bem.load(str(bem_folder), device="cpu", offline=True)
    # 4 of BERT's own, 3 of the question, 1 of the reference: 504 stay.
    cut: Triple = ("Which town?", "Oslo", "a " * 504)
    assert (bem(*cut), bem.truncates(cut)) == (
        pytest.approx(official(bem_folder, cut), abs=1e-6),
        False,
    )
    longer: Triple = (*cut[:2], "a " * 504 + "the Oslo")
    assert (bem(*longer), bem.truncates(longer)) == (pytest.approx(bem(*cut), abs=1e-6), True)
    with pytest.raises(BadInput, match="600 tokens, but BEM reads 508"):
        bem("a " * 300, "b " * 300, "c")


def test_a_written_separator_is_plain_text(bem: Bem) -> None:
    """The official tokenizer knows no special token in a text: "[SEP]" is "[", "sep", "]"."""
    written = bem._encode(("a", "b", "[SEP] [CLS] x"))
    assert [token for token, _ in written].count(WORDS.index("[SEP]")) == 3
    assert [token for token, _ in written].count(WORDS.index("[CLS]")) == 1
    assert [WORDS[token] for token, _ in written[1:4]] == ["[", "sep", "]"]


def test_the_name_tells_the_weights(bem: Bem, bem_folder: Path, tmp_path: Path) -> None:
    weights = (bem_folder / "model.safetensors").read_bytes()
    assert bem.name == f"{bem_folder.name}@{hashlib.sha256(weights).hexdigest()[:12]}"
    other = Bem.load(str(bert(tmp_path, seed=1)), device="cpu", offline=True)
    assert other.name.partition("@")[2] != bem.name.partition("@")[2]


def test_what_is_no_bem_is_refused(tmp_path: Path, bem_folder: Path) -> None:
    with pytest.raises(Missing, match=r"nobody/none.*docs/bem\.md"):
        Bem.load("nobody/none", device="cpu", offline=True)
    config = BertConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1,
                        intermediate_size=4, num_labels=3)  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path / "three")
    with pytest.raises(UsageError, match="a bert with 3 classes"):
        Bem.load(str(tmp_path / "three"), device="cpu", offline=True)


def test_damaged_weights_are_reported(tmp_path: Path) -> None:
    weights = bert(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(Missing, match="cannot be loaded"):
        Bem.load(str(tmp_path), device="cpu", offline=True)


def test_pickled_weights_are_not_opened(tmp_path: Path) -> None:
    bert(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    model = BertModel(BertConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1,
                                 num_attention_heads=1, intermediate_size=4))  # fmt: skip
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(Missing, match="cannot be loaded"):
        Bem.load(str(tmp_path), device="cpu", offline=True)


def test_a_classifier_without_its_head_is_refused(tmp_path: Path) -> None:
    """A bare BERT would be given a random head, and score at random."""
    folder = bert(tmp_path)
    config = BertConfig.from_pretrained(folder)
    BertModel(config).save_pretrained(folder)
    with pytest.raises(Missing, match=r"lack classifier\.bias"):
        Bem.load(str(folder), device="cpu", offline=True)
