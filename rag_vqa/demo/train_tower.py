"""Train the demo's vision tower: `python -m rag_vqa.demo.train_tower --out DIR`.

Resumes by itself. Knows a CLIP vision tower and contrastive training on its pooled output: photos
are matched with clean drawings of invented flags, and photos without a flag with a learned row,
"nothing". Writes the tower as a CLIP checkpoint, and the retriever's tokenizer and image processor
beside it. Does not know ReT or the reader, which keep the tower frozen: the first is trained from
here by `rag-vqa train --config rag_vqa/demo/retriever.yaml`, the second by train_reader.py.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel

from rag_vqa.demo.training import tokenizer as vocabulary
from rag_vqa.demo.training.flag_pairs import WINDOW
from rag_vqa.demo.training.invented_countries import (
    draw_training_flag,
    invent_flag_families,
    photograph_training_flag,
    photograph_training_scene,
    pixel_values,
)
from rag_vqa.retriever.training.training_loop import (
    StepOutcome,
    TrainingCallbacks,
    fit,
    make_accelerator,
    whole_step,
)
from rag_vqa.retriever.training.training_settings import TrainingPlan

SIZE, PATCH = 64, 8  # pixels
IMAGE_TOKENS = (SIZE // PATCH) ** 2 + 1  # with the CLS token, which stands first
BATCH, SCENES = 96, 16  # of a step: flags, and photos without one
VISION_CONFIG = CLIPVisionConfig(
    hidden_size=128,
    intermediate_size=512,
    num_hidden_layers=4,
    num_attention_heads=2,
    image_size=SIZE,
    patch_size=PATCH,
    hidden_act="gelu",
    projection_dim=128,
)
SEED = 1  # of the values that the tokenizer's pieces are learnt on


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


def train_matcher(folder: Path, seed: int = 0, steps: int = 3000) -> CLIPVisionModel:
    """Train (or go on with) the tower; half of each batch are mutations of the other half."""
    torch.manual_seed(seed)
    matcher = Matcher(VISION_CONFIG)

    def forward(step: int) -> StepOutcome:
        rng = np.random.default_rng([seed, step])
        specs = invent_flag_families(rng, BATCH)
        photos = [photograph_training_flag(spec, rng) for spec in specs] + [
            photograph_training_scene(rng) for _ in range(SCENES)
        ]
        pictures = pixel_values([*photos, *(draw_training_flag(spec, rng) for spec in specs)], SIZE)
        rows = matcher(pictures)
        photographed, drawn = rows.split((len(photos), BATCH))
        drawn = torch.cat((drawn, F.normalize(matcher.nothing, dim=-1)))
        scores = photographed @ drawn.T * matcher.log_scale.clamp(max=4.0).exp()
        truth = torch.arange(len(photos)).clamp(max=BATCH)  # a scene's is "nothing"
        to_photos = F.cross_entropy(scores.T[:BATCH], truth[:BATCH])
        loss = (F.cross_entropy(scores, truth) + to_photos) / 2
        right = (scores.argmax(dim=1) == truth).float()
        figures = {"recall@1": right[:BATCH].mean(), "nothing": right[BATCH:].mean()}
        return StepOutcome(loss, {n: float(v) for n, v in figures.items()}, BATCH)

    plan = TrainingPlan(steps=steps, warmup=30, seed=seed)
    made = make_accelerator("bf16", print)
    fit(
        matcher,
        whole_step(forward),
        plan,
        folder,
        made,
        identity=asdict(plan),
        callbacks=TrainingCallbacks(on_line=print),
    )
    return matcher.tower


def make_checkpoint(folder: Path) -> None:
    """The checkpoint that the retriever's settings name."""
    if not (folder / "tokenizer.json").exists():
        vocabulary.save_tokenizer(
            vocabulary.retriever_tokenizer(vocabulary.train_tokenizer(SEED), WINDOW), folder
        )
    square = {"height": SIZE, "width": SIZE}
    CLIPImageProcessorPil(size=square, do_center_crop=False).save_pretrained(folder)
    train_matcher(folder).save_pretrained(folder)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where the checkpoint goes")
    torch.set_num_threads(1)  # other numbers of threads give other weights
    make_checkpoint(parser.parse_args().out)


if __name__ == "__main__":
    main()
