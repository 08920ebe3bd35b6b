"""Encodes prompts as model inputs: chat template, image tokens, neutralised text, token counts.

Knows processors and what must hold for their output: token counts are exact, and no document adds a
control token. Opens images at the size that the model sees. Does not know models, devices or
servers. Both back ends use it, the remote one only where a tokenizer is named.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from PIL import Image

from rag_vqa import images
from rag_vqa.errors import ReaderError
from rag_vqa.images import scale_down
from rag_vqa.readers.neutralise import Neutraliser, chat_messages, neutralise_parts, untrusted_role
from rag_vqa.types import ImagePart, ImageSource, Part, Prompt, TextPart

ImageSize = tuple[int, int]  # width, height
MAX_ASPECT_RATIO = 100  # sides of a picture as one to so many: Qwen's processors refuse 1 to 200


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
        self._opened = ImageOpener(max_pixels)
        self._context = context
        self._longest_token = max(map(len, self._tokenizer.get_vocab()))  # in characters
        self._placeholders = ImagePlaceholders(self._process, processor.image_token)
        # What stands for a picture's features; Gemma's processor has another one before them.
        self.image_ids = frozenset(processor.image_token_ids)
        # SmolVLM's tokenizer does not know <video>, and its processor refuses a text that has it.
        named = vars(processor).items()
        marks = [x for name, x in named if name.endswith("_token") and isinstance(x, str)]
        self.neutralise = Neutraliser(
            self._tokenizer, processor.chat_template, self._frame(), marks
        )

    def _frame(self) -> list[str]:
        """What the chat template writes around the turns of user and system."""
        system, user = TextPart("\0", role="system"), TextPart("\0")
        frame = self.render([user], raw=True).split("\0")
        try:
            return frame + self.render([system, user], raw=True).split("\0")
        except ReaderError:  # some templates take no system: then they write no header of one
            return frame

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
        pairs = zip(prompts, self._sizes(prompts), strict=True)
        return [
            self._ids(self._placeholders.expanded(self.render(prompt.parts), sizes))
            for prompt, sizes in pairs
        ]

    def mark_images(
        self, prompts: Sequence[Prompt], rows: Sequence[Sequence[int]]
    ) -> list[list[int]]:
        """`ids` in which the tokens of different pictures differ: each picture of a prompt has a
        number below zero, the same one in every prompt that shows it at the same place."""
        numbers: dict[tuple[int, str | bytes | Path, str], int] = {}
        named: dict[int, str | bytes | Path] = {}
        apart = []
        for prompt, row, sizes in zip(prompts, rows, self._sizes(prompts), strict=True):
            marks: list[int] = []
            grown = zip(prompt_images(prompt), self._placeholders.grown(sizes), strict=True)
            for nth, (image, written) in enumerate(grown):
                if id(image) not in named:
                    named[id(image)] = _image_identity(image)
                key = (nth, named[id(image)], written)
                number = numbers.setdefault(key, -1 - len(numbers))
                marks += [number] * sum(i in self.image_ids for i in self._ids(written))
            own = list(row)
            places = [place for place, i in enumerate(row) if i in self.image_ids]
            for place, mark in zip(places, marks, strict=True):
                own[place] = mark
            apart.append(own)
        return apart

    def _sizes(self, prompts: Sequence[Prompt]) -> list[list[tuple[int, int]]]:
        measured: dict[int, tuple[int, int]] = {}
        for image in (image for prompt in prompts for image in prompt_images(prompt)):
            if id(image) not in measured:
                measured[id(image)] = self._opened.size(image)
        return [[measured[id(image)] for image in prompt_images(prompt)] for prompt in prompts]

    @cached_property
    def has_independent_images(self) -> bool:
        """Whether a picture is one array of `pixel_values` and nothing else, whatever is beside
        it: then it can be read apart from what stands before it. No tiles, no positions of its
        own, no attention in both directions, all of which come with inputs of other names."""
        blank = [Image.new("RGB", size) for size in ((32, 32), (96, 64))]
        made = self._process(
            [self._processor.image_token * 2],
            [blank],
            return_tensors="pt",
            add_special_tokens=False,
        )
        own = set(made) - {"input_ids", "attention_mask"}
        return own == {"pixel_values"} and len(made["pixel_values"]) == len(blank)

    def pixels(self, images: Sequence[ImageSource]) -> torch.Tensor:
        """(pictures, C, H, W): these pictures, one or more, where they are
        `has_independent_images`."""
        opened = [self._opened.open(image) for image in images]
        made = self._processor.image_processor(images=opened, return_tensors="pt")
        return torch.as_tensor(made["pixel_values"])

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
        return [self._opened.open(image) for image in prompt_images(prompt)]

    def render(self, parts: Sequence[Part], raw: bool = False) -> str:
        """The chat as one string, a placeholder for each picture. `raw` leaves text as it is."""
        shown = parts if raw else neutralise_parts(parts, self.neutralise)
        chat = [
            {"role": role, "content": [_template_content(each) for each in contents]}
            for role, contents in chat_messages(shown)
        ]
        try:
            return str(
                # Of the tokenizer: SmolVLM's processor asks its video part first.
                self._tokenizer.apply_chat_template(
                    chat,
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


def prompt_images(prompt: Prompt) -> list[ImageSource]:
    """The prompt's pictures, in order."""
    return [part.image for part in prompt.parts if isinstance(part, ImagePart)]


