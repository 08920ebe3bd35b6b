"""Checkpoints known by name: the embedded ones, and published ones with revision, licence and size.

Knows revisions, licences, sizes and shapes. Parameters are counted from the published
architectures, built without weights. Does not know settings, presets or loading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from rag_vqa.errors import Missing
from rag_vqa.formatting import format_bytes
from rag_vqa.memory import ModelShape

# Instructions that ReT was trained with, one from the set of each task: PreFLMR's M2KR
# configurations (github LinWeizheDragon/Retrieval-Augmented-Visual-Question-Answering, lists
# `add_instruction` of InfoSeek, E-VQA, OVEN, OKVQA; and of WIT, IGLUE), which ReT-M2KR keeps
# in its `known_instruction` column. The first is also the one in the ReT model cards.
QUESTION_INSTRUCTION = (
    "Retrieve documents that provide an answer to the question alongside the image:"
)
IMAGE_INSTRUCTION = "Identify the document that is connected to this image.:"
_CLIP_L, _CLIP_H, _CLIP_G = (
    "openai/clip-vit-large-patch14",
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
)
_UNVERIFIED = "revision not verified; licence read on ReT-CLIP-ViT-L-14's card only"
EMBEDDED = "demo"  # name of the models inside this package


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint.

    Attributes:
        revision: the verified commit; None: not verified, so the newest of the repository.
        download: bytes of the weights.
        shape: sizes of a reader, for the estimate of its memory.
        instructions: for a retriever, by task: "question" (image and text), "image" (image only).
        processors: for a retriever whose configuration names no available processor: the model of
            its towers, for tokenizer and image processor.
    """

    id: str
    licence: str
    parameters: int
    download: float
    revision: str | None = None
    commercial: bool = True
    note: str = ""
    shape: ModelShape | None = None
    instructions: Mapping[str, str] | None = None
    processors: str = ""


def _ret(
    name: str, parameters: int, processors: str, note: str = "revision not verified"
) -> Checkpoint:
    return Checkpoint(
        f"aimagelab/{name}",
        "apache-2.0",
        parameters,
        4 * parameters,  # stored in float32
        note=note,
        instructions={"question": QUESTION_INSTRUCTION, "image": IMAGE_INSTRUCTION},
        processors=processors,
    )


def _processor_files(id: str, licence: str) -> Checkpoint:
    """Tokenizer and image processor of a CLIP model, without weights: 3.6 MB of files."""
    return Checkpoint(id, licence, 0, 3.6e6, note="tokenizer and image processor alone")


def _qwen(
    id: str, shape: ModelShape, revision: str | None = None, unread: int = 0, note: str = ""
) -> Checkpoint:
    """A reader of Qwen, stored in bfloat16. `unread`: parameters that nothing here loads."""
    parameters = shape.linear + shape.whole
    return Checkpoint(
        id, "apache-2.0", parameters, 2 * (parameters + unread), revision, note=note, shape=shape
    )


def _qwen3(size: str, revision: str, shape: ModelShape) -> Checkpoint:
    return _qwen(f"Qwen/Qwen3-VL-{size}-Instruct", shape, revision)


def _shape(
    parameters: int, embedding: int, layers: int, hidden: int, inner: int, vision: tuple[int, int]
) -> ModelShape:
    """The shape of a Qwen3-VL: 8 key heads of width 128 in each layer; patches of 16 pixels."""
    return ModelShape(parameters - embedding, embedding, layers, hidden, inner, 8 * 128, *vision)


def _qwen35(size: str, prediction: int, shape: ModelShape) -> Checkpoint:
    """A Qwen3.5. `prediction`: parameters of its multi-token prediction."""
    note = "revision not verified; sizes from its card and configuration of 2026"
    return _qwen(f"Qwen/Qwen3.5-{size}", shape, unread=prediction, note=note)


