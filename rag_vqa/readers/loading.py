"""A model of transformers from a folder or the hub: safetensors only, quantised, on its device.

It knows files, bitsandbytes and devices. It does not know prompts. Nothing of a checkpoint is
ever run as code.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from rag_vqa.errors import Missing, ReaderError, UsageError
from rag_vqa.readers.freeing import ARRAYS, give_back_freed

Quantization = Literal["nf4", "int8", "none"]
# Of bitsandbytes: on a CPU one asks at every start for a package that fetches code from a hub, and
# one says at every layer of int8 that it computes in 16 bits.
_CHATTER = ("bitsandbytes.backends.cpu.ops", "bitsandbytes.autograd._functions")
_LANGUAGE = ("language_model", "text_model")  # what the families call it
# Parameters from which memory matters more than time on a CPU. Asking the system for every array
# takes time too, see benchmarks/README.md; the embedded reader's batches would take twice as long.
_LARGE = 100_000_000
DTYPES = ("auto", "float32", "bfloat16", "float16")


def check_source(model: str) -> None:
    """Refuses a folder that holds no checkpoint in safetensors; a hub id passes.

    Raises:
        Missing: no such folder, or it lacks what a checkpoint needs.
    """
    folder = Path(model)
    if not folder.is_dir():
        if folder.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
            raise Missing(f"there is no folder {model}: check the path given as --reader")
        return
    if not (folder / "config.json").is_file():
        raise Missing(f"{model} holds no config.json, hence no model: check the path of --reader")
    if not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt*"))
        why = "only pickled ones, which can run code" if pickled else "none at all"
        raise Missing(
            f"{model} has no weights in safetensors, {why}: take a revision that has them, or "
            "convert them on a machine that may be lost with save_pretrained()"
        )


@contextmanager
def explained(model: str, offline: bool) -> Iterator[None]:
    """Errors of transformers on the way to a loaded model, in words that name the next command."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise ReaderError(
            f"{model}: the weights are damaged ({error}). Fetch them again"
        ) from error
    except ImportError as error:
        raise Missing(
            f"{model} needs a package that is not installed: {_first_line(error)}"
        ) from error
    except OSError as error:
        if Path(model).is_dir():
            raise ReaderError(
                f"{model}: a file is damaged or missing: {_first_line(error)}"
            ) from error
        how = "While online" if offline else "Check id, network and login (hf auth login), then"
        raise Missing(
            f"the reader {model} cannot be loaded: {_first_line(error)} {how}: hf download {model}"
        ) from error
    except (ValueError, KeyError) as error:
        raise ReaderError(
            f"{model} cannot be loaded as an image-text-to-text model: {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def resolve_device(device: str) -> str:
    """ "auto" is CUDA, then MPS, then the CPU; any other is taken as it is if it is there."""
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise UsageError(f"--device {device}: take auto, cpu, cuda, cuda:1 or mps") from error
    there = {"cpu": True, "cuda": torch.cuda.is_available()}
    there["mps"] = torch.backends.mps.is_available()
    if not there.get(kind, False):
        raise UsageError(f"--device {device}: not on this machine. Look with: rag-vqa doctor")
    return device


def load_model(
    model: str, config: Any, quantization: Quantization, device: str, dtype: Any, **where: Any
) -> Any:
    """The model in evaluation mode. Only linear layers of the language model are quantised.

    Args:
        model: folder or hub id.
        config: its configuration.
        quantization: "nf4" (double quantisation), "int8", or "none".
        device: resolved; plain "cuda" spreads over all GPUs.
        dtype: torch dtype of what is not quantised, and of computing.
        where: `revision`, `local_files_only`.
    """
    from transformers import AutoModelForImageTextToText

    if device == "cpu" and _empty(config).num_parameters() >= _LARGE:
        give_back_freed(ARRAYS)
    return AutoModelForImageTextToText.from_pretrained(
        model,
        config=config,
        dtype=dtype,
        device_map="auto" if device == "cuda" else {"": device},
        quantization_config=_quantization(config, quantization, dtype),
        use_safetensors=True,
        trust_remote_code=False,
        **where,
    ).eval()


def _quantization(config: Any, quantization: Quantization, dtype: Any) -> Any:
    if quantization == "none":
        return None
    for name in _CHATTER:
        logging.getLogger(name).setLevel(logging.ERROR)
    from transformers import BitsAndBytesConfig

    skip = _unquantised(config)
    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skip)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=skip,  # of 4 bits too, whatever its name says
    )


def _unquantised(config: Any) -> list[str]:
    """Vision tower, projector, lm_head: all but the language model, whatever the family calls it.

    A list replaces the library's default, hence lm_head by name.
    """
    parts = [name for name, _ in _empty(config).model.named_children()]
    language = [name for name in parts if name in _LANGUAGE]
    if not language:
        raise ReaderError(
            f"{config.model_type} models cannot be quantised here yet: use --quantization none"
        )
    return ["lm_head", *(f"model.{name}" for name in parts if name not in language)]


def _empty(config: Any) -> Any:
    """The model without its numbers."""
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config, trust_remote_code=False)


def unquantised(model: Any) -> tuple[str, ...]:
    """Names of the linear layers that a loaded model has in full, in its order."""
    from torch import nn

    kinds = {
        name: type(part) for name, part in model.named_modules() if isinstance(part, nn.Linear)
    }
    return tuple(name for name, kind in kinds.items() if kind is nn.Linear)


def weight_bytes(model: Any) -> dict[str, int]:
    """Bytes of a loaded model's weights by what they are: "float32", "nf4", "int8", …

    What quantisation keeps beside its codes (scales, their scales, tables) counts with them.
    """
    sizes: dict[str, int] = {}
    for weight in (*model.parameters(), *model.buffers()):
        kind = str(weight.dtype).removeprefix("torch.")
        size = weight.nbytes
        if (state := getattr(weight, "quant_state", None)) is not None:
            kind = state.quant_type
            size += sum(part.nbytes for part in _tensors(state))
        elif type(weight).__name__ == "Int8Params":
            kind = "int8"
            size += weight.SCB.nbytes if weight.SCB is not None else 0
        sizes[kind] = sizes.get(kind, 0) + size
    return sizes


def _tensors(state: Any) -> Iterator[Any]:
    """All tensors of a quantisation state, the state of its own scales included."""
    for part in (state.absmax, state.code, state.offset):
        if part is not None:
            yield part
    if state.nested:
        yield from _tensors(state.state2)
