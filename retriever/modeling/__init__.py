"""What a retriever is: the protocol of an encoder, and the registry of retriever families.

Knows names, shapes and which family reads a checkpoint. Does not know towers, devices or batching:
importing this imports no torch, and a family's modules are imported when they are first needed.

A family is the models of one `model_type`, as config.json names it. `Encoder` runs any family; a
family brings its configuration, model and processor, and an attribution if its matches can be
explained. ReT's are the other files of this folder and explain/attribution.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import UsageError
from rag_vqa.registry import Registry, load_target
from rag_vqa.retriever.image_workers import ImageOpener, ImageTransform
from rag_vqa.types import ImageSource, Passage, Query

if TYPE_CHECKING:
    import torch

Tokens = NDArray[np.float32]
INSTRUCTION_FILE = "instructions.json"  # our extension: {"default": "…"}, beside a checkpoint
ENCODER_OPTIONS = ("dtype", "parity", "tokenizer", "image_processor")


class TokenEncoder(Protocol):
    """Turns passages and queries into K unit vectors of width D each.

    Attributes:
        source: the path or hub id that the model was loaded from, as given.
        revision: commit or tag of the hub; None or "" if there is none.
        options: of ENCODER_OPTIONS, those given on loading that differ from their defaults and
            shape the document side. Loading it again needs the same ones.
        fingerprint: hash of everything on the document side that shapes a token.
        window: number of tokens that its text tower reads, start and end marks included.
    """

    @property
    def source(self) -> str: ...
    @property
    def revision(self) -> str | None: ...
    @property
    def options(self) -> Mapping[str, str | bool]: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def K(self) -> int: ...
    @property
    def D(self) -> int: ...
    @property
    def window(self) -> int: ...

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` as the tower would read them, start and end marks included."""

    def encode_queries(self, queries: Sequence[Query]) -> Tokens:
        """Queries to (Q, K, D) float32, unit rows."""

    def encode_passages(self, passages: Sequence[Passage]) -> Tokens:
        """Passages to (N, K, D) float32, unit rows."""


@runtime_checkable
class HasImageOpener(Protocol):
    """An encoder whose pictures can be opened ahead of it, each once, in other processes.

    An encoder without this gets passages with the paths of their pictures, and opens them itself.
    """

    def opener(self) -> ImageOpener:
        """An opener for one run of adding documents, which closes it."""


class SideConfig(Protocol):
    """What an Encoder asks of the configuration of one side."""

    @property
    def num_tokens(self) -> int:
        """K, tokens of an item."""

    @property
    def token_width(self) -> int:
        """D, width of a token."""

    @property
    def reads_text(self) -> bool:
        """Whether text reaches the tokens at all."""

    @property
    def reads_images(self) -> bool:
        """Whether pictures reach the tokens at all."""


class RetrieverSide(Protocol):
    """The query side or the passage side of a retriever."""

    @property
    def config(self) -> Any:  # a SideConfig; transformers declares it as its own class
        """The side's configuration, a SideConfig."""

    def encode(self, inputs: Any) -> torch.Tensor:
        """Tokens (B, K, D) of what the processor made, or (B, D); not normalised."""

    def update_digest(self, digest: Any) -> None:
        """Feed everything of this side that shapes a token to a hashlib digest."""


class RetrieverNetwork(Protocol):
    """A family's model: both sides, which may be one object.

    Its class has a classmethod `from_pretrained(source, *, config, dtype, revision,
    local_files_only)`, which raises OSError if there is no such checkpoint, and a method
    `to(device)`.
    """

    @property
    def config(self) -> Any:
        """Its configuration: `model_type`, and `query` and `passage`, a SideConfig each."""

    def get_query_model(self) -> RetrieverSide:
        """The side that encodes queries."""

    def get_passage_model(self) -> RetrieverSide:
        """The side that encodes passages."""

    def eval(self) -> Any:
        """Switch to inference; returns itself."""


class RetrieverProcessor(Protocol):
    """A family's preprocessing, of texts and images to the input of its sides.

    Its class has a classmethod `load(source, config, *, tokenizer, image_processor, revision,
    parity, offline)`.
    """

    @property
    def window(self) -> int:
        """Number of tokens that the text tower reads, start and end marks included."""

    @property
    def image_transform(self) -> ImageTransform:
        """How pictures are opened and made small before this processor gets them."""

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, start and end marks included, not truncated."""

    def update_digest(self, digest: Any) -> None:
        """Feed everything that shapes an input to a hashlib digest."""

    def save_pretrained(self, folder: Path, /) -> Any:
        """Write everything that `load` needs into the folder of a checkpoint."""

    def __call__(self, text: Sequence[str], images: Sequence[ImageSource | None], /) -> Any:
        """Texts ("" = absent) and images (None or "" = absent) of B items → inputs."""


@dataclass(frozen=True, slots=True)
class RetrieverFamily:
    """One entry of the registry. Each part is an object, or "module:name" to import it.

    Attributes:
        name: the `model_type` of its checkpoints' config.json.
        configuration: (source, revision=…, local_files_only=…) → the configuration; raises
            UsageError or RagVqaError if the checkpoint cannot be one.
        model: a class as RetrieverNetwork describes it.
        processor: a class as RetrieverProcessor describes it.
        attribution: (side, inputs) → `explain.attribution.Trace` or its like; None if matches of
            this family cannot be explained.
    """

    name: str
    configuration: Any
    model: Any
    processor: Any
    attribution: Any = None

    def load(self, part: str) -> Any:
        """One of the parts: "configuration", "model", "processor" or "attribution"."""
        return load_target(getattr(self, part))


FAMILIES: Registry[RetrieverFamily] = Registry("retriever family")
FAMILIES.register(
    RetrieverFamily(
        "retriever",  # ReT's first generation
        configuration="rag_vqa.retriever.modeling.configuration:load_config",
        model="rag_vqa.retriever.modeling.model:RetrieverModel",
        processor="rag_vqa.retriever.modeling.processor:RetProcessor",
        attribution="rag_vqa.retriever.explain.attribution:Trace",
    )
)


def find_family(source: str | Path, config: Mapping[str, Any]) -> RetrieverFamily:
    """The family of a checkpoint, by the `model_type` of its config.json.

    Raises:
        UsageError: no family has this type.
    """
    kind, classes = str(config.get("model_type")), str(config.get("architectures"))
    if kind in FAMILIES.names():
        return FAMILIES.get(kind)
    if "ret2" in (kind + classes).lower().replace("-", "").replace("_", ""):
        raise UsageError(
            f"{source} is a ReT-2 checkpoint; they are not supported yet. "
            "Use aimagelab/ReT-CLIP-ViT-L-14 or another first-generation ReT."
        )
    known = ", ".join(map(repr, FAMILIES.names()))
    raise UsageError(f"{source} is of type {kind!r}, not a ReT retriever (known types: {known}).")
