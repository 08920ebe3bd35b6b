"""Settings of a training and of its data: what `rag-vqa train --config FILE` may contain.

Knows names, types, defaults, and which settings go together. Does not open models or data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import Field

from rag_vqa.errors import UsageError
from rag_vqa.retriever.modeling.configuration import Fusion
from rag_vqa.settings_schema import Dtype, Section

OnBad: TypeAlias = Literal["stop", "skip"]
Tower: TypeAlias = Literal["frozen", "trained", "lora"]
# What may change between the runs that one training goes through: no weight depends on it.
MAX_WARMUP_STEPS = 50  # steps at most, where nothing is said of it
CHANGEABLE = ("out", "save_every", "log_every", "tensorboard", "data.workers")
VALIDATION_SEED = (
    1_000_003  # of what is drawn: nobody trains with it, or endless sources would give the same
)


class Variant(Section):
    """What differs from a configuration; None leaves it as it is.

    Attributes:
        gates: False adds what is read of each modality to the state, without input or forget gate.
        layers: "last" is one step, on the last layer of each tower.
        fusion: "text" or "image" reads that modality alone.
        tokens: learned queries, and so features of an item, before pooling.
        pool: one vector an item, the mean of its tokens.
        one_model: one cell and one projection for both sides.
    """

    gates: bool | None = None
    layers: Literal["last"] | None = None
    fusion: Fusion | None = None
    tokens: int | None = None
    pool: bool | None = None
    one_model: bool | None = None


class SourceSettings(Section):
    """One source.

    Attributes:
        format: pairs, m2kr (both forms), mbeir, infoseek, evqa (pages), or one that the program
            makes itself, as "flags".
        questions: the folder of the files; of pairs and m2kr also the file itself.
        documents: a file that `kb build` reads, for what rows name by an id; each document is one
            passage, as of a knowledge base with --split none.
        images, document_images: folders of the pictures of rows and of documents; by default
            those that `data check` and `kb build` take.
        split, task: as of `data check`; the split is "train" by default.
        instructions: one is drawn for each row, each time; none: the row's own, or the one that
            use puts before questions without.
        negatives: a file of `train mine`, beside those that the rows bring.
        hard: negatives of each row in each step, drawn of those; where they are fewer, the rest
            are any other documents of the source.
        weight: how often a row is seen where one of weight 1 is seen once; a source without end
            counts for so many rows.
        on_bad: what becomes of a row that cannot be used: all ends, or the row is left out.
    """

    format: str
    questions: Path | None = None
    documents: Path | None = None
    images: Path | None = None
    document_images: Path | None = None
    split: str | None = None
    task: str | None = None
    instructions: tuple[str, ...] = ()
    negatives: Path | None = None
    hard: int = Field(default=0, ge=0)
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    on_bad: OnBad = "stop"


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
    seed: int = Field(
        default=0, ge=0, lt=VALIDATION_SEED
    )  # with that one it would train on what validates
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

    def plan(self) -> TrainingPlan:
        """The loop's part of it."""
        told = {name: getattr(self, name) for name in TrainingPlan.__dataclass_fields__}
        if self.warmup is None:
            told["warmup"] = min(MAX_WARMUP_STEPS, self.steps // 10)
        return TrainingPlan(**told)

    def identity(self) -> dict[str, Any]:
        """All that the weights depend on, as JSON."""
        tree: dict[str, Any] = self.model_dump(mode="json")
        for name in CHANGEABLE:
            *sections, key = name.split(".")
            inner = tree
            for section in sections:
                inner = inner[section]
            del inner[key]
        return tree


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast. Rates are by step, never by the clock."""

    steps: int
    warmup: int = 50
    optimizer: str = "muon"
    matrix_rate: float = 0.02
    rate: float = 2e-3
    weight_decay: float = 0.01
    clip: float = 1.0
    log_every: int = 50
    save_every: int = 200
    validate_every: int = 200
    seed: int = 0
