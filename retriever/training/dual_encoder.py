"""Dual encoder: query side, passage side and score scale as one module for training.

Knows which parameters a step can reach. Does not know losses, optimizers or processes.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rag_vqa.errors import UsageError
from rag_vqa.retriever.modeling.model import RetModel, RetrieverModel

SCALE_BOUNDS = 0.01, 100.0  # of a learned scale


class DualEncoder(nn.Module):
    """Query and passage side → unit features, in one forward, as DDP needs it.

    Parameters that no output depends on are frozen: the release's unused layer norm, towers whose
    configuration says so, and a trained tower's layers above the last that the cell reads.

    Attributes:
        model: the retriever; parameters frozen before stay frozen.
        log_scale: (), trained if the scale is learned.

    Raises UsageError: a learned scale starts outside of its bounds.
    """

    def __init__(
        self, model: RetrieverModel, *, scale: float = 1.0, learn_scale: bool = False
    ) -> None:
        super().__init__()
        least, most = SCALE_BOUNDS
        if learn_scale and not least <= scale <= most:
            raise UsageError(
                f"a learned scale stays between {least:g} and {most:g}, but this one starts with "
                f"{scale:g}: set loss.scale."
            )
        self.model = model
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)), requires_grad=learn_scale)
        freeze_unused(model)

    def forward(
        self, query: Mapping[str, Tensor], passage: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features of both sides, float32 and of unit length, and the scale ().

        Args:
            query, passage: inputs of `RetModel.forward`, (B, …) and (N, …).

        Returns: (B, K, D) and (N, K, D), or (B, D) and (N, D) if the model pools; and ().

        As in the release, the query side gets no text_mask: a query without text reads the
        tokenizer's marks, in every batch.
        """
        if query.get("input_ids") is None:
            raise ValueError("the query side needs input_ids: the marks alone for an absent text")
        inputs = {name: tensor for name, tensor in query.items() if name != "text_mask"}
        queries = _unit_features(self.model.get_query_model(), inputs)
        passages = _unit_features(self.model.get_passage_model(), passage)
        trained = [p for p in self.parameters() if p.requires_grad]
        queries = _KeepInGraph.apply(queries, *trained)  # type: ignore[no-untyped-call]
        return queries, passages, self.scale

    @property
    def scale(self) -> Tensor:
        """(): multiplies the scores."""
        if not self.log_scale.requires_grad:
            return self.log_scale.exp()
        least, most = (math.log(bound) for bound in SCALE_BOUNDS)
        return self.log_scale.clamp(least, most).exp()


class _KeepInGraph(torch.autograd.Function):
    """The unchanged features, made to depend on all parameters, without a gradient for them.

    DDP waits for every parameter in every step. Parameters of a modality that no item of this rank
    has would never arrive. So they arrive without a gradient, which DDP counts as zeros.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, *parameters: Tensor) -> Tensor:
        ctx.count = len(parameters)
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad, *[None] * ctx.count


def _unit_features(side: RetModel, inputs: Mapping[str, Tensor]) -> Tensor:
    return F.normalize(side(**inputs).ret_features.float(), dim=-1)


def freeze_unused(model: RetrieverModel) -> None:
    """Freeze all parameters that no feature depends on, even of an item with text and picture."""
    training = model.training
    model.eval()  # no dropout: no random number is drawn
    nodes: list[Any] = []
    for side in (model.get_query_model(), model.get_passage_model()):
        size = side.config.vision_config.image_size
        features = side(
            input_ids=torch.zeros(1, 2, dtype=torch.long, device=model.device),
            pixel_values=torch.zeros(1, 3, size, size, device=model.device),
        ).ret_features
        nodes.append(features.grad_fn)
    model.train(training)
    used = _reachable_parameters(nodes)
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.requires_grad and parameter in used)


def _reachable_parameters(nodes: list[Any]) -> set[Tensor]:
    """The parameters at the leaves of these nodes' graphs."""
    seen, found = {None}, set()
    while nodes:
        node = nodes.pop()
        if node not in seen:
            seen.add(node)
            nodes += [following for following, _ in node.next_functions]
            if hasattr(node, "variable"):
                found.add(node.variable)
    return found
