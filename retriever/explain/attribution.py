"""Attribution: how one item's tokens came from what its towers read, weighed by gradients.

Knows a RetModel, its cell's two cross attentions and the attention of its CLIP towers. It records
them on a twin that shares all weights, so that others may use the model meanwhile. Does not know
words, patches, or what a token is compared with. One item at a time, hence no padding.
K learned queries, D width of a token, H hidden, L tokens that a tower reads (V in vision).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rag_vqa.retriever.modeling.cell import Attention
from rag_vqa.retriever.modeling.model import RetModel
from rag_vqa.retriever.modeling.processor import RetInputs


class TracedModality:
    """Records one modality of an item: the cell's read at each step, and its tower's layers.

    Attributes:
        probes: (1, K, H) each, a zero added to each step's read: a gradient by it is the gradient
            by what was read. There are none if the modality is absent.
    """

    def __init__(self, tower: Any, layers: Sequence[int], causal: bool) -> None:
        self._tower, self._layers, self._causal = tower, layers, causal
        self._out: Any = None
        self._reads: list[tuple[Attention, Tensor, Tensor]] = []
        self.probes: list[Tensor] = []

    def run_tower(self, **inputs: Any) -> Any:
        """Stands in for the tower, and records its layers."""
        with torch.no_grad():
            self._out = self._tower(**inputs)
        return self._out

    def replay_tower(self, **inputs: Any) -> Any:
        """Stands in for the tower if its input is the same: returns the recorded output."""
        return self._out

    def record_reads(self, attention: Attention) -> Callable[..., Tensor]:
        """Stands in for the cross attention, and records its inputs."""

        def attend(query: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
            read: Tensor = attention(query, context, mask)
            self._reads.append((attention, query.detach(), context.detach()))
            self.probes.append(torch.zeros_like(read, requires_grad=True))
            return read + self.probes[-1]

        return attend

    @torch.no_grad()
    def weights(self, gradients: Sequence[Tensor]) -> Tensor:
        """(L): how much of the gradients (by each probe) goes back to each token of the tower."""
        steps = zip(self._reads, gradients, self._rollout, strict=True)
        return torch.stack(
            [_read_contributions(*read, grad) @ mixed for read, grad, mixed in steps]
        ).sum(dim=0)

    @cached_property
    @torch.no_grad()
    def _rollout(self) -> list[Tensor]:
        """(L, L) for each step: attention rollout of the tower up to the layer that was read.

        Source: Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020: the mean
        over heads, with half of each layer for the residual.
        """
        states = self._out.hidden_states
        mixed = torch.eye(states[0].shape[1], device=states[0].device)
        after = []
        for layer, hidden in zip(self._tower.encoder.layers, states[:-1], strict=True):
            mixed = (_tower_attention(layer, hidden, self._causal) @ mixed + mixed) / 2
            after.append(mixed)
        return [after[i] for i in self._layers]


class Trace:
    """One item encoded, with the graph that leads from its tokens to what the cell read.

    Attributes:
        tokens: (K, D) unit, float32; (1, D) of a model that pools.
        text, vision: without probes if that modality is absent.
        patch_size: pixels that a patch is wide and high.
        image_size: (width, height) in pixels of what the vision tower reads; None without a
            picture.
    """

    def __init__(self, side: RetModel, inputs: RetInputs) -> None:
        """`inputs` of one item. Gradients must be enabled."""
        text_layers, vision_layers = side.config.layers
        self.text = TracedModality(side.text_model, text_layers, causal=True)
        self.vision = TracedModality(side.vision_model, vision_layers, causal=False)
        self.patch_size: int = side.vision_model.config.patch_size
        pixels = inputs.pixel_values
        self.image_size = None if pixels is None else (pixels.shape[-1], pixels.shape[-2])
        cell, twin = copy.copy(side.ret_cell), copy.copy(side)
        # An attribute of its own hides the module of that name, which the original keeps.
        cell.__dict__.update(
            text_xa=self.text.record_reads(side.ret_cell.text_xa),
            vision_xa=self.vision.record_reads(side.ret_cell.vision_xa),
        )
        twin.__dict__.update(
            ret_cell=cell, text_model=self.text.run_tower, vision_model=self.vision.run_tower
        )
        self._side, self._inputs = side, inputs.to_device(side.device, side.dtype)
        features = F.normalize(twin(**self._inputs).ret_features, dim=-1).float()
        self.tokens: Tensor = features.flatten(0, -2)

    @property
    def has_text(self) -> bool:
        """Whether the item has text that was read."""
        return bool(self.text.probes)

    @torch.no_grad()
    def encode_masked(self, visible: Tensor) -> Tensor:
        """The item's tokens if only some of its text were read. Does not read the picture again.

        Args:
            visible: (M, L), 1 = token that is read, of an item with text.

        Returns: (M, K, D) unit, float32.
        """
        twin = copy.copy(self._side)
        twin.__dict__.update(vision_model=self.vision.replay_tower)
        inputs = {
            name: value
            if value is None or name == "pixel_values"
            else value.expand(len(visible), *value.shape[1:])
            for name, value in self._inputs.items()
        }
        inputs["attention_mask"] = visible.to(self.tokens.device, torch.int64)
        features = F.normalize(twin(**inputs).ret_features, dim=-1).float()
        return features.reshape(len(visible), *self.tokens.shape)

    @property
    def probes(self) -> list[Tensor]:
        """Those of text, then those of vision."""
        return [*self.text.probes, *self.vision.probes]

    def weights(self, gradients: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """(L), (V) of the gradients by `probes`; empty where a modality is absent."""
        split = len(self.text.probes)
        parts = (self.text, gradients[:split]), (self.vision, gradients[split:])
        text, vision = (
            modality.weights(part).cpu() if modality.probes else torch.empty(0)
            for modality, part in parts
        )
        return text, vision


def _read_contributions(
    attention: Attention, query: Tensor, context: Tensor, gradient: Tensor
) -> Tensor:
    """(L): Σ_k Σ_h a_hkl |⟨W_h v_hl, gradient_k⟩|, how much each token adds to a read.

    For a fixed attention a, a read is linear in its values: it is Σ_l Σ_h a_hkl W_h v_hl.
    """
    weights = attention.in_proj_weight.chunk(3)
    biases = [None] * 3 if attention.in_proj_bias is None else list(attention.in_proj_bias.chunk(3))
    q, k, v, back = (
        _split_heads(x, attention.heads)
        for x in (
            *(
                F.linear(x, w, b)
                for x, w, b in zip((query, context, context), weights, biases, strict=True)
            ),
            gradient @ attention.out_proj.weight,
        )
    )  # (heads, ·, H / heads)
    share = _attention_weights(q, k)
    return (share * (back @ v.transpose(1, 2)).float().abs()).sum(dim=(0, 1))


def _tower_attention(layer: Any, hidden: Tensor, causal: bool) -> Tensor:
    """(L, L): attention weights of a CLIP layer, the mean over its heads."""
    attention, normed = layer.self_attn, layer.layer_norm1(hidden)
    q, k = (
        _split_heads(project(normed), attention.num_heads)
        for project in (attention.q_proj, attention.k_proj)
    )
    return _attention_weights(q, k, causal).mean(dim=0)


def _attention_weights(q: Tensor, k: Tensor, causal: bool = False) -> Tensor:
    """(heads, ·, L): attention weights, in float32."""
    scores = (q @ k.transpose(1, 2)).float() / q.shape[-1] ** 0.5
    if causal:
        ahead = torch.ones_like(scores[0], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(ahead, -torch.inf)
    share: Tensor = scores.softmax(dim=-1)
    return share


def _split_heads(x: Tensor, heads: int) -> Tensor:
    """(1, ·, H) → (heads, ·, H / heads)."""
    return x[0].view(x.shape[1], heads, -1).transpose(0, 1)
