"""Both sides as one module: what is trained, what is frozen, the scale."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from training_ranks import Case, batches, two_sides

from rag_vqa.errors import UsageError
from rag_vqa.retriever.modeling.model import RetrieverModel
from rag_vqa.retriever.training.dual_encoder import DualEncoder

GOLDEN = Path(__file__).parents[2] / "golden"


def test_features_are_the_model_s_own_of_unit_length() -> None:
    module, batch = two_sides(Case()), batches(Case())[0]
    queries, passages, scale = module(batch.query, batch.passage)
    asked = {name: tensor for name, tensor in batch.query.items() if name != "text_mask"}
    raw = module.model.query_model(**asked).ret_features
    torch.testing.assert_close(queries, raw / raw.norm(dim=-1, keepdim=True))
    other = module.model.passage_model(**batch.passage).ret_features
    torch.testing.assert_close(passages, F.normalize(other, dim=-1))
    assert math.isclose(float(scale.detach()), 1.5, rel_tol=1e-6)


def test_what_no_output_depends_on_is_frozen() -> None:
    module = two_sides(Case())
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    unused = {"sa_ln", "post_layernorm", "final_layer_norm"}  # of the cell, of either tower
    assert frozen and all(unused & set(name.split(".")) for name in frozen)
    assert any(p.requires_grad for p in module.model.query_model.vision_model.parameters())
    assert module.training and module.model.query_model.ret_cell.training


def test_frozen_towers_stay_frozen_and_a_frozen_side_too() -> None:
    model = RetrieverModel.from_pretrained(GOLDEN / "a_vit_b_shared_backbones")
    model.passage_model.requires_grad_(False)
    trained = {name for name, p in DualEncoder(model).named_parameters() if p.requires_grad}
    assert trained and all(name.startswith("model.query_model.") for name in trained)
    assert not any("text_model" in name or "vision_model" in name for name in trained)


def test_no_random_number_is_drawn() -> None:
    two_sides(Case(dropout=0.5))
    state = torch.get_rng_state()
    DualEncoder(RetrieverModel.from_pretrained(GOLDEN / "a_vit_b_shared_backbones"))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_learned_scale_stays_within_bounds() -> None:
    module = two_sides(Case(learn_scale=True))
    with torch.no_grad():
        module.log_scale.fill_(9.0)
    assert math.isclose(float(module.scale.detach()), 100.0, rel_tol=1e-5)
    assert not two_sides(Case(learn_scale=False)).log_scale.requires_grad


def test_a_scale_beyond_the_bounds_is_kept_or_refused() -> None:
    model = two_sides(Case()).model
    assert math.isclose(float(DualEncoder(model, scale=1000.0).scale), 1000.0, rel_tol=1e-5)
    with pytest.raises(UsageError, match=r"between 0.01 and 100, but .* starts with 1000"):
        DualEncoder(model, scale=1000.0, learn_scale=True)


def test_a_query_side_without_ids_is_refused() -> None:
    batch = batches(Case())[0]
    query: dict[str, Tensor] = {"pixel_values": batch.query["pixel_values"]}
    with pytest.raises(ValueError, match="marks alone"):
        two_sides(Case())(query, batch.passage)
