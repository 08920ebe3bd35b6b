"""ReT's preprocessing: text and images to tensors, as the release does it, or with EXIF applied.

Knows the tokenizer, the image processor, and what stands for an absent text or image. It is a
processor of transformers: AutoProcessor loads it. Does not decode files itself (images.py) and does
not know instructions or batching.
"""

import json
from collections.abc import KeysView, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor, ProcessorMixin

from rag_vqa.checkpoints import processor_source
from rag_vqa.errors import Missing, UsageError
from rag_vqa.hub.model_cache import find_snapshot, is_hub_id
from rag_vqa.hub.model_files import ensure_available
from rag_vqa.images import load
from rag_vqa.retriever.image_workers import ImageTransform
from rag_vqa.retriever.modeling.configuration import RetConfig, RetrieverConfig, load_sides
from rag_vqa.types import ImageSource

BLANK_IMAGE_SIZE = (336, 336)  # of the black image that the release puts for an absent one


@dataclass(frozen=True)
class RetInputs:
    """A batch for RetModel.forward: B items, L tokens, S pixels a side.

    Attributes:
        input_ids, attention_mask: (B, L) int64; an absent text is the tokenizer's start and end
            marks.
        pixel_values: (U, 3, S, S) float32, each picture once; None if all are absent.
        image_index: (B) int64, which picture an item has; None if all are absent.
        text_mask, image_mask: (B) float32, 0 = absent.

    `model(**inputs)` takes it as it is, like the inputs of any processor of transformers.
    """

    input_ids: Tensor
    attention_mask: Tensor
    pixel_values: Tensor | None
    text_mask: Tensor
    image_mask: Tensor
    image_index: Tensor | None = None

    def keys(self) -> KeysView[str]:
        """Names of the arguments of RetModel.forward."""
        return vars(self).keys()

    def __getitem__(self, name: str) -> Tensor | None:
        value: Tensor | None = vars(self)[name]
        return value

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Self:
        """The same on a device; pixels and masks in `dtype`."""
        return type(self)(**self.to_device(torch.device(device), dtype))  # type: ignore[arg-type]

    def to_device(
        self, device: torch.device, dtype: torch.dtype | None = None
    ) -> dict[str, Tensor | None]:
        """Keyword arguments of RetModel.forward; pixels and masks in the model's dtype."""
        moved: dict[str, Tensor | None] = {}
        for name, value in vars(self).items():
            is_integer = value is not None and not value.is_floating_point()
            moved[name] = None if value is None else value.to(device, None if is_integer else dtype)
        return moved

    def take(self, rows: Tensor) -> Self:
        """These items, with the pictures that they have."""
        taken = {
            name: None if value is None else value[rows]
            for name, value in vars(self).items()
            if name != "pixel_values"
        }
        pixels = self.pixel_values
        if pixels is not None and self.image_index is not None:
            rows, taken["image_index"] = torch.unique(self.image_index[rows], return_inverse=True)
        return type(self)(
            pixel_values=None if pixels is None else pixels[rows],
            **taken,  # type: ignore[arg-type]
        )


