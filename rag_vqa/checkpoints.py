"""Published checkpoints that are known by name: revision, licence, size, shape, instructions.

Parameters are counted from the published architectures, built without weights. It knows nothing of
settings, presets or loading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rag_vqa.memory import Shape

# The instructions that ReT was trained with, one of the set of each task: PreFLMR's M2KR
# configurations (github LinWeizheDragon/Retrieval-Augmented-Visual-Question-Answering, lists
# `add_instruction` of InfoSeek, E-VQA, OVEN, OKVQA; and of WIT, IGLUE), which ReT-M2KR keeps
# in its `instruction` column. The first is also the one in the ReT model cards.
QUESTION = "Retrieve documents that provide an answer to the question alongside the image:"
IMAGE = "Identify the document that is connected to this image.:"


@dataclass(frozen=True)
class Model:
    """A published checkpoint.

    Attributes:
        revision: the commit that was looked up; None: not verified, the repository's newest.
        download: bytes of weights.
        shape: a reader's, which tells the memory that it needs.
        instructions: a retriever's, by task: "question" (image and text), "image" (image alone).
        processors: a retriever's tokenizer and image processor, where its configuration names
            none that can be had: the model that its towers were made from.
    """

    id: str
    licence: str
    parameters: int
    download: float
    revision: str | None = None
    commercial: bool = True
    note: str = ""
    shape: Shape | None = None
    instructions: Mapping[str, str] | None = None
    processors: str = ""


def _ret(name: str, parameters: int, processors: str, note: str = "revision not verified") -> Model:
    return Model(
        f"aimagelab/{name}",
        "apache-2.0",
        parameters,
        4 * parameters,  # stored in float32
        note=note,
        instructions={"question": QUESTION, "image": IMAGE},
        processors=processors,
    )


def _processors(id: str, licence: str) -> Model:
    """Of a CLIP model tokenizer and image processor alone; their files add up to 3.6 MB."""
    return Model(id, licence, 0, 3.6e6, note="tokenizer and image processor alone")


def _qwen3(size: str, revision: str, shape: Shape) -> Model:
    parameters = shape.linear + shape.whole
    return Model(
        f"Qwen/Qwen3-VL-{size}-Instruct",
        "apache-2.0",
        parameters,
        2 * parameters,  # stored in bfloat16
        revision,
        shape=shape,
    )


def _shape(
    parameters: int, whole: int, layers: int, hidden: int, inner: int, vision: tuple[int, int]
) -> Shape:
    """Of a Qwen3-VL: 8 heads of keys, 128 wide, in each layer; patches of 16 pixels."""
    return Shape(parameters - whole, whole, layers, hidden, inner, 8 * 128, *vision)


_CLIP_L, _CLIP_H, _CLIP_G = (
    "openai/clip-vit-large-patch14",
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
)
_UNREAD = "revision not verified; licence read on ReT-CLIP-ViT-L-14's card only"
MODELS: Mapping[str, Model] = {
    model.id: model
    for model in (
        _ret("ReT-CLIP-ViT-L-14", 521_101_572, _CLIP_L),
        _ret("ReT-OpenCLIP-ViT-H-14", 1_091_194_372, _CLIP_H, _UNREAD),
        _ret("ReT-OpenCLIP-ViT-G-14", 2_683_105_284, _CLIP_G, _UNREAD),
        _processors(_CLIP_L, "not stated on its card"),
        _processors(_CLIP_H, "mit"),
        _processors(_CLIP_G, "mit"),
        # Whole: the vision tower, embeddings and output layer, which are one in 2B.
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
        # In no preset; known so that its terms are said before it is downloaded.
        Model(
            "Qwen/Qwen2.5-VL-3B-Instruct",
            "qwen-research",
            3_754_622_976,
            2 * 3_754_622_976,
            commercial=False,
            note="revision not verified",
        ),
        # In no preset; the reader of many published figures (docs/reproduce.md).
        Model(
            "Qwen/Qwen2.5-VL-7B-Instruct",
            "apache-2.0",
            8_292_166_656,
            2 * 8_292_166_656,
            note="revision not verified",
        ),
    )
}
