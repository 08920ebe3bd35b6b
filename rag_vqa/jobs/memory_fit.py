"""Memory fit for `rag-vqa doctor --fit`: do a preset and its overrides fit this machine?

Knows which settings need memory, how much is free here, and which flags save some. Does not know
how much a model needs (memory.py), and loads nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rag_vqa import memory
from rag_vqa.checkpoints import CHECKPOINTS, EMBEDDED, model_source
from rag_vqa.errors import Missing, UsageError
from rag_vqa.formatting import one_line
from rag_vqa.hub.folder_check import read_config_file, refuse_file, refuse_quantised
from rag_vqa.presets import CONTEXT, PRESETS, reader_limits
from rag_vqa.types import Quantization

if TYPE_CHECKING:
    from rag_vqa.settings_schema import Settings

_CRITIC_BATCH = 16  # documents that a critic judges at once: `batch_size` of LocalReader
_TILES_NOTE = "this model cuts a picture into tiles, and only one of them is counted: it needs more"
_EXPERTS_NOTE = (
    "this model is a mixture of experts, which cannot be quantised here: the figures are those of "
    "--quantization none, without which it does not load"
)
# Flags that save memory, the least harmful first: flag, section and key of the setting, value.
_SAVINGS: tuple[tuple[str, str, str, Any], ...] = (
    ("--quantization nf4", "reader", "quantization", "nf4"),
    ("--set retriever.device=cpu", "retriever", "device", "cpu"),
    ("--set reader.max_context=4096", "reader", "max_context", 4096),
    ("--max-pixels 262144", "reader", "max_pixels", 512 * 512),
    ("--max-images 1", "reader", "max_images", 1),
    ("--filter none", "filter", "name", "none"),
    ("--set reader.max_context=2048", "reader", "max_context", 2048),
)


@dataclass(frozen=True)
class MemoryFit:
    """The memory that is needed, the memory that is free, and the flags that would make it fit.

    Attributes:
        needs: bytes by part, in the memory of `device`: "cpu", "cuda", "mps".
        elsewhere: bytes in the machine's own memory, where `device` is a GPU.
        served: servers run the reader, which needs no memory here.
        mend: flags; "" if it fits, or if nothing helps.
        note: what is not counted; "" if everything is.
    """

    preset: str
    reader: str
    device: str
    needs: Mapping[str, float]
    free: float
    elsewhere: float = 0.0
    served: bool = False
    mend: str = ""
    note: str = ""

    @property
    def total(self) -> float:
        """Bytes of all parts."""
        return sum(self.needs.values())

    @property
    def spare(self) -> float:
        """Bytes that stay free, if the need exceeds its estimate as much as it ever did."""
        return self.free - self.total * (1 + memory.MARGIN)

    @property
    def fits(self) -> bool:
        """True if enough memory is free, the margin included."""
        return self.spare >= 0

    @property
    def verdict(self) -> str:
        """ "fits, with 1.20 GB to spare", "may not fit" (within the margin), "does not fit"."""
        if self.fits:
            return f"fits, with {self.spare / 1e9:.2f} GB to spare"
        return "may not fit" if self.total <= self.free else "does not fit"


def predict_fit(settings: Settings, batch: int = 1) -> MemoryFit:
    """Predict whether asking with these settings fits this machine, and what would make it fit.

    Args:
        batch: questions read at once; `ask` reads one. A critic reads all retrieved documents at
            once, up to its reader's batch, each as long as a prompt can be.

    Raises:
        Missing: a model is neither known nor on this machine.
    """
    found = _predict(settings, batch)
    return found if found.fits else replace(found, mend=_suggest_flags(settings, batch))


def _suggest_flags(settings: Settings, batch: int) -> str:
    """One flag that is enough, else several, else another preset; "" if none is enough."""
    changed = settings
    flags: list[str] = []
    for flag, section, key, value in _SAVINGS:
        alone = _with_setting(settings, section, key, value)
        if _predict(alone, batch).fits:
            return flag
        together = _with_setting(changed, section, key, value)
        if _predict(together, batch).total < _predict(changed, batch).total:
            changed, flags = together, [*flags, flag]
        if _predict(changed, batch).fits:
            return " ".join(flags)
    return next((f"--preset {name}" for name in _fitting_presets(batch)), "")


def _fitting_presets(batch: int) -> Iterator[str]:
    """Presets that fit this machine, the largest first."""
    from rag_vqa.settings import load_settings

    for name in reversed(tuple(PRESETS)):
        if _predict(load_settings({"preset": name}, environment={}), batch).fits:
            yield name


def _with_setting(settings: Settings, section: str, key: str, value: Any) -> Settings:
    """The settings with one value changed, if it is smaller than before."""
    old = getattr(getattr(settings, section), key)
    if isinstance(value, int) and old is not None and old <= value:
        return settings
    changed = getattr(settings, section).model_copy(update={key: value})
    return settings.model_copy(update={section: changed})


def _predict(settings: Settings, batch: int) -> MemoryFit:
    from rag_vqa.devices import free_memory, resolve_device

    reader = settings.reader
    name = reader.model or EMBEDDED
    beside = resolve_device(settings.retriever.device).partition(":")[0]
    device = beside if reader.servers else resolve_device(reader.device).partition(":")[0]
    on_gpu = device == "cuda"
    own: dict[str, float] = {"runtime": memory.RUNTIME_GPU if on_gpu else memory.RUNTIME_CPU}
    elsewhere = memory.RUNTIME_CPU if on_gpu else 0.0
    if settings.k:
        retriever = _retriever_memory(settings)
        if beside == device:
            own["retriever"] = retriever
        else:
            elsewhere += retriever
    note = ""
    if not reader.servers:
        parts, note = _reader_memory(settings, name, batch, on_gpu)
        own |= parts
    return MemoryFit(
        settings.preset or "demo",
        name,
        device,
        own,
        free_memory(device),
        elsewhere,
        served=bool(reader.servers),
        note=note,
    )


def _reader_memory(
    settings: Settings, name: str, batch: int, on_gpu: bool
) -> tuple[dict[str, float], str]:
    """Bytes by part of a reader on this machine, and a note about what is not counted."""
    reader = settings.reader
    found = _find_reader(name, reader.revision)
    note = found.note
    quantization = found.stored or reader.quantization
    if found.shape.experts:
        quantization, note = "none", _EXPERTS_NOTE if reader.quantization != "none" else note
    if settings.filter.name != "none":
        batch = max(batch, min(settings.k * batch, _CRITIC_BATCH))
    given = {
        **reader_limits(name),
        **{k: v for k, v in reader.model_dump().items() if v is not None},
    }
    dtype = ("bfloat16" if on_gpu else "float32") if reader.dtype == "auto" else reader.dtype
    load = memory.Workload(
        quantization,
        min(given.get("max_context", CONTEXT), found.longest),
        given.get("max_images", 1) if settings.k else 1,
        reader.max_pixels,
        memory.BYTES[dtype],
        batch,
        on_cpu=not on_gpu,
    )
    return memory.reader_memory(found.shape, load), note


def _retriever_memory(settings: Settings) -> float:
    """Bytes of the retriever's weights."""
    retriever = settings.retriever
    known = CHECKPOINTS.get(retriever.model or EMBEDDED)
    if known is not None:
        count = known.parameters
    else:
        from rag_vqa.memory import count_parameters

        source = model_source(retriever.model, "retriever")
        folder = _model_folder(source, retriever.revision)
        read_config_file(source, folder)
        count = count_parameters(folder)
    return float(count * memory.BYTES[retriever.dtype])


