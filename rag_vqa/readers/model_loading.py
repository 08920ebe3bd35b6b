"""Loads a reader's weights from a folder or the hub: safetensors only, quantised.

Knows model folders, hub ids and bitsandbytes. Names a model for records, and refuses weights that
lack tensors. Does not know prompts, processors (processor_loading.py), or what cannot be a reader
at all (refusals.py). Never runs code from a checkpoint.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rag_vqa.checkpoints import EMBEDDED, model_source
from rag_vqa.errors import Missing, RagVqaError, ReaderError, UsageError
from rag_vqa.formatting import format_bytes, one_line
from rag_vqa.hub.folder_check import refuse_broken_numbers
from rag_vqa.memory import ARRAY_BYTES, return_freed_memory
from rag_vqa.model_structure import expert_weights, is_text_only, meta_model, model_class
from rag_vqa.types import Quantization

_DIGEST_BYTES = 2**20  # read from each end of a file, so that gigabytes of weights stay quick
# Loggers of bitsandbytes. On a CPU, one asks at every start for a package that fetches code from a
# hub, and one reports for every layer of int8 that it computes in 16 bits.
_NOISY_LOGGERS = ("bitsandbytes.backends.cpu.ops", "bitsandbytes.autograd._functions")
_LANGUAGE_MODULES = ("language_model", "text_model")  # its names in the families
# Parameters. From this size on, memory matters more than time on a CPU. Asking the system for every
# array takes time (benchmarks/README.md): the embedded reader's batches would take twice as long.
_LARGE_MODEL = 100_000_000
# bitsandbytes packs 4-bit weights in blocks on a CPU; these are numbers of (inputs, outputs).
_PACKED_BLOCK = (64, 32)
_log = logging.getLogger("rag_vqa")
DTYPES = ("auto", "float32", "bfloat16", "float16")


def model_record_name(model: str, commit: str | None, quantization: str) -> str:
    """The reader's name in records: `id@commit+nf4`.

    Two readers that answer differently must not share a name. A folder is named by its last part,
    so that no path of a machine is recorded, with a digest of its files in place of the commit. The
    embedded reader is "demo".
    """
    folder = Path(model)
    if folder.is_dir():
        commit = checkpoint_digest(folder)
        embedded = folder.resolve() == Path(model_source(EMBEDDED, "reader")).resolve()
        model = EMBEDDED if embedded else folder.resolve().name
    return f"{model}@{commit}+{quantization}" if commit else f"{model}+{quantization}"


def checkpoint_digest(folder: Path) -> str:
    """Digest of names, sizes and both ends of a checkpoint's files, as 12 hex digits.

    Further training changes both ends of the weights. A file of the same size that was changed
    only in its middle is not recognised as different.
    """
    digest = hashlib.blake2b(digest_size=6)
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("*.json"),
                        *folder.glob("*.jinja"), *folder.glob("*.gguf")]):  # fmt: skip
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\0".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(_DIGEST_BYTES))
            opened.seek(max(0, size - _DIGEST_BYTES))
            digest.update(opened.read(_DIGEST_BYTES))
    return digest.hexdigest()


def stored_quantization(config: Any) -> Quantization | None:
    """How the weights of a checkpoint are quantised already, by bitsandbytes; None if they are not.

    4 bits are read as they were stored, NF4 or FP4, and counted as "nf4".
    """
    stored = getattr(config, "quantization_config", None)
    if stored is None:
        return None
    about = stored if isinstance(stored, dict) else stored.to_dict()
    return "nf4" if about.get("load_in_4bit") else "int8"


def resolve_quantization(model: str, config: Any, wanted: Quantization) -> Quantization:
    """The quantization that the weights get; raises UsageError if they are stored in another one.

    `wanted` "none" leaves stored weights as they are.
    """
    stored = stored_quantization(config)
    if stored is None or wanted in ("none", stored):
        return stored or wanted
    raise UsageError(
        f"{model}: its weights are stored in {stored}, so they cannot become {wanted}. Give "
        f"--quantization {stored}, or take the model that it was made from"
    )


def load_model(
    model: str, config: Any, quantization: Quantization, device: str, dtype: Any, **where: Any
) -> Any:
    """The model in evaluation mode. Only linear layers of the language model are quantised.

    Args:
        model: folder or hub id.
        config: its configuration.
        quantization: "nf4" (double quantisation), "int8", or "none".
        device: resolved; "cuda" without a number spreads the model over all GPUs.
        dtype: torch dtype of the unquantised weights and of the computation.
        where: `revision`, `local_files_only`.
    """
    if device == "cpu" and meta_model(config).num_parameters() >= _LARGE_MODEL:
        return_freed_memory(ARRAY_BYTES)
    if "gguf_file" in where:  # its numbers are unpacked while it loads
        quantization = "none"
    network, report = model_class(config).from_pretrained(
        model,
        config=config,
        dtype=dtype,
        device_map="auto" if device == "cuda" else {"": device},
        quantization_config=_quantization_config(config, quantization, dtype, device),
        use_safetensors="gguf_file" not in where,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # so that the report names them; then they are refused
        **where,
    )
    unused = check_loaded_tensors(model, network, report)
    if unused:
        _log.warning("%s: %d tensors of its weights are not used", model, unused)
    try:
        refuse_broken_numbers(model, _numbers(network))
    except RagVqaError as error:
        raise ReaderError(str(error)) from error
    return network.eval()


def check_loaded_tensors(model: str, network: Any, report: dict[str, Any]) -> int:
    """Refuses a model with tensors that its weights lack, which would be random; counts the unused.

    Args:
        report: what `from_pretrained` tells with `output_loading_info`.

    Raises:
        ReaderError: tensors are missing, or have another shape.
    """
    absent = sorted(map(_tensor_name, [*report["missing_keys"], *report["mismatched_keys"]]))
    if absent:
        raise ReaderError(
            f"{model}: the weights lack {len(absent)} tensors of {type(network).__name__}, or have "
            f"them in another shape: {one_line(', '.join(absent[:3]))}. Fetch the model again, or "
            "name another"
        )
    return len(report["unexpected_keys"])


def _tensor_name(key: Any) -> str:
    return str(key[0] if isinstance(key, tuple) else key)


def _numbers(network: Any) -> Iterator[tuple[str, Any]]:
    """All tensors of a model by name; of a quantised weight its scales, which show broken ones."""
    for name, weight in (*network.named_parameters(), *network.named_buffers()):
        if (state := getattr(weight, "quant_state", None)) is not None:
            yield from ((name, part) for part in _quant_state_tensors(state))
        elif (scales := getattr(weight, "SCB", None)) is not None:
            yield name, scales
        else:
            yield name, weight


def _quantization_config(config: Any, quantization: Quantization, dtype: Any, device: str) -> Any:
    if quantization == "none" or stored_quantization(config) is not None:
        return None
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    from transformers import BitsAndBytesConfig

    skip = _unquantised_modules(config)
    if quantization == "nf4" and device == "cpu":
        skip += _unpackable_layers(config, skip)
    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skip)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=skip,  # for 4 bits too, despite its name
    )


def refuse_quantised_experts(model: str, config: Any, quantization: str, dtype: Any) -> None:
    """Refuses to quantise a mixture of experts, before its weights load.

    Raises:
        ReaderError: most of its weights would stay whole, however few bits were asked for.
    """
    if quantization == "none":
        return
    network = meta_model(config)
    experts = sum(weight.numel() for weight in expert_weights(network).values())
    if experts:
        size = format_bytes(network.num_parameters() * dtype.itemsize)
        share = experts / network.num_parameters()
        raise ReaderError(
            f"{model} is a mixture of experts, which are {share:.0%} of its weights and cannot be "
            f"quantised here: it takes {size} in {str(dtype).removeprefix('torch.')}. Where that "
            "fits, add --quantization none; else name another --reader, or a server that runs it: "
            "--server URL"
        )


def _unquantised_modules(config: Any) -> list[str]:
    """Names of all modules but the language model: vision tower, projector, lm_head.

    lm_head is named because a list replaces the library's default.
    """
    if is_text_only(config):
        return ["lm_head"]
    whole = meta_model(config)
    # Most classes hold all parts in `model`; some (Llama 4) hold them themselves.
    prefix = "model." if hasattr(whole, "model") else ""
    parts = [name for name, _ in getattr(whole, "model", whole).named_children()]
    language = [name for name in parts if name in _LANGUAGE_MODULES]
    if not language:
        raise ReaderError(
            f"{config.model_type} models cannot be quantised here yet: use --quantization none"
        )
    return ["lm_head", *(f"{prefix}{name}" for name in parts if name not in language)]


def _unpackable_layers(config: Any, skip: list[str]) -> list[str]:
    """Names of the linear layers whose sizes bitsandbytes cannot pack in 4 bits on a CPU.

    Such layers are small, for instance the gates of linear attention.
    """
    from torch import nn

    inputs, outputs = _PACKED_BLOCK
    return [
        name
        for name, part in meta_model(config).named_modules()
        if isinstance(part, nn.Linear)
        and not name.startswith(tuple(skip))
        and (part.in_features % inputs or part.out_features % outputs)
    ]


def gguf_file(model: str) -> dict[str, str]:
    """The option `gguf_file` of transformers, if `model` is a folder with one such file alone.

    Raises:
        Missing: the package that reads it is not installed.
        UsageError: there are several.
    """
    folder = Path(model)
    files = sorted(folder.glob("*.gguf")) if folder.is_dir() else []
    if not files or (folder / "config.json").is_file():
        return {}
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise UsageError(f"{model} has several GGUF files: {names}. Leave one in the folder")
    if find_spec("gguf") is None:
        raise Missing("readers in GGUF need gguf: install it with pip install 'rag-vqa[gguf]'")
    return {"gguf_file": files[0].name}


def unquantised_layers(model: Any) -> tuple[str, ...]:
    """Names of the linear layers of a loaded model that are not quantised, in the model's order."""
    from torch import nn

    kinds = {
        name: type(part) for name, part in model.named_modules() if isinstance(part, nn.Linear)
    }
    return tuple(name for name, kind in kinds.items() if kind is nn.Linear)


def weight_bytes(model: Any) -> dict[str, int]:
    """Bytes of a loaded model's weights by kind: "float32", "nf4", "int8", …

    Scales, scales of scales and tables count with the quantised weights that they belong to.
    """
    sizes: dict[str, int] = {}
    for weight in (*model.parameters(), *model.buffers()):
        kind = str(weight.dtype).removeprefix("torch.")
        size = weight.nbytes
        if (state := getattr(weight, "quant_state", None)) is not None:
            kind = state.quant_type
            size += sum(part.nbytes for part in _quant_state_tensors(state))
        elif type(weight).__name__ == "Int8Params":
            kind = "int8"
            size += weight.SCB.nbytes if weight.SCB is not None else 0
        sizes[kind] = sizes.get(kind, 0) + size
    return sizes


def _quant_state_tensors(state: Any) -> Iterator[Any]:
    """All tensors of a quantisation state, including the state of its own scales."""
    for part in (state.absmax, state.code, state.offset):
        if part is not None:
            yield part
    if state.nested:
        yield from _quant_state_tensors(state.state2)
