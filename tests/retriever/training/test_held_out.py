"""Ranks of held-out pairs against scores worked out one by one."""

from pathlib import Path

import torch
from tiny_training import checkpoint

from rag_vqa.retriever.encoder import Encoder
from rag_vqa.retriever.scoring import late_interaction
from rag_vqa.retriever.training.batch import Item, Pair
from rag_vqa.retriever.training.held_out import HeldOut
from rag_vqa.types import Passage, Query


def test_ranks(tmp_path: Path) -> None:
    encoder = Encoder.load(checkpoint(tmp_path / "start"), device="cpu")
    texts = {"a": "red blue", "b": "money", "c": "coast people", "d": "white river", "e": "river"}
    items = {name: Item(text, id=name) for name, text in texts.items()}
    asked = [Pair(Item("red"), items["a"], ("a",), name="1"),
             Pair(Item("money"), items["b"], ("b", "c"), (items["c"],), name="2")]  # fmt: skip
    model = encoder.model.train()
    held_out = HeldOut(asked, model, encoder.processor, [items["d"], items["e"]])
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
