"""Encodes prompts as model inputs: chat template, image tokens, neutralised text, token counts.

Knows processors and what must hold for their output: token counts are exact, and no document adds a
control token. Opens images at the size that the model sees. Does not know models, devices or
servers. Both back ends use it, the remote one only where a tokenizer is named.
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from rag_vqa import images
from rag_vqa.errors import ReaderError
from rag_vqa.readers.chat_template import ChatTemplate
from rag_vqa.readers.neutralise import Neutraliser, chat_messages, neutralise_parts, untrusted_role
from rag_vqa.types import ImagePart, ImageSource, Part, Prompt, TextPart, Thinking

ImageSize = tuple[int, int]  # width, height
MAX_ASPECT_RATIO = 100  # long side : short side; Qwen's processors refuse 200


class PromptEncoder:
    """Encodes prompts with one processor.

    Args:
        processor: from `load_processor`.
        max_pixels: pixels of one image; larger ones are scaled down. None leaves that to the
            processor.
        context: longest prompt in tokens. `count` need not be exact beyond it.
        thinking: how much the model should think, where its chat template can say that.

    Attributes:
        template: the chat template.
        answer_begin: text after the template's own; not empty only in `for_choices`.
    """

    def __init__(
        self,
        processor: Any,
        max_pixels: int | None = None,
        context: int = sys.maxsize,
        thinking: Thinking = "off",
    ) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        token = processor.image_token
        self.template = ChatTemplate(
            self.tokenizer, processor.chat_template, _image_mark(processor), token, thinking
        )
        self.answer_begin = ""
        self.opener = ImageOpener(max_pixels)
        self.context = context
        self._longest_token = max(map(len, self.tokenizer.get_vocab()))  # in characters
        self._placeholders = ImagePlaceholders(self._process, processor.image_token)
        # Tokens that stand for an image's features; Gemma's processor writes another one before.
        self.image_ids = frozenset(processor.image_token_ids)
        # SmolVLM's tokenizer does not know <video>, and its processor refuses a text that has it.
        attributes = vars(processor).items()
        markers = [x for name, x in attributes if name.endswith("_token") and isinstance(x, str)]
        self.neutralise = Neutraliser(
            self.tokenizer, processor.chat_template, self._turn_frames(), markers
        )

    def _turn_frames(self) -> list[str]:
        """Texts that the chat template writes around the turns of user and system."""
        system, user = TextPart("\0", role="system"), TextPart("\0")
        alone = self.render([user], raw=True).split("\0")
        return alone + self.render([system, user], raw=True).split("\0")

    def for_choices(self) -> PromptEncoder:
        """Encodes prompts whose next token is the first one of an answer, without any thoughts."""
        other = copy.copy(self)
        other.template = self.template.without_thinking()
        other.answer_begin = other.template.answer_begin
        return other

    def count(self, prompt: Prompt) -> int:
        """Number of tokens of a prompt, including those of its images.

        A prompt whose characters alone exceed the context (a document of megabytes) is not
        tokenised. The result is then a lower bound, which exceeds the context as well.
        """
        texts = (part.text for part in prompt.parts if isinstance(part, TextPart))
        lower_bound = sum(map(len, texts)) // self._longest_token
        if lower_bound > self.context:
            return lower_bound
        return len(self.ids([prompt])[0])

    def ids(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Token ids of each prompt, including those of its images.

        An image that several prompts show is measured once.
        """
        pairs = zip(prompts, self._image_sizes(prompts), strict=True)
        return [
            self._ids(self._placeholders.expand(self.render(prompt.parts), sizes))
            for prompt, sizes in pairs
        ]

    def mark_images(
        self, prompts: Sequence[Prompt], rows: Sequence[Sequence[int]]
    ) -> list[list[int]]:
        """The rows of `ids`, with the image tokens replaced so that different images differ.

        Each image gets a negative number, which is the same in every prompt that shows the image
        at the same place.
        """
        numbers: dict[tuple[int, str | bytes | Path, str], int] = {}
        identities: dict[int, str | bytes | Path] = {}
        marked_rows = []
        for prompt, row, sizes in zip(prompts, rows, self._image_sizes(prompts), strict=True):
            marks: list[int] = []
            texts = self._placeholders.image_texts(sizes)
            for place, (image, text) in enumerate(zip(prompt_images(prompt), texts, strict=True)):
                if id(image) not in identities:
                    identities[id(image)] = _image_identity(image)
                key = (place, identities[id(image)], text)
                number = numbers.setdefault(key, -1 - len(numbers))
                marks += [number] * sum(i in self.image_ids for i in self._ids(text))
            marked = list(row)
            positions = [position for position, i in enumerate(row) if i in self.image_ids]
            for position, mark in zip(positions, marks, strict=True):
                marked[position] = mark
            marked_rows.append(marked)
        return marked_rows

    def _image_sizes(self, prompts: Sequence[Prompt]) -> list[list[ImageSize]]:
        measured: dict[int, ImageSize] = {}
        for image in (image for prompt in prompts for image in prompt_images(prompt)):
            if id(image) not in measured:
                measured[id(image)] = self.opener.size(image)
        return [[measured[id(image)] for image in prompt_images(prompt)] for prompt in prompts]

    @cached_property
    def has_independent_images(self) -> bool:
        """True if an image is one array of `pixel_values` and nothing else, whatever is beside it.

        Such an image can be read apart from what stands before it. Tiles, image positions and
        bidirectional attention prevent that; all of them come with inputs of other names.
        """
        if not self.processor.image_token:
            return False
        blank_images = [Image.new("RGB", size) for size in ((32, 32), (96, 64))]
        inputs = self._process(
            [self.processor.image_token * 2],
            [blank_images],
            return_tensors="pt",
            add_special_tokens=False,
        )
        image_inputs = set(inputs) - {"input_ids", "attention_mask"}
        return image_inputs == {"pixel_values"} and len(inputs["pixel_values"]) == len(blank_images)

    def pixels(self, images: Sequence[ImageSource]) -> torch.Tensor:
        """(images, C, H, W): pixels of one or more images; needs `has_independent_images`."""
        opened = [self.opener.open(image) for image in images]
        inputs = self.processor.image_processor(images=opened, return_tensors="pt")
        return torch.as_tensor(inputs["pixel_values"])

    def encode(self, prompts: Sequence[Prompt]) -> Any:
        """Inputs of the model, on the CPU: input_ids (B, L), padded on the left, and image inputs.

        Raises:
            BadImage: an image that cannot be opened.
            ReaderError: a check on control and image tokens failed; no prompt should reach this.
        """
        texts = [self.render(prompt.parts) for prompt in prompts]
        for prompt, text in zip(prompts, texts, strict=True):
            self._check_control(prompt, text)
        opened = [[self.opener.open(image) for image in prompt_images(p)] for p in prompts]
        inputs = self._process(
            texts,
            opened,
            padding=True,
            return_tensors="pt",
            add_special_tokens=self._adds_special(texts[0]),
        )
        sizes = [[image.size for image in row] for row in opened]
        self._check_ids(inputs, list(map(self._placeholders.expand, texts, sizes)))
        return inputs

    def _process(
        self, texts: list[str], images: Sequence[Sequence[Image.Image]], **options: Any
    ) -> Any:
        """Calls the processor with texts and the images of each text.

        The images are grouped by text, because their number in one text matters to some families.
        """
        rows = [list(row) for row in images] if any(images) else None
        if "mm_token_type_ids" in getattr(self.processor, "model_input_names", ()):
            options["return_mm_token_type_ids"] = True  # not every class gives them unasked
        try:
            # A copy, because the processor writes into its list of texts.
            return self.processor(text=list(texts), images=rows, **options)
        except ValueError as error:
            raise ReaderError(
                f"the reader's processor refuses an image or prompt: {error}"
            ) from error

    def render(self, parts: Sequence[Part], raw: bool = False) -> str:
        """The chat as one string, with a placeholder for each image. `raw`: not neutralised."""
        neutral = parts if raw else neutralise_parts(parts, self.neutralise)
        return self.template.render(chat_messages(neutral)) + self.answer_begin

    def _ids(self, text: str) -> list[int]:
        # Not verbose: the budget checks the length.
        encoded = self.tokenizer(text, add_special_tokens=self._adds_special(text), verbose=False)
        return list(encoded["input_ids"])

    def _adds_special(self, text: str) -> bool:
        """False if the chat template already wrote <s>; a second one would change the prompt."""
        bos = self.tokenizer.bos_token
        return bos is None or not text.startswith(bos)

    def _check_control(self, prompt: Prompt, text: str) -> None:
        """Compares the control tokens with those of the same prompt with "x" for its texts.

        Raises:
            ReaderError: they differ.
        """
        harmless = [TextPart("x", role=r) if (r := untrusted_role(p)) else p for p in prompt.parts]
        expected = self.neutralise.control_ids(self._ids(self.render(harmless)))
        if self.neutralise.control_ids(self._ids(text)) != expected:
            raise ReaderError(
                "a control token came out of a document or the question: the prompt is not read. "
                "See it with: rag-vqa prompt show"
            )

    def _check_ids(self, inputs: Any, texts: Sequence[str]) -> None:
        """Raises ReaderError unless each row has exactly the tokens that `ids` counts."""
        for row, mask, text in zip(
            inputs["input_ids"], inputs["attention_mask"].bool(), texts, strict=True
        ):
            expected = self._ids(text)
            if row[mask].tolist() != expected:
                raise ReaderError(
                    f"the prompt has {int(mask.sum())} tokens, but other tokens were counted "
                    f"({len(expected)}): this reader's processor is not supported"
                )


