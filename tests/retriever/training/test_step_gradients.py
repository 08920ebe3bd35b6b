"""Gradient caching: the random state of each chunk again, and what a chunk is."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from training_ranks import Case, batches, gradients_of, step, two_sides

from rag_vqa.errors import UsageError
from rag_vqa.retriever.training.objective import contrastive_objective
from rag_vqa.retriever.training.step_gradients import compute_gradients, split_inputs
from rag_vqa.retriever.training.training_pairs import Batch

DROPS = Case(pairs=(6,), negatives=(2,), pictures=(True,), dropout=0.4, chunks=3)


def test_dropout_is_the_same_in_both_forwards() -> None:
    # The expectation holds the graphs of all chunks, one forward each, and knows no cache.
    module, batch = two_sides(DROPS), batches(DROPS)[0]
    torch.manual_seed(13)
    parts = [
        module(*(split_inputs(side, i, 3) for side in (batch.query, batch.passage)))
        for i in range(3)
    ]
    after = torch.rand(3)
    queries, passages = (torch.cat([x[side] for x in parts]) for side in (0, 1))
    contrastive_objective(queries, passages, parts[0][2], batch.passage_ids, batch.positives)[
        0
    ].backward()

    cached = step(twin := two_sides(DROPS), batch, DROPS)
    assert torch.equal(torch.rand(3), after)  # and goes on as if it had been one forward
    for name, right in gradients_of(module).items():
        torch.testing.assert_close(cached[name], right, rtol=1e-4, atol=1e-6)
    other = step(twin, batch, replace(DROPS, chunks=2))
    name = "model.query_model.late_proj.weight"
    assert not torch.allclose(other[name] - cached[name], cached[name], rtol=1e-2)


def test_autocast_keeps_the_gradients_of_weights() -> None:
    whole = replace(DROPS, dropout=0.0, chunks=1)
    batch, found = batches(whole)[0], []
    for chunks in (1, 3):
        module = two_sides(whole)
        with torch.autocast("cpu", torch.bfloat16):
            found.append(step(module, batch, replace(whole, chunks=chunks)))
    for name in ("ret_cell.sa.out_proj.weight", "text_model.encoder.layers.0.mlp.fc1.weight"):
        once, thrice = (grads[f"model.query_model.{name}"] for grads in found)
        assert float((once - thrice).norm() / once.norm()) < 0.05


def test_a_part_holds_its_own_pictures_alone() -> None:
    side = {
        "input_ids": torch.arange(8).view(4, 2),
        "image_mask": torch.tensor([1.0, 0.0, 1.0, 1.0]),
        "image_index": torch.tensor([1, 0, 2, 1]),
        "pixel_values": torch.arange(3.0).view(3, 1, 1, 1),
    }
    first, second = split_inputs(side, 0, 2), split_inputs(side, 1, 2)
    assert first["input_ids"].tolist() == [[0, 1], [2, 3]]
    assert first["pixel_values"].flatten().tolist() == [1.0]  # the absent one's place is any
    assert first["image_index"].tolist() == [0, 0]
    assert second["pixel_values"][second["image_index"]].flatten().tolist() == [2.0, 1.0]
    whole = {"pixel_values": torch.arange(3.0).view(3, 1, 1, 1)}  # a picture each: no index
    assert split_inputs(whole, 1, 2)["pixel_values"].flatten().tolist() == [2.0]


def test_more_chunks_than_pairs_are_refused() -> None:
    batch: Batch = batches(DROPS)[0]
    with pytest.raises(UsageError, match="from 1 to 6"):
        compute_gradients(two_sides(DROPS), batch, chunks=7, backward=Tensor.backward)
