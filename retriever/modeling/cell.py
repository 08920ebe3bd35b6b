"""ReT's recurrent fusion cell, one step (Caffagni et al., CVPR 2025, section 3).

Knows how a state takes in one layer of text and one layer of image features through gates.
Does not know towers, tokenizers or how many steps there are. Dimensions: B batch, K learned
queries, H hidden, L text length, V vision tokens. Attribute names are those of the checkpoints.

With `gates` off a step is h = a(r) + a(t) + a(v). With `fusion` on one modality the other's term
and all its parameters are absent.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rag_vqa.retriever.modeling.configuration import RetConfig


class Attention(nn.Module):
    """Multi-head attention with torch's parameter names, always computed by fused kernels."""

    def __init__(self, width: int, heads: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.heads, self.dropout = heads, float(dropout)
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width)) if bias else None
        self.out_proj = nn.Linear(width, width, bias=bias)
        nn.init.xavier_uniform_(self.in_proj_weight)
        if bias:
            nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """query (B, K, H), context (B, L, H), additive mask (B, 1, 1, L) → (B, K, H)."""
        width = query.shape[-1]
        weight_q, weight_kv = torch.split(self.in_proj_weight, [width, 2 * width])
        bias_q, bias_kv = (
            (None, None)
            if self.in_proj_bias is None
            else torch.split(self.in_proj_bias, [width, 2 * width])
        )
        q = self._split_heads(F.linear(query, weight_q, bias_q))
        k, v = (
            self._split_heads(x) for x in F.linear(context, weight_kv, bias_kv).chunk(2, dim=-1)
        )
        dropout = self.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        mixed: Tensor = self.out_proj(out.transpose(1, 2).flatten(2))  # (B, K, H)
        return mixed

    def _split_heads(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        heads = x.view(batch, length, self.heads, width // self.heads)
        return heads.transpose(1, 2)  # (B, heads, ·, H / heads)


class RetCell(nn.Module):
    """S_{i+1} = Cell(S_i, T_i, V_i): gated fusion of the state with one layer of each modality."""

    query_state_ids: Tensor
    input_gate_bias_prior: Tensor
    forget_gate_bias_prior: Tensor
    text_xa: Attention
    vision_xa: Attention
    text_ln: nn.LayerNorm
    vision_ln: nn.LayerNorm

    def __init__(self, config: RetConfig) -> None:
        super().__init__()
        width, heads, dropout = (
            config.hidden_size,
            config.hidden_size // 64,
            config.attention_dropout,
        )
        self.gates = config.gates
        reads = {"text": config.reads_text, "vision": config.reads_images}
        modalities = [modality for modality, is_read in reads.items() if is_read]
        self.squash = torch.tanh if config.use_tanh else nn.Identity()
        self.query_hidden_states = nn.Parameter(torch.randn(1, config.num_queries, width) * 0.2)
        # Persistent: the checkpoint's values replace the formula and the configuration.
        self.register_buffer("query_state_ids", sinusoidal_positions(config.num_queries, width))
        for gate in ("input", "forget") if self.gates else ():
            prior = float(getattr(config, f"{gate}_gate_bias_prior"))
            self.register_buffer(f"{gate}_gate_bias_prior", torch.tensor(prior))
        self.sa = Attention(width, heads, dropout, bias=True)
        for modality in modalities:
            self.add_module(f"{modality}_xa", Attention(width, heads, dropout, bias=False))
        self.mlp = nn.Sequential(  # the release applies dropout before the activation
            nn.Linear(width, 4 * width),
            nn.Dropout(config.dropout_p),
            nn.GELU() if config.activation_fn == "gelu" else nn.ReLU(),
            nn.Linear(4 * width, width),
            nn.Dropout(config.dropout_p),
        )
        for modality in modalities if self.gates else ():
            for gate in ("input", "forget"):
                self.add_module(f"{modality}_{gate}_gate_w", nn.Linear(width, width))
        self.xa_ln = nn.LayerNorm(width)
        for modality in modalities:
            self.add_module(f"{modality}_ln", nn.LayerNorm(width))
        self.sa_ln = nn.LayerNorm(width)  # in every checkpoint, used in none
        self.mlp_ln = nn.LayerNorm(width)

    def initial_state(self, batch: int) -> Tensor:
        """(B, K, H): the learned queries, before the first step."""
        return self.query_hidden_states.expand(batch, -1, -1)

    def forward(
        self,
        state: Tensor,
        text: Tensor | None,
        vision: Tensor | None,
        attention_mask: Tensor | None = None,
        text_mask: Tensor | None = None,
        image_mask: Tensor | None = None,
    ) -> Tensor:
        """One step.

        Args:
            state: (B, K, H).
            text: (B, L, H) adapted layer; None = no item has text, its attention is not computed.
            vision: (B, V, H) adapted layer; None = no item has an image, likewise.
            attention_mask: (B, L), 1 = token.
            text_mask, image_mask: (B), 1 = present; None = all present.

        Returns: (B, K, H).
        """
        query = state + self.query_state_ids  # positions are added at every step
        normed = self.xa_ln(query)
        mixed = query + self.sa(normed, normed)
        zero = torch.zeros((), dtype=query.dtype, device=query.device)
        fused, forget = zero, self.forget_gate_bias_prior if self.gates else zero
        if text is not None:
            mask = None if attention_mask is None else additive_mask(attention_mask, text.dtype)
            read = self.text_xa(normed, self.text_ln(text), mask)  # (B, K, H)
            entering, logit = self._apply_gates("text", read, _as_column(text_mask))
            fused, forget = fused + entering, forget + logit
        if vision is not None:
            read = self.vision_xa(normed, self.vision_ln(vision))  # (B, K, H)
            entering, logit = self._apply_gates("vision", read, _as_column(image_mask))
            fused, forget = fused + entering, forget + logit
        previous = self.squash(mixed)
        hidden = previous * torch.sigmoid(forget) + fused if self.gates else previous + fused
        out: Tensor = hidden + self.mlp(self.mlp_ln(hidden))
        return out

    def _apply_gates(
        self, modality: str, read: Tensor, present: Tensor | float
    ) -> tuple[Tensor, Tensor | float]:
        """The part of `read` (B, K, H) that enters the state, and its part of the forget logit."""
        if not self.gates:
            return self.squash(read) * present, 0.0
        logit = getattr(self, f"{modality}_input_gate_w")(read) + self.input_gate_bias_prior
        forget = getattr(self, f"{modality}_forget_gate_w")(read)
        return self.squash(read) * (torch.sigmoid(logit) * present), forget * present


def additive_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, L) of 1 = token → (B, 1, 1, L) of 0 = token, lowest finite number = padding."""
    hidden = (1 - mask.to(dtype)) * torch.finfo(dtype).min
    return hidden[:, None, None, :]


def sinusoidal_positions(rows: int, width: int) -> Tensor:
    """Sinusoidal table (1, rows, width): sin/cos(p · 10000^(-2k/width)) at dims 2k/2k+1."""
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angle = torch.arange(rows)[:, None] * rate  # (rows, width / 2)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[None]


def _as_column(mask: Tensor | None) -> Tensor | float:
    return 1.0 if mask is None else mask[:, None, None]
