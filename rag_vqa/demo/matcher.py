"""Stage one of both demo models: a vision tower that matches photos with clean flags.

Knows a CLIP vision tower and contrastive learning on its pooled output. The tower is trained from
nothing on invented flags, and on photos that show none, which must match "nothing" (a learned
row). ReT and the reader keep it frozen; whichever is trained first makes it for both.
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModel

from rag_vqa.demo.pictures import clean, flags, no_flag, photo, pixels
from rag_vqa.retriever.training.loop import Outcome, Plan, Watch, fit, whole
from rag_vqa.retriever.training.processes import accelerator

SIZE, PATCH = 64, 8  # pixels
IMAGE_TOKENS = (SIZE // PATCH) ** 2 + 1  # with the CLS token, which stands first
BATCH, SCENES = 96, 16  # of a step: flags, and photos without one


VISION = CLIPVisionConfig(
    hidden_size=128,
    intermediate_size=512,
    num_hidden_layers=4,
    num_attention_heads=2,
    image_size=SIZE,
    patch_size=PATCH,
    hidden_act="gelu",
    projection_dim=128,
)


class Matcher(nn.Module):
    """A tower, a projection, a learned temperature: (B, 3, S, S) → (B, 128) unit rows.

    Attributes:
        nothing: (1, 128), what a photo without a flag should match, not yet of unit length.
    """

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.tower = CLIPVisionModel(config)
        self.tower.set_attn_implementation("eager")  # half the time of sdpa at this size
        self.projection = nn.Linear(config.hidden_size, 128, bias=False)
        self.nothing = nn.Parameter(torch.randn(1, 128))
        self.log_scale = nn.Parameter(torch.tensor(2.3))

    def forward(self, pictures: Tensor) -> Tensor:
        """Unit rows (B, 128)."""
        pooled = self.tower(pixel_values=pictures).pooler_output
        return F.normalize(self.projection(pooled), dim=-1)


def train_tower(folder: Path, seed: int = 0, steps: int = 3000) -> CLIPVisionModel:
    """Train (or go on with) the tower; half of each batch are mutations of the other half."""
    torch.manual_seed(seed)
    matcher = Matcher(VISION)

    def forward(step: int) -> Outcome:
        rng = np.random.default_rng([seed, step])
        specs = flags(rng, BATCH)
        photos = [photo(spec, rng) for spec in specs] + [no_flag(rng) for _ in range(SCENES)]
        pictures = pixels([*photos, *(clean(spec, rng) for spec in specs)], SIZE)
        rows = matcher(pictures)
        photographed, drawn = rows.split((len(photos), BATCH))
        drawn = torch.cat((drawn, F.normalize(matcher.nothing, dim=-1)))
        scores = photographed @ drawn.T * matcher.log_scale.clamp(max=4.0).exp()
        truth = torch.arange(len(photos)).clamp(max=BATCH)  # a scene's is "nothing"
        to_photos = F.cross_entropy(scores.T[:BATCH], truth[:BATCH])
        loss = (F.cross_entropy(scores, truth) + to_photos) / 2
        right = (scores.argmax(dim=1) == truth).float()
        figures = {"recall@1": right[:BATCH].mean(), "nothing": right[BATCH:].mean()}
        return Outcome(loss, {n: float(v) for n, v in figures.items()}, BATCH)

    plan = Plan(steps=steps, warmup=30, seed=seed)
    made = accelerator("bf16", print)
    fit(matcher, whole(forward), plan, folder, made, identity=asdict(plan), watch=Watch(line=print))
    return matcher.tower
