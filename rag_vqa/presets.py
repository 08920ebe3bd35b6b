"""Named choices of models for a size of machine: what they are, weigh, need, and under what terms.

Figures: parameters are counted from the published architectures (built without weights). It
knows nothing of loading or downloading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rag_vqa import memory
from rag_vqa.errors import UsageError
from rag_vqa.settings import EMBEDDED

Quantization = Literal["nf4", "int8", "none"]
GB = 1e9
CONTEXT = 8192  # tokens of prompt and answer, those of LocalReader
_NEW_TOKENS = 128  # of an answer, where nothing else is known of the reader
_EMBEDDED = 0.1 * GB  # of the embedded models, beside what any process takes; measured

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
    shape: memory.Shape | None = None
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


def _qwen3(size: str, revision: str, shape: memory.Shape) -> Model:
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
) -> memory.Shape:
    """Of a Qwen3-VL: 8 heads of keys, 128 wide, in each layer; patches of 16 pixels."""
    return memory.Shape(parameters - whole, whole, layers, hidden, inner, 8 * 128, *vision)


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
    )
}


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
               max_images=8, max_new_tokens=48),
        Preset("laptop", "CPU, 8 GB of memory", _L, "Qwen/Qwen3-VL-2B-Instruct", "nf4", k=3,
               max_pixels=512 * 512, max_images=1, max_context=2048, on_cpu=True),
        Preset("12gb", "one GPU of 12 GB", _L, "Qwen/Qwen3-VL-8B-Instruct", "nf4", k=5,
               max_pixels=768 * 768, max_images=3, max_context=6144,
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
