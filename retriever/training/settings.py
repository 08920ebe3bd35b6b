"""The tree of settings of a training: what a file given to `rag-vqa train --config` may say.

It knows names, types and defaults, and which go together. It does not open models or data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import Field

from rag_vqa.errors import UsageError
from rag_vqa.retriever.training.held_out import SEED
from rag_vqa.retriever.training.loop import Plan
from rag_vqa.retriever.training.sources.settings import SourceSettings
from rag_vqa.retriever.training.variant import Variant
from rag_vqa.sections import Dtype, Section

Tower: TypeAlias = Literal["frozen", "trained", "lora"]
# What may change between the runs that one training goes through: no weight depends on it.
WARMUP = 50  # steps at most, where nothing is said of it
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
    from there on under `learn_scale`; None: that of the checkpoint, 1 of a new model."""

    symmetric: bool = True
    scale: float | None = Field(default=None, gt=0, allow_inf_nan=False)
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
        warmup: steps; None: a tenth of all, 50 at most.
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
    warmup: int | None = Field(default=None, ge=0)
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    clip: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    loss: LossSettings = LossSettings()
    seed: int = Field(default=0, ge=0, lt=SEED)  # with that one it would train on what validates
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
        if self.warmup is not None and self.warmup >= self.steps:
            raise UsageError(
                f"warmup is {self.warmup} of {self.steps} steps: the rate would only rise. Leave "
                "it out, or give fewer."
            )
        for folder in self._begins_with():
            if Path(folder).is_dir() and Path(folder).resolve().is_relative_to(self.out.resolve()):
                raise UsageError(
                    f"{folder} lies in {self.out}, which this training writes into: it could "
                    "replace what it begins with. Give another folder with --out."
                )
        return self

    def _begins_with(self) -> list[str]:
        towers = () if self.model is None else (self.model.text, self.model.vision)
        return [one for one in (self.start, *towers, self.tokenizer, self.image_processor) if one]

    def plan(self) -> Plan:
        """The loop's part of it."""
        told = {name: getattr(self, name) for name in Plan.__dataclass_fields__}
        if self.warmup is None:
            told["warmup"] = min(WARMUP, self.steps // 10)
        return Plan(**told)

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
