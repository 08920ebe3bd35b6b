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
MAX_WARMUP_STEPS = 50  # of the default
# Settings that may change when a training resumes: no weight depends on them.
CHANGEABLE = ("out", "save_every", "log_every", "tensorboard", "data.workers", "licence")
# Draws validation pairs. No training may use it, or endless sources would draw the same pairs.
VALIDATION_SEED = 1_000_003


class Variant(Section):
    """Changes to a model's configuration; None keeps a value.

    Attributes:
        gates: False adds the reading of each modality to the state, without input or forget gate.
        layers: "last" uses one step, on the last layer of each tower.
        fusion: "text" or "image" reads only that modality.
        tokens: learned queries, and so features per item, before pooling.
        pool: one vector per item, the mean of its tokens.
        one_model: one cell and one projection for both sides.
    """

    gates: bool | None = None
    layers: Literal["last"] | None = None
    fusion: Fusion | None = None
    tokens: int | None = None
    pool: bool | None = None
    one_model: bool | None = None


class SourceSettings(Section):
    """One source of training pairs.

    Attributes:
        format: pairs, m2kr (both forms), mbeir, infoseek, evqa (pages), or one that the program
            generates, such as "flags".
        questions: the folder of the files; for pairs and m2kr also the file itself.
        documents: a file that `kb build` reads, for documents that rows name by id; each document
            is one passage, as with --split none.
        images, document_images: folders of the pictures of rows and of documents; default: those
            that `data check` and `kb build` use.
        split, task: as in `data check`; default split: "train".
        instructions: one is drawn for each row, each time. Empty: the row's own, or the retriever's
            default instruction.
        negatives: a file written by `train mine`, in addition to the negatives in the rows.
        hard: negatives per row in each step, drawn from these; if there are too few, other
            documents of the source fill up.
        weight: how often a row is seen compared with a row of weight 1; for an endless source,
            how many rows it counts as.
        on_bad: "stop" at a row that cannot be used, or "skip" it.
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
    """A new retriever, from random weights or from two pretrained towers.

    Attributes:
        config: values of RetrieverConfig; `passage_config` defaults to `query_config`.
        text, vision: folders or hub ids of CLIP checkpoints for the towers; their configurations
            are the defaults of `config`. None: random weights.
    """

    config: dict[str, Any] = Field(default_factory=dict)
    text: str | None = None
    vision: str | None = None


class TowerSettings(Section):
    """How the two towers are trained; `rank` is the rank of the LoRA matrices."""

    text: Tower = "frozen"
    vision: Tower = "frozen"
    rank: int = Field(default=8, ge=1)


class DataSettings(Section):
    """Training and validation data.

    Attributes:
        validation: decides which step is kept as OUT/best, by recall@1 of its first
            `validation_pairs` pairs among their passages. None: only OUT/last is written.
        workers: processes that draw pairs and decode pictures.
    """

    train: tuple[SourceSettings, ...]
    validation: SourceSettings | None = None
    validation_pairs: int = Field(default=500, ge=1)
    workers: int = Field(default=0, ge=0)


class LossSettings(Section):
    """The loss.

    Attributes:
        symmetric: passages must find their queries, too.
        scale: multiplies scores. None: the checkpoint's, 1 for a new model.
        learn_scale: train the scale, starting from `scale`.
    """

    symmetric: bool = True
    scale: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    learn_scale: bool = False


class TrainSettings(Section):
    """All settings of a training.

    Attributes:
        out: folder for everything it writes: best/, last/, log.jsonl, state/.
        start: the checkpoint to start from: a folder, a hub id, or demo. Or give `model`.
        side: "query" trains only the query side, so existing knowledge bases stay valid.
        batch: pairs per step, over all processes.
        chunks: parts that a process computes one after the other, to save memory; the gradients
            are those of the whole batch.
        matrix_rate: learning rate of Muon's matrices; `rate` is for everything else, and for
            everything with adamw.
        warmup: steps; None: a tenth of all steps, at most 50.
        clip: maximal norm of all gradients together.
        dtype: of the weights in best/ and last/.
        licence: identifier for the model card, for instance "apache-2.0".
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
    seed: int = Field(default=0, ge=0, lt=VALIDATION_SEED)
    save_every: int = Field(default=200, ge=1)
    validate_every: int = Field(default=200, ge=1)
    log_every: int = Field(default=20, ge=1)
    tensorboard: bool = False
    tokenizer: str | None = None
    image_processor: str | None = None
    instruction: str | None = None
    dtype: Dtype = "float32"
    licence: str | None = None

    def check_consistency(self) -> TrainSettings:
        """Check which settings go together; returns itself. Raises UsageError."""
        if (self.start is None) == (self.model is None):
            raise UsageError(
                "Give either start: CHECKPOINT or model: …, to say what the training starts from."
            )
        if self.start is not None and self.variant != Variant():
            raise UsageError(
                "variant changes a new model, not the checkpoint in `start`. Use model: instead."
            )
        if self.side == "query" and (self.towers.text, self.towers.vision) != ("frozen", "frozen"):
            raise UsageError(
                "side: query must not change the passage side, and both sides share the towers. "
                "Set towers.text and towers.vision to frozen."
            )
        if not self.data.train:
            raise UsageError("data.train is empty: name at least one source.")
        if self.warmup is not None and self.warmup >= self.steps:
            raise UsageError(
                f"warmup is {self.warmup} of {self.steps} steps, so the rate would only rise. "
                "Leave it out, or use fewer warm-up steps."
            )
        for folder in self._initial_folders():
            if Path(folder).is_dir() and Path(folder).resolve().is_relative_to(self.out.resolve()):
                raise UsageError(
                    f"{folder} lies in {self.out}, where this training writes: it could replace "
                    "what it starts from. Give another folder with --out."
                )
        return self

    def _initial_folders(self) -> list[str]:
        towers = () if self.model is None else (self.model.text, self.model.vision)
        return [one for one in (self.start, *towers, self.tokenizer, self.image_processor) if one]

    def plan(self) -> TrainingPlan:
        """The settings of the training loop."""
        values = {name: getattr(self, name) for name in TrainingPlan.__dataclass_fields__}
        if self.warmup is None:
            values["warmup"] = min(MAX_WARMUP_STEPS, self.steps // 10)
        return TrainingPlan(**values)

    def identity(self) -> dict[str, Any]:
        """All settings on which the weights depend, as JSON."""
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
    """Steps, learning rates and intervals of a training loop, all counted in steps."""

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
