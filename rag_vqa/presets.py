"""Named choices of models for a size of machine: what they are, weigh, need, and under what terms.

It knows nothing of loading or downloading. The models themselves are in checkpoints.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rag_vqa import memory
from rag_vqa.checkpoints import MODELS as MODELS
from rag_vqa.checkpoints import Model
from rag_vqa.errors import UsageError
from rag_vqa.settings import EMBEDDED

Quantization = Literal["nf4", "int8", "none"]
GB = 1e9
CONTEXT = 8192  # tokens of prompt and answer, those of LocalReader
_NEW_TOKENS = 128  # of an answer, where nothing else is known of the reader
_EMBEDDED = 0.1 * GB  # of the embedded models, beside what any process takes; measured


@dataclass(frozen=True)
class Preset:
    """Models and limits for one size of machine.

    Attributes:
        retriever, reader: ids of MODELS.
        max_context: tokens of prompt and answer.
        on_cpu: the reader computes in 32 bits, as it does there, and not in 16.
        retriever_dtype: "float16" halves its weights; tokens are stored in it in any case.
    """

    name: str
    about: str
    retriever: str
    reader: str
    quantization: Quantization
    k: int
    max_pixels: int | None = None
    max_images: int | None = None
    max_new_tokens: int | None = None
    max_context: int = CONTEXT
    on_cpu: bool = False
    retriever_dtype: Literal["float32", "float16"] = "float32"

    @property
    def models(self) -> tuple[Model, ...]:
        """What it downloads: nothing for the embedded one."""
        names = (self.retriever, self.reader, processors(self.retriever))
        return tuple(MODELS[name] for name in names if name in MODELS)

    @property
    def download(self) -> float:
        """Bytes of it all."""
        return sum(model.download for model in self.models)

    @property
    def needs(self) -> Mapping[str, float]:
        """Bytes by part, at the longest prompt that its limits let through; see `memory`."""
        runtime = memory.RUNTIME_CPU if self.on_cpu else memory.RUNTIME_GPU
        if not self.models:
            return {"runtime": memory.RUNTIME_CPU, "models": _EMBEDDED}
        shape = MODELS[self.reader].shape
        if shape is None:
            raise UsageError(f"the memory of {self.reader} is not known")
        load = memory.Load(
            self.quantization,
            self.max_context,
            self.max_images or 1,
            self.max_pixels,
            number=4 if self.on_cpu else 2,  # float32 on a CPU, bfloat16 on a GPU
            on_cpu=self.on_cpu,
        )
        weights = MODELS[self.retriever].parameters * memory.BYTES[self.retriever_dtype]
        return {"runtime": runtime, "retriever": weights, **memory.reader(shape, load)}

    @property
    def memory(self) -> float:
        """Bytes needed to ask, computed, not measured."""
        return sum(self.needs.values())

    @property
    def layer(self) -> dict[str, Any]:
        """The preset as the lowest layer of settings.

        The embedded reader's limits are not in it: they come with that reader, see `limits`.
        """
        own = self.reader == EMBEDDED
        return {
            "k": self.k,
            "retriever": {"model": self.retriever, "dtype": self.retriever_dtype},
            "reader": {
                "model": self.reader,
                "quantization": self.quantization,
                "max_pixels": None if own else self.max_pixels,
                "max_images": None if own else self.max_images,
                "max_new_tokens": None if own else self.max_new_tokens,
                "max_context": None if own else self.max_context,
            },
        }


_L, _H, _G = (f"aimagelab/ReT-{name}" for name in ("CLIP-ViT-L-14", "OpenCLIP-ViT-H-14",
                                                   "OpenCLIP-ViT-G-14"))  # fmt: skip
PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("demo", "the embedded models: flags, offline", EMBEDDED, EMBEDDED, "nf4", k=3,
               max_images=8, max_new_tokens=48, max_context=1088),
        Preset("laptop", "CPU, 8 GB of memory", _L, "Qwen/Qwen3-VL-2B-Instruct", "nf4", k=3,
               max_pixels=512 * 512, max_images=1, max_context=2048, on_cpu=True),
        Preset("12gb", "one GPU of 12 GB", _L, "Qwen/Qwen3-VL-8B-Instruct", "nf4", k=5,
               max_pixels=768 * 768, max_images=3, max_context=5120,
               retriever_dtype="float16"),
        Preset("24gb", "one GPU of 24 GB", _H, "Qwen/Qwen3-VL-8B-Instruct", "int8", k=5,
               max_pixels=1024 * 1024, max_images=4),
        Preset("80gb", "one GPU of 80 GB", _G, "Qwen/Qwen3-VL-32B-Instruct", "int8", k=10,
               max_pixels=1024 * 1024, max_images=6),
    )
}  # fmt: skip


def preset(name: str) -> Preset:
    """The preset of that name, or an error that lists them."""
    if not isinstance(name, str) or name not in PRESETS:  # a file may hold anything
        raise UsageError(f"There is no preset {name!r}. There are: {', '.join(PRESETS)}")
    return PRESETS[name]


def preset_layer(name: str | None) -> dict[str, Any]:
    """The lowest layer of settings.

    None: the demo's, with no model named, so that using the embedded ones is announced.
    """
    layer = preset(name or "demo").layer
    if name is None:
        del layer["retriever"]["model"], layer["reader"]["model"]
    return layer


def limits(model: str) -> dict[str, Any]:
    """Options of `LocalReader` for this model, where none are given."""
    if model != EMBEDDED:
        return {"max_new_tokens": _NEW_TOKENS}
    demo = preset(EMBEDDED)
    return {"max_images": demo.max_images, "max_new_tokens": demo.max_new_tokens}


def revision(model: str | None, asked: str | None) -> str | None:
    """The revision to load: the one asked for, else the one known for this model, else None."""
    known = MODELS.get(model or "")
    return asked or (known.revision if known else None)


def instruction(model: str | None, has_text: bool, asked: str | None = None) -> str | None:
    """The instruction for one query; None leaves the choice to the checkpoint."""
    known = MODELS.get(model or "")
    if asked is not None or known is None or known.instructions is None:
        return asked
    return known.instructions["question" if has_text else "image"]


def processors(model: str) -> str:
    """What tokenizer and image processor of a retriever can be taken from; "" if not known."""
    known = MODELS.get(model)
    return known.processors if known else ""


def terms(model: str) -> str:
    """One line on licence and size, said before a download."""
    known = MODELS.get(model)
    if known is None:
        return f"{model}: licence and size not known to rag-vqa, read its model card"
    limits = "" if known.commercial else ", NON-COMMERCIAL USE ONLY"
    note = f" ({known.note})" if known.note else ""
    return f"{model}: {size(known.download)}, licence {known.licence}{limits}{note}"


def size(count: float) -> str:
    """Bytes as a person reads them.

    >>> size(17.53e9), size(3.6e6)
    ('17.5 GB', '4 MB')
    """
    return f"{count / GB:.1f} GB" if count >= 0.05 * GB else f"{count / 1e6:.0f} MB"