def prompt_images(prompt: Prompt) -> list[ImageSource]:
    """The prompt's images, in order."""
    return [part.image for part in prompt.parts if isinstance(part, ImagePart)]


def _image_identity(image: ImageSource) -> str | bytes | Path:
    """A key that is equal for equal images: path, bytes, or a hash of the pixels."""
    if isinstance(image, (str, bytes, Path)):
        return image
    return sha256(f"{image.mode} {image.size} ".encode() + image.tobytes()).digest()


def _image_mark(processor: Any) -> str:
    """An image in a template that takes texts alone: the placeholder, in the marks around it."""
    names = ("vision_start_token", "image_token", "vision_end_token")
    return "".join(str(getattr(processor, name, "")) for name in names)


class ImagePlaceholders:
    """Expands the image placeholders of a prompt as the processor does, from image sizes alone.

    A placeholder becomes as many tokens as the image takes, with the tiles, newlines and marks of
    the model's family.

    Args:
        process: the processor, called as process(texts, images of each text, options).
        token: the placeholder of an image in the chat template's output.
    """

    def __init__(self, process: Callable[..., Any], token: str) -> None:
        self._process = process
        self._token = token
        self._cached_text = lru_cache(maxsize=256)(self._image_text)

    def expand(self, text: str, sizes: Sequence[ImageSize]) -> str:
        """The text that is tokenised: each placeholder replaced, for images of these sizes.

        Raises:
            ReaderError: the text does not have one placeholder for each image.
        """
        first, *others = text.split(self._token) if self._token else [text]
        if len(others) != len(sizes):
            raise ReaderError(
                f"the prompt has {len(others)} placeholders for {len(sizes)} images: "
                "this reader's chat template is not supported"
            )
        texts = self.image_texts(sizes)
        return first + "".join(x + y for x, y in zip(texts, others, strict=True))

    def image_texts(self, sizes: Sequence[ImageSize]) -> list[str]:
        """The text that replaces the placeholder of each image of one prompt."""
        # LLaVA-OneVision cuts an image into tiles only if it is the only one.
        return [self._cached_text(size, len(sizes) > 1) for size in sizes]

    def _image_text(self, size: ImageSize, several: bool) -> str:
        """Depends on the size alone, so a blank image is processed."""
        count = 2 if several else 1
        blank = Image.new("RGB", size)
        processed = self._process(
            [self._token * count],
            [[blank] * count],
            add_special_tokens=False,
            return_text_replacement_offsets=True,
        )
        return str(processed["text_replacement_offsets"][0][0]["replacement"])


