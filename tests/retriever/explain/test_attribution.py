"""The trace of one item: the model's own tokens, and attention as transformers gives it."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from rag_vqa.retriever.explain.attribution import Trace, _read_contributions, _tower_attention
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.types import Passage

RED = Image.new("RGB", (20, 30), (200, 30, 30))


@pytest.fixture(scope="module")
def encoder(checkpoint: Path) -> Encoder:
    return Encoder.load(checkpoint, device="cpu")


def traced(encoder: Encoder) -> Trace:
    side = encoder.model.get_passage_model()
    return Trace(side, encoder.processor(["a red bird"], [RED]))


def test_the_tokens_are_those_of_the_model_which_stays_as_it_is(encoder) -> None:
    side = encoder.model.get_passage_model()
    before = (side.text_model, side.vision_model, side.ret_cell, side.ret_cell.text_xa)
    passage = Passage("1", 0, "a red bird", RED)
    tokens = encoder.encode_passages([passage])[0]
    np.testing.assert_allclose(traced(encoder).tokens.detach(), tokens, atol=1e-6)
    after = (side.text_model, side.vision_model, side.ret_cell, side.ret_cell.text_xa)
    assert all(one is other for one, other in zip(before, after, strict=True))
    np.testing.assert_array_equal(encoder.encode_passages([passage])[0], tokens)


def test_a_probe_moves_what_was_read(encoder) -> None:
    """The gradient by a probe, against a step of the read itself."""
    trace = traced(encoder)
    assert [tuple(probe.shape) for probe in trace.probes] == [(1, 4, 64)] * 4
    gradient = torch.autograd.grad(trace.tokens[0, 0], trace.text.probes[0])[0]
    side = encoder.model.get_passage_model()
    xa, calls = side.ret_cell.text_xa, []

    def moved(module, given, found):
        calls.append(found)
        return found + step if len(calls) == 1 else found

    values = []
    for size in (1e-2, -1e-2):
        step, calls[:] = size * gradient / gradient.norm(), []
        handle = xa.register_forward_hook(moved)
        inputs = encoder.processor(["a red bird"], [RED]).to_device(side.device, side.dtype)
        with torch.no_grad():
            values.append(F.normalize(side(**inputs).ret_features, dim=-1)[0, 0, 0])
        handle.remove()
    assert float(values[0] - values[1]) / 2e-2 == pytest.approx(float(gradient.norm()), rel=0.02)


@pytest.mark.parametrize("causal", [True, False])
def test_attention_of_a_tower_is_what_transformers_gives(encoder, causal) -> None:
    side = encoder.model.get_passage_model()
    inputs = encoder.processor(["a red bird"], [RED])
    tower = side.text_model if causal else side.vision_model
    given = {"input_ids": inputs.input_ids} if causal else {"pixel_values": inputs.pixel_values}
    before = tower.config._attn_implementation
    tower.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            out = tower(**given, output_attentions=True, output_hidden_states=True)
    finally:
        tower.set_attn_implementation(before)
    for layer, hidden, expected in zip(
        tower.encoder.layers, out.hidden_states[:-1], out.attentions, strict=True
    ):
        torch.testing.assert_close(
            _tower_attention(layer, hidden, causal), expected[0].mean(dim=0), atol=1e-5, rtol=1e-5
        )


def test_what_positions_add_makes_up_the_read(encoder) -> None:
    """Where one position is all there is, it adds ⟨read, gradient⟩: of one head, exactly that."""
    attention = encoder.model.get_passage_model().ret_cell.text_xa
    assert attention.heads == 1
    query, context, gradient = torch.randn(3, 1, 1, 64, generator=torch.manual_seed(0))
    with torch.no_grad():
        expected = (attention(query, context) * gradient).sum().abs()
        torch.testing.assert_close(
            _read_contributions(attention, query, context, gradient)[0], expected
        )


def test_rollout_gives_back_all_that_it_is_given(encoder) -> None:
    for mixed in (*traced(encoder).text._rollout, *traced(encoder).vision._rollout):
        torch.testing.assert_close(mixed.sum(dim=1), torch.ones(len(mixed)))


def test_what_is_hidden_is_not_attended_to_and_the_picture_is_read_once(encoder) -> None:
    trace, side = traced(encoder), encoder.model.get_passage_model()
    inputs = encoder.processor(["a red bird"], [RED]).to_device(side.device, side.dtype)
    seen = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 0, 1]], dtype=torch.bool)
    hook = side.vision_model.register_forward_pre_hook(lambda *_: pytest.fail("read again"))
    found = trace.encode_masked(seen)
    hook.remove()
    torch.testing.assert_close(found[0], trace.tokens.detach(), atol=1e-5, rtol=0)
    with torch.no_grad():
        alone = side(**{**inputs, "attention_mask": seen[1:].long()}).ret_features[0]
    torch.testing.assert_close(found[1], F.normalize(alone, dim=-1), atol=1e-5, rtol=0)
    assert (found[1] - found[0]).abs().max() > 1e-3


def test_weights_are_computed_where_the_model_is(encoder) -> None:
    """On "meta", which computes shapes alone, and mixes with the CPU no more than a GPU does."""
    text = traced(encoder).text
    gradients = [probe.to("meta") for probe in text.probes]
    text._rollout = [mixed.to("meta") for mixed in text._rollout]
    text._reads = [
        (copy.deepcopy(attention).to("meta"), query.to("meta"), context.to("meta"))
        for attention, query, context in text._reads
    ]
    weights = text.weights(gradients)
    assert weights.device.type == "meta" and tuple(weights.shape) == (5,)  # 3 words, 2 marks
