"""From prompts to the inputs of a model: chat template, pictures, neutralised text, checks.

It knows processors and what must be true of their output. It does not know models or devices.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError
from PIL import Image

from rag_vqa.errors import ReaderError
from rag_vqa.readers.messages import messages, safe, untrusted_role
from rag_vqa.readers.neutralise import Neutraliser
from rag_vqa.readers.pictures import Pictures
from rag_vqa.types import ImagePart, Part, Prompt, TextPart


class PromptEncoder:
    """Encodes prompts with one processor.

    Args:
        processor: of `load_processor`.
        max_pixels: of one picture; larger ones are scaled down. None leaves that to the processor.
        context: tokens of a prompt beyond which nobody asks for the exact count.
    """

    def __init__(
        self, processor: Any, max_pixels: int | None = None, context: int = sys.maxsize
    ) -> None:
        self._processor = processor
        self._tokenizer = processor.tokenizer
        self._opened = Pictures(max_pixels)
        self._context = context
        self._longest_token = max(map(len, self._tokenizer.get_vocab()))  # in characters
        self._image_tokens = lru_cache(maxsize=256)(self._tokens_of_size)
        frame = self.render([TextPart("\0")], raw=True).split("\0")
        self.neutralise = Neutraliser(self._tokenizer, processor.chat_template, frame)

    def count(self, prompt: Prompt) -> int:
        """Tokens of a prompt, with those that its pictures take.

        A prompt whose characters alone are too many for the context (a document of megabytes) is
        not read: the fewest tokens that they can take are given, which is over the context too.
        """
        texts = (part.text for part in prompt.parts if isinstance(part, TextPart))
        fewest = sum(map(len, texts)) // self._longest_token
        if fewest > self._context:
            return fewest
        text = self.render(prompt.parts)
        pictures = (part.image for part in prompt.parts if isinstance(part, ImagePart))
        of_pictures = sum(self._image_tokens(self._opened.size(image))[0] - 1 for image in pictures)
        return len(self._ids(text)) + of_pictures

    def encode(self, prompts: Sequence[Prompt]) -> Any:
        """Inputs of the model, on the CPU: input_ids (B, L) padded on the left, and pictures.

        Raises:
            BadImage: a picture that cannot be opened.
            ReaderError: a check on control and image tokens failed; no prompt should reach this.
        """
        texts = [self.render(prompt.parts) for prompt in prompts]
        for prompt, text in zip(prompts, texts, strict=True):
            self._check_control(prompt, text)
        pictures = [self._pictures(prompt) for prompt in prompts]
        inputs = self._process(
            texts,
            [picture for row in pictures for picture in row],
            padding=True,
            return_tensors="pt",
            add_special_tokens=self._adds_special(texts[0]),
        )
        self._check_pictures(inputs["input_ids"], pictures)
        return inputs

    def _process(self, texts: list[str], pictures: list[Image.Image], **options: Any) -> Any:
        try:
            # The processor writes into the list of texts that it is given.
            return self._processor(text=list(texts), images=pictures or None, **options)
        except ValueError as error:
            raise ReaderError(
                f"the reader's processor refuses a picture or prompt: {error}"
            ) from error

    def _pictures(self, prompt: Prompt) -> list[Image.Image]:
        parts = (part for part in prompt.parts if isinstance(part, ImagePart))
        return [self._opened.open(part.image) for part in parts]

    def render(self, parts: Sequence[Part], raw: bool = False) -> str:
        """The chat as one string, a placeholder for each picture. `raw` leaves text as it is."""
        shown = parts if raw else safe(parts, self.neutralise)
        chat = [
            {"role": role, "content": [_content(each) for each in contents]}
            for role, contents in messages(shown)
        ]
        try:
            return str(
                self._processor.apply_chat_template(
                    chat, add_generation_prompt=True, tokenize=False
                )
            )
        except (TemplateError, TypeError) as error:
            raise ReaderError(
                f"the reader's chat template does not take this prompt: {error}; "
                "name a model that takes images in its messages"
            ) from error

    def _ids(self, text: str) -> list[int]:
        # Not verbose: whether it is too long is the budget's matter.
        read = self._tokenizer(text, add_special_tokens=self._adds_special(text), verbose=False)
        return list(read["input_ids"])

    def _adds_special(self, text: str) -> bool:
        """Most chat templates write <s> themselves; a second one would be another prompt."""
        bos = self._tokenizer.bos_token
        return bos is None or not text.startswith(bos)

    def _check_control(self, prompt: Prompt, text: str) -> None:
        """The control tokens are those of the same prompt with harmless words for its texts."""
        bland = [TextPart("x", role=r) if (r := untrusted_role(p)) else p for p in prompt.parts]
        expected = self.neutralise.control_ids(self._ids(self.render(bland)))
        if self.neutralise.control_ids(self._ids(text)) != expected:
            raise ReaderError(
                "a control token came out of a document or the question: the prompt is not read. "
                "See it with: rag-vqa prompt show"
            )

    def _check_pictures(self, ids: Any, pictures: Sequence[Sequence[Image.Image]]) -> None:
        """ids: (B, L). Each row has as many placeholders as its own pictures take."""
        for row, those in zip(ids, pictures, strict=True):
            expected = sum(self._image_tokens(picture.size)[1] for picture in those)
            found = int((row == self._processor.image_token_id).sum())
            if found != expected:
                raise ReaderError(
                    f"the prompt has {found} image tokens and its {len(those)} pictures take "
                    f"{expected}: this reader's processor is not supported"
                )

    def _tokens_of_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(tokens, image placeholders among them) of a picture, which depend on its size alone."""
        token = self._processor.image_token
        inputs = self._process([token], [Image.new("RGB", size)], add_special_tokens=False)
        ids = list(inputs["input_ids"][0])
        return len(ids), ids.count(self._processor.image_token_id)


def _content(content: str | ImagePart) -> dict[str, str]:
    return {"type": "text", "text": content} if isinstance(content, str) else {"type": "image"}
