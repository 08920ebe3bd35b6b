"""The tree of settings of a training: what a file given to `rag-vqa train --config` may say.

It knows names, types and defaults, and which go together. It does not open models or data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import Field

from rag_vqa.errors import UsageError
from rag_vqa.retriever.training.loop import Plan
from rag_vqa.retriever.training.sources.settings import SourceSettings
from rag_vqa.retriever.training.variant import Variant
from rag_vqa.sections import Dtype, Section

Tower: TypeAlias = Literal["frozen", "trained", "lora"]
# What may change between the runs that one training goes through: no weight depends on it.
FREE = ("out", "save_every", "log_every", "tensorboard", "data.workers")


class ModelSettings(Section):
    """A retriever from nothing, or from two towers.

    Attributes:
        config: values of RetrieverConfig; `passage_config` is `query_config` where it is left out.
        text, vision: folders or hub ids of CLIP checkpoints whose towers it begins with; their
            configurations stand where `config` has none. None: random.
    """

    config: dict[str, Any] = Field(default_factory=dict)
    text: str | None = None
    vision: str | None = None


class TowerSettings(Section):
    """What becomes of the two towers. `rank`: of the matrices of LoRA."""

    text: Tower = "frozen"
    vision: Tower = "frozen"
    rank: int = Field(default=8, ge=1)


class DataSettings(Section):
    """What is trained on. `validation`: what decides which step is kept as OUT/best, by recall@1
    of its first `validation_pairs` pairs among their passages; none: OUT/last alone is written.

    `workers`: processes that draw and decode.
    """

    train: tuple[SourceSettings, ...]
    validation: SourceSettings | None = None
    validation_pairs: int = Field(default=500, ge=1)
    workers: int = Field(default=0, ge=0)


class LossSettings(Section):
    """`symmetric`: passages find their queries, too. `scale` multiplies scores, and is learned
    from there on under `learn_scale`."""

    symmetric: bool = True
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    learn_scale: bool = False


class TrainSettings(Section):
    """Everything that a training is told.

    Attributes:
        out: the folder of all that is written: best/, last/, log.jsonl, state/.
        start: the checkpoint that it begins with: a folder, a hub id, or demo. Or `model`.
        side: "query" leaves the passage side, and so every knowledge base, as it is.
        batch: pairs of a step, of all processes together. chunks: parts that a process computes
            one after the other, for memory; the gradients are those of the whole.
        matrix_rate: of Muon's matrices; `rate` is of all else, and of everything under adamw.
        clip: the longest that all gradients together may be.
        dtype: of the weights in best/ and last/.
    """

    out: Path
    start: str | None = None
    model: ModelSettings | None = None
    variant: Variant = Variant()
    towers: TowerSettings = TowerSettings()
    side: Literal["both", "query"] = "both"
    data: DataSettings
    steps: int = Field(ge=1)
    batch: int = Field(default=32, ge=1)
    chunks: int = Field(default=1, ge=1)
    optimizer: Literal["adamw", "muon"] = "adamw"
    rate: float = Field(default=1e-4, gt=0, allow_inf_nan=False)
    matrix_rate: float = Field(default=0.02, gt=0, allow_inf_nan=False)
    warmup: int = Field(default=50, ge=0)
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    clip: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    loss: LossSettings = LossSettings()
    seed: int = Field(default=0, ge=0)
    save_every: int = Field(default=200, ge=1)
    validate_every: int = Field(default=200, ge=1)
    log_every: int = Field(default=20, ge=1)
    tensorboard: bool = False
    tokenizer: str | None = None
    image_processor: str | None = None
    instruction: str | None = None
    dtype: Dtype = "float32"

    def checked(self) -> TrainSettings:
        """Itself, if what it says goes together. Raises UsageError."""
        if (self.start is None) == (self.model is None):
            raise UsageError("name what to begin with: start: CHECKPOINT, or model: …, one of both")
        if self.start is not None and self.variant != Variant():
            raise UsageError("variant changes a model: that of `start` is what it is. Use model:")
        if self.side == "query" and (self.towers.text, self.towers.vision) != ("frozen", "frozen"):
            raise UsageError(
                "side: query leaves the passage side as it is, and both sides share the towers: "
                "they stay frozen."
            )
        if not self.data.train:
            raise UsageError("data.train names no source.")
        return self

    def plan(self) -> Plan:
        """The loop's part of it."""
        return Plan(**{name: getattr(self, name) for name in Plan.__dataclass_fields__})

    def identity(self) -> dict[str, Any]:
        """All that the weights depend on, as JSON."""
        tree: dict[str, Any] = self.model_dump(mode="json")
        for name in FREE:
            *sections, key = name.split(".")
            inner = tree
            for section in sections:
                inner = inner[section]
            del inner[key]
        return tree
