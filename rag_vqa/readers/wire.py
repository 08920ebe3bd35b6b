"""A prompt as an OpenAI-compatible server is sent it: messages, pictures as data addresses.

It knows the chat format, how a picture travels, and how long a prompt probably is. It does not
know servers. The tokenizer is the server's: without it markers are told by their shape and tokens
are estimated; with it (`processor`) both are exact.
"""

from __future__ import annotations

import base64
import math
from typing import Any

from PIL import Image

from rag_vqa import images
from rag_vqa.readers.encoding import PromptEncoder
from rag_vqa.readers.messages import messages, safe
from rag_vqa.readers.neutralise import by_shape
from rag_vqa.readers.pictures import Pictures
from rag_vqa.types import ImagePart, Prompt, TextPart

MAX_PIXELS = 1024 * 1024  # of one picture where nothing is said: the largest of the presets
# Without loss where that is cheap: small pictures, and graphics, whose edges JPEG smears and which
# PNG packs well. Photographs came through JPEG already, and PNG makes them five times as large.
_SMALL = 128 * 1024  # pixels
_FEW_COLOURS = 256
# One token is about 4 characters of English, 1 to 2 characters (3 bytes each) of Chinese.
_BYTES_A_TOKEN = 3
_TOKENS_AROUND = 8  # what a template writes around a message
# Qwen2.5-VL: a token for 28 × 28 pixels, Qwen3-VL for 32 × 32; LLaVA-1.5: 576 for any picture.
_PIXELS_A_TOKEN = 28 * 28
_FEWEST_OF_A_PICTURE = 576


class Wire:
    """Prompts to messages.

    Args:
        max_pixels: of one picture; larger ones are scaled down.
        processor: of the served model, see `load_processor`; None: it is not here.
    """

    def __init__(self, max_pixels: int = MAX_PIXELS, processor: Any = None) -> None:
        self._pictures = Pictures(max_pixels)
        self._encoder = PromptEncoder(processor, max_pixels) if processor is not None else None
        self._neutralise = self._encoder.neutralise if self._encoder else by_shape

    def messages(self, prompt: Prompt) -> list[dict[str, Any]]:
        """The body's `messages`. Pictures are decoded, scaled and packed here: milliseconds each.

        Raises:
            BadImage, Missing: a picture that cannot be opened.
        """
        shown = safe(prompt.parts, self._neutralise)
        return [
            {"role": role, "content": self._content(contents)} for role, contents in messages(shown)
        ]

    def _content(self, contents: list[str | ImagePart]) -> str | list[dict[str, Any]]:
        if len(contents) == 1 and isinstance(contents[0], str):
            return contents[0]  # some servers take a system message in this form alone
        return [
            {"type": "text", "text": each}
            if isinstance(each, str)
            else {"type": "image_url", "image_url": {"url": self._data_address(each)}}
            for each in contents
        ]

    def _data_address(self, part: ImagePart) -> str:
        picture = self._pictures.open(part.image)
        kind = packing(picture)
        packed = base64.b64encode(images.encode(picture, kind)).decode("ascii")
        return f"data:image/{kind.lower()};base64,{packed}"

    def render(self, prompt: Prompt) -> str:
        """The messages for people to read, `<image>` for each picture; see `Reader.render`."""
        if self._encoder is not None:
            return self._encoder.render(prompt.parts)
        shown = safe(prompt.parts, self._neutralise)
        return "\n".join(
            f"{role}: " + "".join(e if isinstance(e, str) else "<image>\n" for e in contents)
            for role, contents in messages(shown)
        )

    def count(self, prompt: Prompt) -> int:
        """Tokens of a prompt: exact with the processor, else estimated, rather too many.

        The estimate: a token for every 3 bytes of text and every 28 × 28 pixels, at least 576 a
        picture. Models that read a picture in tiles (LLaVA-NeXT, InternVL) take more, and so does
        text that is all digits.
        """
        if self._encoder is not None:
            return self._encoder.count(prompt)
        total = 2 * _TOKENS_AROUND
        for part in prompt.parts:
            if isinstance(part, TextPart):
                size = len(part.text.encode("utf-8", "surrogatepass"))
                total += math.ceil(size / _BYTES_A_TOKEN)
            else:
                width, height = self._pictures.size(part.image)
                tokens = math.ceil(width * height / _PIXELS_A_TOKEN)
                total += max(tokens, _FEWEST_OF_A_PICTURE) + _TOKENS_AROUND
        return total


def packing(picture: Image.Image) -> Any:
    """ "PNG", without loss, of a small picture or one of few colours, else "JPEG"."""
    small = picture.width * picture.height <= _SMALL
    return "PNG" if small or picture.getcolors(_FEW_COLOURS) is not None else "JPEG"
