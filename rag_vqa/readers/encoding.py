"""From prompts to the inputs of a model: chat template, pictures, neutralised text, checks.

It knows processors and what must be true of their output. It does not know models or devices.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from jinja2 import TemplateError
from PIL import Image

from rag_vqa import images
from rag_vqa.errors import ReaderError
from rag_vqa.readers.neutralise import Neutraliser
from rag_vqa.readers.placeholders import Placeholders
from rag_vqa.types import ImagePart, ImageSource, Part, Prompt, TextPart

SLIMMEST = 100  # sides of a picture as one to so many: Qwen's processors refuse 1 to 200


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
        self._max_pixels = max_pixels
        self._context = context
        self._longest_token = max(map(len, self._tokenizer.get_vocab()))  # in characters
        self._placeholders = Placeholders(self._process, processor.image_token)
        self._file_size = lru_cache(maxsize=1024)(self._size_of_version)
        frame = self.render([TextPart("\0")], raw=True).split("\0")
        # What stands for a picture's features; Gemma's processor has another one before them.
        self.image_ids = frozenset(processor.image_token_ids)
        # SmolVLM's tokenizer does not know <video>, and its processor refuses a text that has it.
        named = vars(processor).items()
        marks = [x for name, x in named if name.endswith("_token") and isinstance(x, str)]
        self._neutralise = Neutraliser(self._tokenizer, processor.chat_template, frame, marks)

    def count(self, prompt: Prompt) -> int:
        """Tokens of a prompt, with those that its pictures take.

        A prompt whose characters alone are too many for the context (a document of megabytes) is
        not read: the fewest tokens that they can take are given, which is over the context too.
        """
        texts = (part.text for part in prompt.parts if isinstance(part, TextPart))
        fewest = sum(map(len, texts)) // self._longest_token
        if fewest > self._context:
            return fewest
        return len(self.ids([prompt])[0])

    def ids(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """The tokens of each prompt, those that its pictures take among them.

        A picture that several prompts show is measured once.
        """
        measured: dict[int, tuple[int, int]] = {}
        rows = []
        for prompt in prompts:
            images = [part.image for part in prompt.parts if isinstance(part, ImagePart)]
            for image in images:
                if id(image) not in measured:
                    measured[id(image)] = self._size(image)
            sizes = [measured[id(image)] for image in images]
            rows.append(self._ids(self._placeholders.expanded(self.render(prompt.parts), sizes)))
        return rows

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
            pictures,
            padding=True,
            return_tensors="pt",
            add_special_tokens=self._adds_special(texts[0]),
        )
        sizes = [[picture.size for picture in row] for row in pictures]
        self._check_ids(inputs, list(map(self._placeholders.expanded, texts, sizes)))
        return inputs

    def _process(
        self, texts: list[str], pictures: Sequence[Sequence[Image.Image]], **options: Any
    ) -> Any:
        """Texts and the pictures of each; how many stand in one text matters to some families."""
        rows = [list(row) for row in pictures] if any(pictures) else None
        try:
            # The processor writes into the list of texts that it is given.
            return self._processor(text=list(texts), images=rows, **options)
        except ValueError as error:
            raise ReaderError(
                f"the reader's processor refuses a picture or prompt: {error}"
            ) from error

    def _pictures(self, prompt: Prompt) -> list[Image.Image]:
        return [self._picture(part.image) for part in prompt.parts if isinstance(part, ImagePart)]

    def _picture(self, image: ImageSource) -> Image.Image:
        return scaled(_widened(images.load(image)), self._max_pixels)

    def _size(self, image: ImageSource) -> tuple[int, int]:
        """Width and height as the model sees it. The budget asks often: files are decoded once."""
        version = _version(image) if isinstance(image, (str, Path)) else None
        return self._picture(image).size if version is None else self._file_size(image, version)

    def _size_of_version(self, image: str | Path, version: tuple[int, ...]) -> tuple[int, int]:
        """`version` is for the cache alone, so that a file that changed is opened again."""
        return self._picture(image).size

    def render(self, parts: Sequence[Part], raw: bool = False) -> str:
        """The chat as one string, a placeholder for each picture. `raw` leaves text as it is."""
        safe = parts if raw else self._safe(parts)
        messages = [
            {"role": role, "content": _contents(those)} for role, those in groupby(safe, key=_role)
        ]
        try:
            return str(
                # Of the tokenizer: SmolVLM's processor asks its video part first.
                self._tokenizer.apply_chat_template(
                    messages,
                    chat_template=self._processor.chat_template,
                    add_generation_prompt=True,
                    tokenize=False,
                )
            )
        except (TemplateError, TypeError) as error:
            raise ReaderError(
                f"the reader's chat template does not take this prompt: {error}; "
                "name a model that takes images in its messages"
            ) from error

    def _safe(self, parts: Sequence[Part]) -> list[Part]:
        """Neighbouring untrusted texts are neutralised together: `<im` + `age>` is a marker."""
        safe: list[Part] = []
        for role, those in groupby(parts, key=_untrusted_role):
            if role is None:
                safe += those
            else:
                text = "".join(part.text for part in those if isinstance(part, TextPart))
                safe.append(TextPart(self._neutralise(text), role=role))
        return safe

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
        bland = [TextPart("x", role=r) if (r := _untrusted_role(p)) else p for p in prompt.parts]
        expected = self._neutralise.control_ids(self._ids(self.render(bland)))
        if self._neutralise.control_ids(self._ids(text)) != expected:
            raise ReaderError(
                "a control token came out of a document or the question: the prompt is not read. "
                "See it with: rag-vqa prompt show"
            )

    def _check_ids(self, inputs: Any, texts: Sequence[str]) -> None:
        """Each row is exactly what was counted: its pictures take the tokens that are theirs."""
        for row, mask, text in zip(
            inputs["input_ids"], inputs["attention_mask"].bool(), texts, strict=True
        ):
            expected = self._ids(text)
            if row[mask].tolist() != expected:
                raise ReaderError(
                    f"the prompt has {int(mask.sum())} tokens, and {len(expected)} were counted, "
                    "or others: this reader's processor is not supported"
                )


def _widened(picture: Image.Image) -> Image.Image:
    """A strip more than SLIMMEST times as long as wide, at that ratio and about as many pixels."""
    short, long = sorted(picture.size)
    if long <= SLIMMEST * short:
        return picture
    width = math.isqrt(short * long // SLIMMEST)
    sides = (width, SLIMMEST * width)
    by_height = picture.height > picture.width
    return picture.resize(sides if by_height else sides[::-1], Image.Resampling.BICUBIC)


def scaled(picture: Image.Image, max_pixels: int | None) -> Image.Image:
    """The picture with at most `max_pixels` pixels and about the same proportions.

    >>> scaled(Image.new("RGB", (400, 100)), 10_000).size
    (200, 50)
    """
    width, height = picture.size
    if max_pixels is None or width * height <= max_pixels:
        return picture
    by = math.sqrt(max_pixels / (width * height))
    # A side of one pixel stays; the other is then what fits.
    width = min(max(1, int(width * by)), max_pixels)
    height = min(max(1, int(height * by)), max_pixels // width)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def _version(path: str | Path) -> tuple[int, ...] | None:
    """Which file, and which state of it; None for what `images.load` is going to refuse."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):  # ValueError: NUL in the name
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _untrusted_role(part: Part) -> Literal["system", "user"] | None:
    """The role of a part that is not trusted, and None for all others."""
    return part.role if isinstance(part, TextPart) and not part.trusted else None


def _role(part: Part) -> str:
    return part.role if isinstance(part, TextPart) else "user"


def _contents(parts: Iterable[Part]) -> list[dict[str, str]]:
    """Of one message; neighbouring texts are one, for some templates put a newline between two."""
    contents: list[dict[str, str]] = []
    for is_text, those in groupby(parts, key=lambda part: isinstance(part, TextPart)):
        if is_text:
            text = "".join(part.text for part in those if isinstance(part, TextPart))
            contents.append({"type": "text", "text": text})
        else:
            contents += [{"type": "image"} for _ in those]
    return contents