CHECKPOINTS: Mapping[str, Checkpoint] = {
    model.id: model
    for model in (
        _ret("ReT-CLIP-ViT-L-14", 521_101_572, _CLIP_L),
        _ret("ReT-OpenCLIP-ViT-H-14", 1_091_194_372, _CLIP_H, _UNVERIFIED),
        _ret("ReT-OpenCLIP-ViT-G-14", 2_683_105_284, _CLIP_G, _UNVERIFIED),
        _processor_files(_CLIP_L, "not stated on its card"),
        _processor_files(_CLIP_H, "mit"),
        _processor_files(_CLIP_G, "mit"),
        # `whole`: vision tower, embeddings and output layer; 2B shares the last two.
        _qwen3(
            "2B",
            "89644892e4d85e24eaac8bacfd4f463576704203",
            _shape(
                2_127_532_032, 406_957_056 + 151_936 * 2048, 28, 2048, 6144, vision=(1024, 4096)
            ),
        ),
        _qwen3(
            "8B",
            "0c351dd01ed87e9c1b53cbc748cba10e6187ff3b",
            _shape(
                8_767_123_696,
                576_388_336 + 2 * 151_936 * 4096,
                36,
                4096,
                12_288,
                vision=(1152, 4304),
            ),
        ),
        _qwen3(
            "32B",
            "0cfaf48183f594c314753d30a4c4974bc75f3ccb",
            _shape(
                33_357_390_064,
                595_266_800 + 2 * 151_936 * 5120,
                64,
                5120,
                25_600,
                vision=(1152, 4304),
            ),
        ),
        # One layer in four keeps keys and values, so `layers` counts those alone. 4B shares its
        # embeddings with the output layer.
        _qwen35(
            "4B",
            120_600_000,
            ModelShape(3_569_090_560, 970_174_976, 8, 2560, 9216, 4 * 256, 1024, 4096),
        ),
        _qwen35(
            "9B",
            243_000_000,
            ModelShape(6_918_504_448, 2_491_309_296, 8, 4096, 12_288, 4 * 256, 1152, 4304),
        ),
        _qwen35(
            "27B",
            424_700_000,
            ModelShape(24_350_556_160, 3_006_172_400, 16, 5120, 17_408, 4 * 256, 1152, 4304),
        ),
        # In no preset; known so that their licences are shown before a download.
        Checkpoint(
            "google/gemma-4-E4B-it",
            "apache-2.0",
            8_000_000_000,
            16e9,
            note="size as its card rounds it; revision not verified",
        ),
        Checkpoint(
            "google/gemma-4-31B-it",
            "apache-2.0",
            30_700_000_000,
            61.4e9,
            note="size as its card rounds it; revision not verified",
        ),
        Checkpoint(
            "Qwen/Qwen2.5-VL-3B-Instruct",
            "qwen-research",
            3_754_622_976,
            2 * 3_754_622_976,
            commercial=False,
            note="revision not verified",
        ),
        # In no preset; the reader of many published figures (docs/reproduce.md).
        Checkpoint(
            "Qwen/Qwen2.5-VL-7B-Instruct",
            "apache-2.0",
            8_292_166_656,
            2 * 8_292_166_656,
            note="revision not verified",
        ),
    )
}


def known_revision(model: str | None, requested: str | None) -> str | None:
    """The revision to load: `requested`, else the known one of this model, else None."""
    known = CHECKPOINTS.get(model or "")
    return requested or (known.revision if known else None)


def known_instruction(
    model: str | None, has_text: bool, requested: str | None = None
) -> str | None:
    """The instruction for one query; None leaves the choice to the checkpoint."""
    known = CHECKPOINTS.get(model or "")
    if requested is not None or known is None or known.instructions is None:
        return requested
    return known.instructions["question" if has_text else "image"]


def processor_source(model: str) -> str:
    """The model whose tokenizer and image processor a retriever uses; "" if unknown."""
    known = CHECKPOINTS.get(model)
    return known.processors if known else ""


def licence_line(model: str) -> str:
    """One line with licence and size, shown before a download."""
    known = CHECKPOINTS.get(model)
    if known is None:
        return f"{model}: licence and size not known to rag-vqa, read its model card"
    limits = "" if known.commercial else ", NON-COMMERCIAL USE ONLY"
    note = f" ({known.note})" if known.note else ""
    return f"{model}: {format_bytes(known.download)}, licence {known.licence}{limits}{note}"


def embedded_model(role: Literal["retriever", "reader"]) -> Path:
    """The folder of an embedded checkpoint, which is package data.

    Raises:
        Missing: this installation does not contain it.
    """
    spec = find_spec("rag_vqa")
    places = list(spec.submodule_search_locations or ()) if spec else []
    for place in places:
        folder = Path(place) / "demo" / "models" / role
        if (folder / "config.json").is_file():
            return folder
    raise Missing(
        f"The embedded {role} is not in this installation. Look with: rag-vqa doctor. "
        f"Or name another one: --{role} MODEL"
    )


def model_source(model: str | None, role: Literal["retriever", "reader"]) -> str:
    """The folder or hub id to load for the setting `model`; None is the embedded model."""
    return str(embedded_model(role)) if model in (None, EMBEDDED) else str(model)
