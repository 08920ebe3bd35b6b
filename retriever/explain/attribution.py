"""Attribution: how one item's tokens came from what its towers read, weighed by gradients.

Knows a RetModel, its cell's two cross attentions and the attention of its CLIP towers. It records
them on a twin that shares all weights, so that others may use the model meanwhile. Does not know
words, patches, or what a token is compared with. One item at a time, hence no padding.
K learned queries, D width of a token, H hidden, L tokens that a tower reads (V in vision).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rag_vqa.retriever.modeling.cell import Attention
from rag_vqa.retriever.modeling.model import RetModel


class TracedModality:
    """What one modality of an item gave: a read of the cell each step, and its tower's mixing.

    Attributes:
        probes: (1, K, H) each, a zero added to each step's read: the gradient of anything by it is
            the gradient by what was read. None where the modality is absent.
    """

    def __init__(self, tower: Any, layers: Sequence[int], causal: bool) -> None:
        self._tower, self._layers, self._causal = tower, layers, causal
        self._out: Any = None
        self._reads: list[tuple[Attention, Tensor, Tensor]] = []
        self.probes: list[Tensor] = []

    def tower(self, **inputs: Any) -> Any:
        """Stands for the tower, and keeps its layers."""
        with torch.no_grad():
            self._out = self._tower(**inputs)
        return self._out

    def again(self, **inputs: Any) -> Any:
        """Stands for the tower where its input is the same: what it gave."""
        return self._out

    def reading(self, attention: Attention) -> Callable[..., Tensor]:
        """Stands for the cross attention, and keeps what it is given."""

        def read(query: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
            found: Tensor = attention(query, context, mask)
            self._reads.append((attention, query.detach(), context.detach()))
            self.probes.append(torch.zeros_like(found, requires_grad=True))
            return found + self.probes[-1]

        return read

    @torch.no_grad()
    def weights(self, gradients: Sequence[Tensor]) -> Tensor:
        """(L): how much of the gradients (by each probe) goes back to each token of the tower."""
        steps = zip(self._reads, gradients, self._mixing, strict=True)
        return torch.stack(
            [_read_contributions(*read, grad) @ mixed for read, grad, mixed in steps]
        ).sum(dim=0)

    @cached_property
    @torch.no_grad()
    def _mixing(self) -> list[Tensor]:
        """(L, L) for each step: attention rollout of the tower up to the layer that was read.

        Source: Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020: the mean
        over heads, half of each layer left to the residual.
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
        text, vision: without probes where that modality is absent.
    """

    def __init__(self, side: RetModel, inputs: Mapping[str, Tensor | None]) -> None:
        """`inputs` of one item, keyword arguments of `side`. Gradients must be enabled."""
        text_layers, vision_layers = side.config.layers
        self.text = TracedModality(side.text_model, text_layers, causal=True)
        self.vision = TracedModality(side.vision_model, vision_layers, causal=False)
        cell, twin = copy.copy(side.ret_cell), copy.copy(side)
        # An attribute of its own hides the module of that name, which the original keeps.
        cell.__dict__.update(
            text_xa=self.text.reading(side.ret_cell.text_xa),
            vision_xa=self.vision.reading(side.ret_cell.vision_xa),
        )
        twin.__dict__.update(
            ret_cell=cell, text_model=self.text.tower, vision_model=self.vision.tower
        )
        features = F.normalize(twin(**inputs).ret_features, dim=-1).float()
        self.tokens: Tensor = features.flatten(0, -2)
        self._side, self._inputs = side, inputs

    @torch.no_grad()
    def hiding(self, seen: Tensor) -> Tensor:
        """The item's tokens, were only some of its text read; the picture is not read again.

        Args:
            seen: (M, L), 1 = token that is read, of an item with text.

        Returns: (M, K, D) unit, float32.
        """
        twin = copy.copy(self._side)
        twin.__dict__.update(vision_model=self.vision.again)
        given = {
            name: one
            if one is None or name == "pixel_values"
            else one.expand(len(seen), *one.shape[1:])
            for name, one in self._inputs.items()
        }
        given["attention_mask"] = seen.to(self.tokens.device, torch.int64)
        features = F.normalize(twin(**given).ret_features, dim=-1).float()
        return features.reshape(len(seen), *self.tokens.shape)

    @property
    def probes(self) -> list[Tensor]:
        """Those of text, then those of vision."""
        return [*self.text.probes, *self.vision.probes]

    def weights(self, gradients: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """(L), (V) of the gradients by `probes`; empty where a modality is absent."""
        split = len(self.text.probes)
        parts = (self.text, gradients[:split]), (self.vision, gradients[split:])
        text, vision = (
            modality.weights(given).cpu() if modality.probes else torch.empty(0)
            for modality, given in parts
        )
        return text, vision


def _read_contributions(
    attention: Attention, query: Tensor, context: Tensor, gradient: Tensor
) -> Tensor:
    """(L): Σ_k Σ_h a_hkl |⟨W_h v_hl, gradient_k⟩|, how much each token adds to a read.

    A read is linear in its values once its attention a is given: it is Σ_l Σ_h a_hkl W_h v_hl.
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