class ImageOpener:
    """Opens images at the size that the model sees.

    Args:
        max_pixels: pixels of one image; larger ones are scaled down. None keeps their size.
    """

    def __init__(self, max_pixels: int | None = None) -> None:
        self._max_pixels = max_pixels
        self._file_size = lru_cache(maxsize=1024)(self._size_of_version)

    def open(self, image: ImageSource) -> Image.Image:
        """The image, upright and in RGB. Raises BadImage or Missing, as `images.load` does."""
        return images.scale_down(_limit_aspect_ratio(images.load(image)), self._max_pixels)

    def size(self, image: ImageSource) -> ImageSize:
        """Width and height as the model sees it. Cached for files: the budget calls this often."""
        version = _file_version(image) if isinstance(image, (str, Path)) else None
        return self.open(image).size if version is None else self._file_size(image, version)

    def _size_of_version(self, image: str | Path, version: tuple[int, ...]) -> ImageSize:
        """`version` is a key of the cache, so that a changed file is opened again."""
        return self.open(image).size


def _limit_aspect_ratio(image: Image.Image) -> Image.Image:
    """The image, at most MAX_ASPECT_RATIO times as long as wide, with about as many pixels."""
    short, long = sorted(image.size)
    if long <= MAX_ASPECT_RATIO * short:
        return image
    width = math.isqrt(short * long // MAX_ASPECT_RATIO)
    sides = (width, MAX_ASPECT_RATIO * width)
    by_height = image.height > image.width
    return image.resize(sides if by_height else sides[::-1], Image.Resampling.BICUBIC)


def _file_version(path: str | Path) -> tuple[int, ...] | None:
    """Identifies a file and its state; None if `images.load` is going to refuse it."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):  # ValueError: NUL in the name
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
