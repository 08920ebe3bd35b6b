"""Teaching an attention head of a Llama where to look.

Copying, and comparing pictures, appear suddenly in a language model, and late in a small one. We
know each copied token's source and each picture's likeness, so a head's attention is trained on
them directly (supervised attention, Liu et al., 2016). It costs one product of queries and keys,
and nothing once the model is trained.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb


class Pointer:
    """Watches one attention layer; `loss` speaks of the forward pass just made."""

    def __init__(self, attention: nn.Module, head: int) -> None:
        self.attention: Any = attention
        self.head = head
        self._seen: dict[str, Any] = {}
        attention.register_forward_pre_hook(self._remember, with_kwargs=True)

    def _remember(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self._seen = kwargs

    def loss(self, target: Tensor, mask: Tensor) -> Tensor:
        """Mean cross entropy of the head's attention against the right places.

        Args:
            target: (B, L), the place that each place should attend to; -1 for any.
            mask: (B, 1, L, L), additive, as the model got it.
        """
        hidden, (cos, sin) = self._seen["hidden_states"], self._seen["position_embeddings"]
        width = self.attention.head_dim
        q, k = (
            projection(hidden)
            .unflatten(-1, (-1, width))
            .transpose(1, 2)[:, self.head : self.head + 1]
            for projection in (self.attention.q_proj, self.attention.k_proj)
        )
        q, k = apply_rotary_pos_emb(q, k, cos, sin)  # (B, 1, L, width)
        rows, places = (target >= 0).nonzero(as_tuple=True)
        if not len(rows):
            return torch.zeros(())
        scores = torch.einsum("nd,nld->nl", q[rows, 0, places], k[rows, 0]) * width**-0.5
        scores = scores + mask[rows, 0, places]
        loss: Tensor = nn.functional.cross_entropy(scores, target[rows, places])
        return loss
