"""Prompts as the messages of a chat-completions request.

Knows OpenAI's message format, how images travel (data URLs), and how to estimate tokens without a
tokenizer. Does not know what else a request holds (completion_request.py).
"""

from __future__ import annotations

import base64
import math
from typing import Any

from rag_vqa import images
from rag_vqa.readers.neutralise import chat_messages, neutralise_by_shape, neutralise_parts
from rag_vqa.readers.prompt_encoder import ImageOpener, PromptEncoder
from rag_vqa.types import ImagePart, Prompt, TextPart

DEFAULT_MAX_PIXELS = 1024 * 1024  # pixels of one image, the largest of the presets
# A token is about 4 characters of English, or 1 to 2 characters (3 bytes each) of Chinese.
_BYTES_PER_TOKEN = 3
_TOKENS_PER_MESSAGE = 8  # written by the chat template around a message
# Qwen2.5-VL: a token for 28 × 28 pixels, Qwen3-VL: for 32 × 32; LLaVA-1.5: 576 for any image.
_PIXELS_PER_TOKEN = 28 * 28
_MIN_IMAGE_TOKENS = 576


class MessageEncoder:
    """Encodes prompts as chat messages, and counts their tokens.

    Args:
        max_pixels: pixels of one image; larger ones are scaled down.
        processor: the served model's, from `load_processor`; None if it is not on this machine.
    """

    def __init__(self, max_pixels: int = DEFAULT_MAX_PIXELS, processor: Any = None) -> None:
        self._opener = ImageOpener(max_pixels)
        self._encoder = PromptEncoder(processor, max_pixels) if processor is not None else None
        self._neutralise = self._encoder.neutralise if self._encoder else neutralise_by_shape

    def encode(self, prompt: Prompt) -> list[dict[str, Any]]:
        """The `messages` of a request. Decodes, scales and packs images: milliseconds each.

        Raises:
            BadImage, Missing: an image that cannot be opened.
        """
        parts = neutralise_parts(prompt.parts, self._neutralise)
        return [
            {"role": role, "content": self._content(contents)}
            for role, contents in chat_messages(parts)
        ]

    def _content(self, contents: list[str | ImagePart]) -> str | list[dict[str, Any]]:
        if len(contents) == 1 and isinstance(contents[0], str):
            return contents[0]  # some servers take a system message only in this form
        return [
            {"type": "text", "text": each}
            if isinstance(each, str)
            else {"type": "image_url", "image_url": {"url": self._data_url(each)}}
            for each in contents
        ]

    def _data_url(self, part: ImagePart) -> str:
        image = self._opener.open(part.image)
        file_format = images.choose_format(image)
        encoded = base64.b64encode(images.encode(image, file_format)).decode("ascii")
        return f"data:image/{file_format.lower()};base64,{encoded}"

    def render(self, prompt: Prompt) -> str:
        """The messages for people to read, with `<image>` for each image; see `Reader.render`."""
        if self._encoder is not None:
            return self._encoder.render(prompt.parts)
        parts = neutralise_parts(prompt.parts, self._neutralise)
        return "\n".join(
            f"{role}: " + "".join(e if isinstance(e, str) else "<image>\n" for e in contents)
            for role, contents in chat_messages(parts)
        )

    def count(self, prompt: Prompt) -> int:
        """Number of tokens of a prompt: exact with the processor, else a high estimate.

        The estimate counts a token for every 3 bytes of text and every 28 × 28 pixels, at least 576
        for an image. Models that read an image in tiles (LLaVA-NeXT, InternVL) take more, and so
        does text that is all digits.
        """
        if self._encoder is not None:
            return self._encoder.count(prompt)
        total = 2 * _TOKENS_PER_MESSAGE
        for part in prompt.parts:
            if isinstance(part, TextPart):
                size = len(part.text.encode("utf-8", "surrogatepass"))
                total += math.ceil(size / _BYTES_PER_TOKEN)
            else:
                width, height = self._opener.size(part.image)
                tokens = math.ceil(width * height / _PIXELS_PER_TOKEN)
                total += max(tokens, _MIN_IMAGE_TOKENS) + _TOKENS_PER_MESSAGE
        return total
