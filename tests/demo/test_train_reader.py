"""Going on from a reader: what it knew stays, and a new word begins as the mean of its pieces."""

import torch
from transformers import AutoTokenizer, LlavaForConditionalGeneration

from rag_vqa.demo.bundled import models_dir
from rag_vqa.demo.train_reader import _taken_over


def test_a_new_word_begins_as_the_mean_of_its_pieces() -> None:
    folder = models_dir() / "reader"
    old = AutoTokenizer.from_pretrained(folder)
    pieces = old("zebra", add_special_tokens=False)["input_ids"]
    assert len(pieces) > 1
    new = AutoTokenizer.from_pretrained(folder)
    new.add_tokens(["zebra"])
    before = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    after = _taken_over(folder, new)
    known = before.get_input_embeddings().weight
    weight = after.get_input_embeddings().weight
    assert weight.shape == (len(old) + 1, known.shape[1])
    torch.testing.assert_close(weight[: len(old)], known, rtol=0, atol=0)
    torch.testing.assert_close(weight[-1], known[pieces].mean(dim=0))
    assert after.lm_head.weight is weight  # still tied
