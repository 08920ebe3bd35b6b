"""What a picture becomes in the text of a prompt, as the model's own processor writes it.

A placeholder grows to as many tokens as the picture takes, with tiles, newlines and marks as the
family has them. It knows sizes of pictures and strings. It does not know tokens or models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from PIL import Image

from rag_vqa.errors import ReaderError

Size = tuple[int, int]  # width, height


class Placeholders:
    """Writes prompts out as the processor does, without the pictures themselves.

    Args:
        process: the processor, called as process(texts, pictures of each text, options).
        token: what stands for a picture in the chat template's output.
    """

    def __init__(self, process: Callable[..., Any], token: str) -> None:
        self._process = process
        self._token = token
        self._written = lru_cache(maxsize=256)(self._write)

    def expanded(self, text: str, sizes: Sequence[Size]) -> str:
        """The text with each placeholder as it is tokenised, for pictures of these sizes.

        Raises:
            ReaderError: the text has not one placeholder for each picture.
        """
        first, *others = text.split(self._token)
        if len(others) != len(sizes):
            raise ReaderError(
                f"the prompt has {len(others)} placeholders for {len(sizes)} pictures: "
                "this reader's chat template is not supported"
            )
        grown = self.grown(sizes)
        return first + "".join(x + y for x, y in zip(grown, others, strict=True))

    def grown(self, sizes: Sequence[Size]) -> list[str]:
        """What each picture of one prompt becomes."""
        # LLaVA-OneVision cuts a picture into tiles only where it is the only one.
        return [self._written(size, len(sizes) > 1) for size in sizes]

    def _write(self, size: Size, in_company: bool) -> str:
        """Depends on the size alone: a blank picture shows it."""
        count = 2 if in_company else 1
        blank = Image.new("RGB", size)
        written = self._process(
            [self._token * count],
            [[blank] * count],
            add_special_tokens=False,
            return_text_replacement_offsets=True,
        )
        return str(written["text_replacement_offsets"][0][0]["replacement"])
