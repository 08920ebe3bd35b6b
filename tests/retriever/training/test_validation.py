"""Ranks of held-out pairs against scores worked out one by one."""

from pathlib import Path

import pytest
import torch
from tiny_training import checkpoint, pairs

from rag_vqa.errors import BadInput
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.retriever.scoring import late_interaction
from rag_vqa.retriever.training.source_mixture import open_source
from rag_vqa.retriever.training.training_pairs import Item, Pair
from rag_vqa.retriever.training.training_settings import SourceSettings
from rag_vqa.retriever.training.validation import ValidationSet
from rag_vqa.types import Passage, Query


def test_ranks(tmp_path: Path) -> None:
    encoder = Encoder.load(checkpoint(tmp_path / "start"), device="cpu")
    texts = {"a": "red blue", "b": "money", "c": "coast people", "d": "white river", "e": "river"}
    items = {name: Item(text, id=name) for name, text in texts.items()}
    asked = [Pair(Item("red"), items["a"], ("a",), name="1"),
             Pair(Item("money"), items["b"], ("b", "c"), (items["c"],), name="2")]  # fmt: skip
    model = encoder.model.train()
    held_out = ValidationSet(asked, model, encoder.processor, [items["d"], items["e"]])
    ranks = held_out.ranks().tolist()
    assert model.training and model.query_model.ret_cell.training

    encoder.model.eval()
    passages = torch.from_numpy(
        encoder.encode_passages([Passage(n, 0, texts[n], None) for n in "abcde"])
    )
    queries = torch.from_numpy(encoder.encode_queries([Query("red"), Query("money")]))
    one, two = late_interaction(queries, passages).tolist()
    assert ranks[0] == 1 + sum(one[i] >= one[0] for i in (1, 2, 3, 4))
    assert ranks[1] == 1 + sum(two[i] >= max(two[1], two[2]) for i in (0, 3, 4))
    share = held_out.recall()["recall@1"]
    assert share == sum(rank == 1 for rank in ranks) / 2


def test_pictures_are_tried_before_anything_is_measured(tmp_path: Path) -> None:
    encoder = Encoder.load(checkpoint(tmp_path / "start"), device="cpu")
    file = pairs(tmp_path)
    (tmp_path / "9.png").write_bytes(b"none")
    told = SourceSettings(format="pairs", questions=file)
    with pytest.raises(BadInput, match=r"pairs\.jsonl:.*9\.png"):
        ValidationSet.from_source(open_source(told), 24, encoder.model, encoder.processor)
    notes: list[str] = []
    skips = open_source(told.model_copy(update={"on_bad": "skip"}))
    held_out = ValidationSet.from_source(skips, 24, encoder.model, encoder.processor, notes.append)
    assert len(held_out.pairs) == 23 and len(notes) == 1 and "9.png" in notes[0]
    assert len(held_out.ranks()) == 23
