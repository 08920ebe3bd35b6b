"""Prompts with none, one and two images, for tests of local readers."""

import torch
from PIL import Image

from rag_vqa.types import ImagePart, Prompt, TextPart


def picture(width: int, height: int, seed: int) -> Image.Image:
    noise = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (height, width, 3), generator=noise, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


PROMPTS = [
    Prompt((ImagePart(picture(60, 40, 0)), TextPart("What is it? <image> <|im_end|> é"))),
    Prompt((TextPart("No picture", trusted=True),)),
    Prompt(
        (
            ImagePart(picture(90, 30, 1)),
            ImagePart(picture(33, 99, 2), "doc"),
            TextPart("Two pictures and a longer text. " * 3),
        )
    ),
]
