"""Stage one of both demo models: a vision tower that matches photos with clean flags.

Knows a CLIP vision tower and contrastive learning on its pooled output. The towers are trained
from nothing on invented flags; ReT and the reader then keep them frozen.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModel

from rag_vqa.demo.pictures import clean, flags, photo, pixels
from rag_vqa.retriever.training.loop import Plan, fit

BATCH = 96


def vision(size: int, patch: int) -> CLIPVisionConfig:
    """The tower of both demo models, for pictures of `size` pixels in patches of `patch`."""
    return CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=size,
        patch_size=patch,
        hidden_act="gelu",
        projection_dim=128,
    )


class Matcher(nn.Module):
    """A tower, a projection, and a learned temperature: (B, 3, S, S) → (B, 128) unit rows."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.tower = CLIPVisionModel(config)
        self.projection = nn.Linear(config.hidden_size, 128, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(2.3))

    def forward(self, pictures: Tensor) -> Tensor:
        """Unit rows (B, 128)."""
        pooled = self.tower(pixel_values=pictures).pooler_output
        return F.normalize(self.projection(pooled), dim=-1)


def train_tower(config: CLIPVisionConfig, steps: int, folder: Path, seed: int) -> CLIPVisionModel:
    """Train (or go on with) a tower; half of each batch are mutations of the other half."""
    torch.manual_seed(seed)
    matcher, size = Matcher(config), config.image_size

    def loss_of(step: int) -> tuple[Tensor, Mapping[str, float]]:
        rng = np.random.default_rng([seed, step])
        specs = flags(rng, BATCH)
        photos = pixels([photo(spec, rng) for spec in specs], size)
        drawings = pixels([clean(spec, rng) for spec in specs], size)
        rows = matcher(torch.cat((photos, drawings)))
        scores = rows[:BATCH] @ rows[BATCH:].T * matcher.log_scale.clamp(max=4.0).exp()
        truth = torch.arange(BATCH)
        loss = (F.cross_entropy(scores, truth) + F.cross_entropy(scores.T, truth)) / 2
        right = (scores.argmax(dim=1) == truth).float().mean()
        return loss, {"recall@1": float(right)}

    fit(matcher, loss_of, Plan(steps=steps, warmup=30, seed=seed), folder, "tower")
    return matcher.tower