class _Reader(NamedTuple):
    """What the memory of a reader depends on.

    Attributes:
        longest: context in tokens, or a number above every limit.
        note: what is not counted.
        stored: the quantization that its weights have, whatever the settings ask for.
    """

    shape: memory.ModelShape
    longest: int = CONTEXT**2
    note: str = ""
    stored: Quantization | None = None


@cache
def _find_reader(name: str, revision: str | None) -> _Reader:
    known = CHECKPOINTS.get(name)
    if known is not None and known.shape is not None:
        return _Reader(known.shape)
    from transformers import AutoConfig

    from rag_vqa.memory import has_unlisted_tiles, model_shape
    from rag_vqa.model_structure import context_length
    from rag_vqa.readers.model_loading import gguf_file, stored_quantization
    from rag_vqa.readers.refusals import check_reader_class

    folder = _model_folder(model_source(name, "reader"), revision)
    packed = gguf_file(str(folder))
    if not packed:
        raw = read_config_file(name, folder)
        check_reader_class(name, raw)
        refuse_quantised(name, raw)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, **packed)
        longest = context_length(config) or CONTEXT**2
        note = _TILES_NOTE if has_unlisted_tiles(config) else ""
        stored: Quantization | None = "none" if packed else stored_quantization(config)
        return _Reader(model_shape(config), longest, note, stored)
    except Exception as error:  # a configuration can be wrong in any way
        reason = one_line(str(error))[:150] or type(error).__name__
        raise UsageError(
            f"cannot compute the memory of {name}: {reason}. Look with: rag-vqa models check {name}"
        ) from error


def _model_folder(source: str, revision: str | None) -> Path:
    """The folder of a model on this machine; downloads nothing."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    refuse_file(source)
    if Path(source).is_dir():
        return Path(source)
    if Path(source).is_absolute() or source.startswith((".", "~")) or source.count("/") > 1:
        raise Missing(f"there is no folder {source}: check the path of the model")
    try:
        return Path(snapshot_download(source, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise Missing(
            f"{source} is not on this machine, and rag-vqa does not know its size. "
            f"Get it: rag-vqa models pull {source}"
        ) from error