class RetProcessor(ProcessorMixin):  # type: ignore[misc]
    """Makes RetInputs. `parity` ignores EXIF orientation, to follow the release to the pixel."""

    def __init__(
        self, tokenizer: Any, image_processor: Any, *, window: int = 77, parity: bool = False
    ) -> None:
        """`window`: number of text tokens that the tower reads, start and end marks included."""
        # Not by ProcessorMixin, which needs both: pictures alone need no tokenizer.
        self.tokenizer, self.image_processor, self.chat_template = tokenizer, image_processor, None
        self.window, self.parity = window, parity

    @classmethod
    def from_pretrained(cls, source: str | Path, **options: Any) -> Self:
        """The processor of a checkpoint, as AutoProcessor loads it.

        Args:
            source: folder or hub id of a retriever, or of one side of it.
            options: `revision`, `local_files_only`; and `tokenizer`, `image_processor` and `parity`
                as for `load`. Other options of transformers change nothing here.

        Raises Missing as `load`, UsageError if the checkpoint is no retriever.
        """
        location = {name: options[name] for name in ("revision", "local_files_only")
                    if options.get(name) is not None}  # fmt: skip
        own = {name: options[name] for name in ("tokenizer", "image_processor", "parity")
               if name in options}  # fmt: skip
        return cls.load(
            source,
            load_sides(source, **location)[0],
            revision=location.get("revision"),
            offline=bool(location.get("local_files_only", False)),
            **own,
        )

    def save_pretrained(self, folder: str | Path, **options: Any) -> list[str]:
        """Write tokenizer and image processor where every version of transformers looks for them.

        `options` as transformers takes them, `push_to_hub` among them.
        """
        self.tokenizer.backend_tokenizer.no_truncation()  # left from the last call, no property
        self.tokenizer.backend_tokenizer.no_padding()
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.image_processor.save_pretrained(folder)
        written: list[str] = super().save_pretrained(str(folder), **options)
        return written

    @classmethod
    def load(
        cls,
        source: str | Path,
        config: RetConfig,
        *,
        tokenizer: str | Path | None = None,
        image_processor: str | Path | None = None,
        revision: str | None = None,
        parity: bool = False,
        offline: bool = False,
    ) -> Self:
        """Find tokenizer and image processor: the given ones, the checkpoint's own, the towers'.

        Released configurations may name paths of their authors' machines. For known checkpoints
        this then uses their known processors (`checkpoints.processor_source`); for others give
        `tokenizer` and `image_processor`, each a folder or a hub id.

        Raises Missing if one of them does not load.
        """
        # CLIPImageProcessor's PIL form: no torchvision, bit-identical for RGB.
        from transformers import AutoTokenizer, CLIPImageProcessorPil

        own = str(source)
        positions: int = getattr(config.text_config, "max_position_embeddings", 77)
        files = ("tokenizer_config.json", "preprocessor_config.json")
        text = _find_source(tokenizer, own, revision, files[0], config.text_config)
        vision = _find_source(image_processor, own, revision, files[1], config.vision_config)
        # A revision pins the checkpoint's repository, never another one.
        commits = [revision if place == own else None for place in (text, vision)]
        hint = "--set retriever.tokenizer=… and --set retriever.image_processor=…"
        try:
            options = [
                ensure_available(place, commit, offline=offline, marker=file)
                for place, commit, file in zip((text, vision), commits, files, strict=True)
            ]
        except Missing as error:
            raise Missing(
                f"{error} {source} needs its tokenizer ({text!r}) or image processor ({vision!r}). "
                f"Others can be named with {hint}"
            ) from error
        try:
            words = AutoTokenizer.from_pretrained(text, trust_remote_code=False, **options[0])
            return cls(
                words,
                CLIPImageProcessorPil.from_pretrained(vision, **options[1]),
                # A tokenizer without a length says 1e30, and positions would overflow.
                window=min(words.model_max_length, positions),
                parity=parity,
            )
        except Exception as error:  # tokenizers raise Exception itself
            reason = type(error).__name__ + f": {error}".splitlines()[0]
            raise Missing(
                f"{source}: its tokenizer ({text!r}) or image processor ({vision!r}) does not "
                f"load ({reason}). Name others with {hint}"
            ) from error

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, start and end marks included, not truncated."""
        return len(self.tokenizer(text, truncation=False, verbose=False)["input_ids"])

    def __call__(
        self,
        text: str | Sequence[str] | None = None,
        images: ImageSource | Sequence[ImageSource | None] | None = None,
        **options: Any,
    ) -> RetInputs:
        """The inputs of B items.

        Args:
            text: of each item, "" if it has none; a single text is one item; None: no item has any.
            images: as `text`; None or "" for an item without one. Paths, bytes or PIL images.
            options: `return_tensors="pt"`, which is how it returns them anyway.

        Raises UsageError for another option, or for lists of different lengths.
        """
        if set(options) - {"return_tensors"} or options.get("return_tensors", "pt") != "pt":
            raise UsageError(f"RetProcessor: {options}: only return_tensors='pt' is known")
        texts, images = _match_items(text, images)
        text_mask = torch.tensor([float(bool(text)) for text in texts])
        absent = [image is None or image == "" for image in images]
        image_mask = torch.tensor([float(not missing) for missing in absent])
        # Even if all texts are absent: joint training has the query side read the marks, and the
        # text tower does not run where text_mask is 0 anyway.
        words = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.window,
            return_tensors="pt",
        )
        pixels = index = None
        if image_mask.any():
            # Sections of one page share its picture, which is read and encoded once.
            names = [str(i) if isinstance(i, str | Path) else id(i) for i in images]
            first = {name: row for row, name in reversed([*enumerate(names)])}
            order = {name: place for place, name in enumerate(first)}
            index = torch.tensor([order[name] for name in names])
            pixels = self.pixels([self._open_image(images[row]) for row in first.values()])
        return RetInputs(
            words["input_ids"], words["attention_mask"], pixels, text_mask, image_mask, index
        )

    def _open_image(self, image: ImageSource | None) -> Image.Image:
        if image is None or image == "":
            return Image.new("RGB", BLANK_IMAGE_SIZE)
        transform = self.image_transform
        return transform.shrink(load(image, exif=transform.exif))

    @property
    def image_transform(self) -> ImageTransform:
        """How pictures are opened and made small before this processor gets them."""
        return ImageTransform.from_processor(self.image_processor, exif=not self.parity)

    def update_digest(self, digest: Any) -> None:
        """Feed the tokenizer, the image processor and the options to a digest."""
        words = json.loads(self.tokenizer.backend_tokenizer.to_str())
        words["truncation"] = words["padding"] = None  # left from the last call, not a property
        digest.update(json.dumps(words, sort_keys=True).encode())
        image = self.image_processor.to_dict()
        digest.update(json.dumps(image, sort_keys=True, default=str).encode())
        digest.update(f"parity={self.parity} window={self.window}".encode())

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """RGB images → (B, 3, S, S) float32."""
        out: Tensor = self.image_processor(images=list(images), return_tensors="pt")["pixel_values"]
        return out


def _match_items(
    text: str | Sequence[str] | None, images: ImageSource | Sequence[ImageSource | None] | None
) -> tuple[list[str], list[ImageSource | None]]:
    """A text and an image for each item."""
    texts = [text] if isinstance(text, str) else None if text is None else list(text)
    one = isinstance(images, str | Path | bytes | Image.Image)
    pictures: list[Any] | None = [images] if one else None if images is None else list(images)  # type: ignore[arg-type]
    count = len(texts if texts is not None else pictures or ())
    texts = [""] * count if texts is None else texts
    pictures = [None] * count if pictures is None else pictures
    if len(texts) != len(pictures) or not count:
        raise UsageError(
            f"RetProcessor: {len(texts)} texts and {len(pictures)} images: give one of each for "
            "every item, and '' or None where it has none"
        )
    return texts, pictures


def _find_source(
    requested: str | Path | None, checkpoint: str, revision: str | None, marker: str, tower: Any
) -> str:
    """Where to load a tokenizer or an image processor from: a folder or a hub id.

    Args:
        requested: what the caller named.
        checkpoint: the checkpoint, which has its own if the file `marker` is there.
        tower: the configuration of the tower, which may name the checkpoint it came from.
    """
    if requested is not None:
        return str(requested)
    folder = Path(checkpoint) if Path(checkpoint).is_dir() else find_snapshot(checkpoint, revision)
    if folder is not None and (folder / marker).exists():
        return checkpoint
    named = str(getattr(tower, "_name_or_path", "") or getattr(tower, "name_or_path", ""))
    if named and (Path(named).is_dir() or is_hub_id(named)):
        return named
    return processor_source(checkpoint) or named or checkpoint


# So that AutoProcessor knows our checkpoints, with a processor_config.json or without.
for _config in (RetConfig, RetrieverConfig):
    AutoProcessor.register(_config, RetProcessor, exist_ok=True)