def _image_identity(image: ImageSource) -> str | bytes | Path:
    """What equal pictures share, and others do not."""
    if isinstance(image, (str, bytes, Path)):
        return image
    return sha256(f"{image.mode} {image.size} ".encode() + image.tobytes()).digest()


def _template_content(content: str | ImagePart) -> dict[str, str]:
    return {"type": "text", "text": content} if isinstance(content, str) else {"type": "image"}


class ImagePlaceholders:
    """Writes prompts out as the processor does, without the pictures themselves.

    Args:
        process: the processor, called as process(texts, pictures of each text, options).
        token: what stands for a picture in the chat template's output.
    """

    def __init__(self, process: Callable[..., Any], token: str) -> None:
        self._process = process
        self._token = token
        self._written = lru_cache(maxsize=256)(self._write)

    def expanded(self, text: str, sizes: Sequence[ImageSize]) -> str:
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

    def grown(self, sizes: Sequence[ImageSize]) -> list[str]:
        """What each picture of one prompt becomes."""
        # LLaVA-OneVision cuts a picture into tiles only where it is the only one.
        return [self._written(size, len(sizes) > 1) for size in sizes]

    def _write(self, size: ImageSize, in_company: bool) -> str:
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


class ImageOpener:
    """Opens pictures.

    Args:
        max_pixels: of one picture; larger ones are scaled down. None leaves them as they are.
    """

    def __init__(self, max_pixels: int | None = None) -> None:
        self._max_pixels = max_pixels
        self._file_size = lru_cache(maxsize=1024)(self._size_of_version)

    def open(self, image: ImageSource) -> Image.Image:
        """The picture, upright and in RGB. Raises BadImage or Missing, as `images.load`."""
        return scale_down(_limit_aspect_ratio(images.load(image)), self._max_pixels)

    def size(self, image: ImageSource) -> tuple[int, int]:
        """Width and height as the model sees it. The budget asks often: files are decoded once."""
        version = _file_version(image) if isinstance(image, (str, Path)) else None
        return self.open(image).size if version is None else self._file_size(image, version)

    def _size_of_version(self, image: str | Path, version: tuple[int, ...]) -> tuple[int, int]:
        """`version` is for the cache alone, so that a file that changed is opened again."""
        return self.open(image).size


def _limit_aspect_ratio(picture: Image.Image) -> Image.Image:
    """A strip more than SLIMMEST times as long as wide, at that ratio and about as many pixels."""
    short, long = sorted(picture.size)
    if long <= MAX_ASPECT_RATIO * short:
        return picture
    width = math.isqrt(short * long // MAX_ASPECT_RATIO)
    sides = (width, MAX_ASPECT_RATIO * width)
    by_height = picture.height > picture.width
    return picture.resize(sides if by_height else sides[::-1], Image.Resampling.BICUBIC)


def _file_version(path: str | Path) -> tuple[int, ...] | None:
    """Which file, and which state of it; None for what `images.load` is going to refuse."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):  # ValueError: NUL in the name
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
