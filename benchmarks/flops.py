"""Counts the floating-point operations of encoding one passage, in the shapes of the released ReTs.

    python benchmarks/flops.py [--json OUT]

torch's own counter counts on tensors without storage: it computes nothing and needs no weights. A
multiplication and an addition count as two.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from rag_vqa.retriever.modeling.configuration import RetConfig
from rag_vqa.retriever.modeling.model import RetModel

TOKENS, PIXELS, VOCABULARY = 77, 224, 49_408
# Text and vision towers: width, layers, heads, width of the MLP.
SHAPES = {
    "ReT-CLIP-ViT-L-14": ((768, 12, 12, 3072), (1024, 24, 16, 4096), "clip_vit_l"),
    "ReT-OpenCLIP-ViT-H-14": ((1024, 24, 16, 4096), (1280, 32, 16, 5120), "openclip_vit_h"),
    "ReT-OpenCLIP-ViT-G-14": ((1280, 32, 20, 5120), (1664, 48, 16, 8192), "openclip_vit_g"),
}
Tower = tuple[int, int, int, int]


def model(text: Tower, vision: Tower, strategy: str) -> RetModel:
    """One side of a released shape, without storage."""

    def tower(shape: Tower, **more: Any) -> dict[str, Any]:
        names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        return {**dict(zip(names, shape, strict=True)), **more}

    config = RetConfig(
        text_config=tower(text, vocab_size=VOCABULARY, max_position_embeddings=TOKENS),
        vision_config=tower(vision, patch_size=14, image_size=PIXELS),
        layer_strategy=strategy,
    )
    with torch.device("meta"):
        return RetModel(config).eval().requires_grad_(False)


@torch.no_grad()
def count(side: RetModel, text: bool, image: bool) -> int:
    """Operations for one passage that has a text, an image, or both."""
    with torch.device("meta"):
        ids = torch.zeros(1, TOKENS, dtype=torch.long) if text else None
        pixels = torch.zeros(1, 3, PIXELS, PIXELS) if image else None
        with FlopCounterMode(display=False) as counter:
            side(ids, None, pixels)  # a text of full length: nothing is masked
    return int(counter.get_total_flops())


def main() -> None:
    """Counts and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = {}
    for name, shape in SHAPES.items():
        side = model(*shape)
        found[name] = {
            "text": count(side, True, False),
            "image": count(side, False, True),
            "both": count(side, True, True),
        }
        said = " · ".join(f"{kind} {flops / 1e9:,.1f}" for kind, flops in found[name].items())
        print(f"{name}: {said} GFLOP a passage")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
