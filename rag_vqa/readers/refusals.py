"""What cannot be a reader: refused before it loads, or explained after loading failed.

Knows which classes answer, and what exceptions of transformers mean. Does not load anything
(model_loading.py, processor_loading.py).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rag_vqa.errors import Missing, RagVqaError, ReaderError, UsageError
from rag_vqa.formatting import one_line
from rag_vqa.hub.folder_check import check_model_files, read_config_file, refuse_file
from rag_vqa.hub.model_cache import find_snapshot, has_all_weights, is_hub_id
from rag_vqa.readers.model_loading import gguf_file

_RETRIEVER_TYPES = ("retriever", "ret")  # model_type of ReT's two configurations


def check_model_folder(model: str, revision: str | None = None) -> None:
    """Refuses what cannot be a reader, by its small files and headers; an unknown hub id passes.

    Raises:
        Missing: there is no such folder, or it lacks a file that a checkpoint needs.
        UsageError: it is no reader.
        ReaderError: a file is damaged.
    """
    refuse_file(model)
    folder = Path(model)
    if not folder.is_dir():
        if folder.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
            raise Missing(f"there is no folder {model}: check the path given as --reader")
        snapshot = find_snapshot(model, revision) if is_hub_id(model) else None
        if snapshot is None or not has_all_weights(snapshot):
            return
        folder = snapshot
    if gguf_file(str(folder)):
        return
    try:
        check_reader_class(model, read_config_file(model, folder))
        check_model_files(model, folder)
    except RagVqaError as error:
        if type(error) is RagVqaError:
            raise ReaderError(str(error)) from error
        raise


def check_reader_class(model: str, config: dict[str, Any]) -> None:
    """Refuses a model that transformers does not know, or that writes no text; by config.json.

    Raises:
        UsageError: it is no reader.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    kind = config["model_type"]
    if kind in _RETRIEVER_TYPES:
        raise UsageError(f"{model} is a retriever, not a reader: give it as --retriever")
    if kind not in CONFIG_MAPPING_NAMES:
        raise UsageError(_unknown_class(model, kind, config))
    if kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return
    classes = config.get("architectures") or []
    classes = [name for name in classes if isinstance(name, str)]
    writes = [name for name in classes if name.endswith(("CausalLM", "LMHeadModel"))]
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or (classes and not writes):
        what = f"{kind} model ({classes[0]})" if classes else f"{kind} model"
        raise UsageError(
            f"{model} is a {what}, which writes no answers about images and text: name an "
            "image-text-to-text model, or a language model"
        )


def _unknown_class(model: str, kind: str, config: dict[str, Any]) -> str:
    """Why a class is not known, and what to do."""
    what = f"{model}: {kind!r} is no class of the installed transformers."
    if "auto_map" in config:
        return (
            f"{what} It brings code of its own, which rag-vqa never runs: take a version for "
            "transformers (often named -hf), or run it behind a server: --server URL"
        )
    made_with = config.get("transformers_version")
    wrote = f" (it was saved by {made_with})" if isinstance(made_with, str) else ""
    return (
        f"{what} A newer version may have it{wrote}: pip install -U transformers. Or run it behind "
        "a server: --server URL"
    )


@contextmanager
def translate_loading_errors(model: str, offline: bool) -> Iterator[None]:
    """Translates errors of transformers while a model loads; the messages name the next command."""
    try:
        yield
    except RagVqaError:
        raise
    except Exception as error:
        raise _describe_loading_error(model, offline, error) from error


def _describe_loading_error(model: str, offline: bool, error: Exception) -> RagVqaError:
    """What an exception of a library means, whichever it is."""
    from safetensors import SafetensorError

    reason = one_line(_reason(error))
    if isinstance(error, SafetensorError):
        return ReaderError(f"{model}: the weights are damaged ({reason}). Fetch them again")
    if "trust_remote_code" in str(error) or "custom code" in str(error):
        return UsageError(
            f"{model} brings code of its own, which rag-vqa never runs: take a version for "
            "transformers (often named -hf), or run it behind a server: --server URL"
        )
    if isinstance(error, ImportError):
        return Missing(f"{model} needs a package that is not installed: {reason}")
    if isinstance(error, OSError):
        if Path(model).is_dir():
            return ReaderError(f"{model}: a file is damaged or missing: {reason}")
        how = "While online" if offline else "Check id, network and login (hf auth login), then"
        return Missing(
            f"the reader {model} cannot be loaded: {reason} {how}: rag-vqa models pull {model}"
        )
    return ReaderError(
        f"{model} cannot be loaded: {reason.rstrip('.')}. Its files do not fit its class, or the "
        f"class is not supported: see rag-vqa models check {model}, run it behind a server "
        "(--server), or name another reader"
    )


def _reason(error: Exception) -> str:
    """Why a library failed: its own first line, or ours where that says little."""
    text = str(error)
    if isinstance(error, json.JSONDecodeError):
        return f"a file of its tokenizer or processor is damaged ({text})"
    if isinstance(error, struct.error):
        return "its file of weights was cut or is damaged: fetch it again"
    if isinstance(error, KeyError):
        return f"a file of it lacks {text}"
    if "backend tokenizer" in text:
        return "its tokenizer is missing or cannot be read (tokenizer.json, tokenizer.model)"
    if "Can't load image processor" in text:
        return "the settings of its images are missing (preprocessor_config.json)"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
