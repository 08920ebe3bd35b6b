"""Presets: models and limits for one size of machine, and the memory that they need.

Knows which models and limits suit which machine, and adds up their memory. Does not know revisions
or licences (checkpoints.py), and loads or downloads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rag_vqa import memory
from rag_vqa.checkpoints import CHECKPOINTS as MODELS
from rag_vqa.checkpoints import EMBEDDED, Checkpoint, processor_source
from rag_vqa.errors import UsageError
from rag_vqa.formatting import GB
from rag_vqa.types import Quantization

CONTEXT = 8192  # tokens of prompt and answer, the default of LocalReader
_EMBEDDED_MEMORY = 0.1 * GB  # embedded models, without the process itself; measured
_L, _H, _G = (f"aimagelab/ReT-{name}" for name in ("CLIP-ViT-L-14", "OpenCLIP-ViT-H-14",
                                                   "OpenCLIP-ViT-G-14"))  # fmt: skip


@dataclass(frozen=True)
class Preset:
    """Models and limits for one size of machine.

    Attributes:
        retriever, reader: ids of MODELS.
        max_context: tokens of prompt and answer.
        on_cpu: the reader runs on a CPU, so it computes in 32 bits instead of 16.
        retriever_dtype: "float16" halves the weights; tokens are stored in float16 in any case.
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
    def models(self) -> tuple[Checkpoint, ...]:
        """The checkpoints that it downloads; none for the embedded preset."""
        names = (self.retriever, self.reader, processor_source(self.retriever))
        return tuple(MODELS[name] for name in names if name in MODELS)

    @property
    def download(self) -> float:
        """Bytes of the whole download."""
        return sum(model.download for model in self.models)

    @property
    def needs(self) -> Mapping[str, float]:
        """Memory in bytes by part, for the longest prompt within its limits; see `memory`."""
        runtime = memory.RUNTIME_CPU if self.on_cpu else memory.RUNTIME_GPU
        if not self.models:
            return {"runtime": memory.RUNTIME_CPU, "models": _EMBEDDED_MEMORY}
        shape = MODELS[self.reader].shape
        if shape is None:
            raise UsageError(f"the memory of {self.reader} is not known")
        load = memory.Workload(
            self.quantization,
            self.max_context,
            self.max_images or 1,
            self.max_pixels,
            number=4 if self.on_cpu else 2,  # float32 on a CPU, bfloat16 on a GPU
            on_cpu=self.on_cpu,
        )
        weights = MODELS[self.retriever].parameters * memory.BYTES[self.retriever_dtype]
        return {"runtime": runtime, "retriever": weights, **memory.reader_memory(shape, load)}

    @property
    def memory(self) -> float:
        """Memory in bytes that a question needs, computed, not measured."""
        return sum(self.needs.values())

    @property
    def layer(self) -> dict[str, Any]:
        """The preset as the lowest layer of settings.

        Without the limits of the embedded reader, which `reader_limits` adds.
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


def find_preset(name: str) -> Preset:
    """The preset of this name. Raises UsageError, with all names, if there is none."""
    if not isinstance(name, str) or name not in PRESETS:  # a file may hold anything
        raise UsageError(f"There is no preset {name!r}. There are: {', '.join(PRESETS)}")
    return PRESETS[name]


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
        # Readers of 2026, from their cards and configurations of 1 December 2026; not run here.
        Preset("8gb-2026", "one GPU of 8 GB", _L, "Qwen/Qwen3.5-4B", "nf4", k=3,
               max_pixels=768 * 768, max_images=2, max_context=4096,
               retriever_dtype="float16"),
        Preset("12gb-2026", "one GPU of 12 GB", _L, "Qwen/Qwen3.5-9B", "nf4", k=3,
               max_pixels=768 * 768, max_images=2, max_context=4096,
               retriever_dtype="float16"),
        Preset("24gb-2026", "one GPU of 24 GB", _L, "Qwen/Qwen3.5-27B", "nf4", k=5,
               max_pixels=768 * 768, max_images=3, max_context=5120,
               retriever_dtype="float16"),
        Preset("80gb-2026", "one GPU of 80 GB", _G, "Qwen/Qwen3.5-27B", "none", k=10,
               max_pixels=1024 * 1024, max_images=6, retriever_dtype="float16"),
    )
}  # fmt: skip


def preset_layer(name: str | None) -> dict[str, Any]:
    """The lowest layer of settings.

    None gives the layer of "demo" without models, so that the use of the embedded ones is noted.
    """
    layer = find_preset(name or "demo").layer
    if name is None:
        del layer["retriever"]["model"], layer["reader"]["model"]
    return layer


def reader_limits(model: str) -> dict[str, Any]:
    """Default options of the reader for this model; none for most, which take the reader's own."""
    if model != EMBEDDED:
        return {}
    demo = find_preset(EMBEDDED)
    return {"max_images": demo.max_images, "max_new_tokens": demo.max_new_tokens}
