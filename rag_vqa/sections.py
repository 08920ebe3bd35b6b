"""The tree of settings: its sections, their fields, types and defaults.

It knows what can be set. How layers are laid on one another is settings.py's matter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Device: TypeAlias = str
Dtype: TypeAlias = Literal["float32", "bfloat16", "float16"]


class Section(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class RetrieverSettings(Section):
    """Which ReT, and how it runs. `model` None: the embedded one, which is then announced.

    `workers`: processes that open pictures of documents; None: as many as there are cores for.
    """

    model: str | None = None
    revision: str | None = None
    tokenizer: str | None = None
    image_processor: str | None = None
    device: Device = "auto"
    dtype: Dtype = "float32"
    batch_size: int = Field(default=32, ge=1)
    workers: int | None = Field(default=None, ge=0)
    parity: bool = False
    instruction: str | None = None
    index: Literal["auto", "exact", "faiss", "triton"] = "auto"


class ReaderSettings(Section):
    """Which multimodal LLM, and how it runs. `max_pixels` counts one image.

    None of `max_…`: what is known of the model (`presets.limits`), else the reader's own.
    """

    model: str | None = None
    revision: str | None = None
    quantization: Literal["nf4", "int8", "none"] = "nf4"
    device: Device = "auto"
    dtype: Dtype | Literal["auto"] = "auto"
    max_new_tokens: int | None = Field(default=None, ge=1)
    max_pixels: int | None = Field(default=None, ge=1)
    max_images: int | None = Field(default=None, ge=1)
    max_context: int | None = Field(default=None, ge=1)


class PromptSettings(Section):
    """Which template of `rag_vqa.prompts`."""

    template: str = "answer"


class FilterSettings(Section):
    """Which of the documents found are read: all, or those of which the reader itself says so.

    `threshold`: the least P(yes) of the critic; `top`: at most so many, None for no bound.
    """

    name: Literal["none", "critic"] = "none"
    threshold: float = Field(default=0.1, ge=0, le=1)
    top: int | None = Field(default=None, ge=1)


class Settings(Section):
    """Everything that can be set. `k` 0 means: ask the reader without retrieval."""

    preset: str | None = None
    retriever: RetrieverSettings = RetrieverSettings()
    reader: ReaderSettings = ReaderSettings()
    prompt: PromptSettings = PromptSettings()
    filter: FilterSettings = FilterSettings()
    k: int = Field(default=5, ge=0)
    offline: bool = False
    seed: int = 0
    cache_dir: Path | None = None
