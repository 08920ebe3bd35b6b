"""Files of a reader's model: checked, opened as a processor, named for records.

Knows model folders, hub ids, safetensors, and how processors are built without torchvision.
Translates errors of transformers into messages with a next command. Does not load weights
(local/model_loading.py) and does not know prompts. Never runs code from a checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rag_vqa.checkpoints import EMBEDDED, model_source
from rag_vqa.errors import Missing, ReaderError

_DIGEST_BYTES = 2**20  # read from each end of a file, so that gigabytes of weights stay quick


def load_processor(model: str, config: Any, **where: Any) -> Any:
    """A processor for text and images, padding on the left, with a chat template.

    Args:
        model: folder or hub id.
        config: the model's configuration, which states what older processors leave out.
        where: `revision`, `local_files_only`.

    Raises:
        ReaderError: the model has no processor, or no chat template.
        OSError: from transformers, if files are missing.
    """
    from transformers import AutoProcessor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    if type(config) not in PROCESSOR_MAPPING:
        raise ReaderError(
            f"{model} is a {config.model_type} model, which has no processor for images and text: "
            "name an image-text-to-text model"
        )
    kind = PROCESSOR_MAPPING[type(config)]
    if "video_processor" in kind.get_attributes():  # the same with and without torchvision
        kind = _without_video_processor(kind)
        # Some classes have no default for it.
        where = {**where, "video_processor": None}
        processor = kind.from_pretrained(model, trust_remote_code=False, **where)
    else:
        processor = AutoProcessor.from_pretrained(model, trust_remote_code=False, **where)
    if not getattr(processor, "chat_template", None):
        raise ReaderError(
            f"{model} has no chat template: add chat_template.jinja to its folder, "
            "or name a model that was trained to follow instructions"
        )
    _fill_missing_settings(processor, config)
    return processor


def _without_video_processor(kind: type[Any]) -> type[Any]:
    """The same processor class without its video part, the only one that needs torchvision."""

    class WithoutVideo(kind):  # type: ignore[misc]
        @classmethod
        def get_attributes(cls) -> list[str]:
            return [name for name in super().get_attributes() if name != "video_processor"]

    WithoutVideo.__name__ = kind.__name__
    return WithoutVideo


def _fill_missing_settings(processor: Any, config: Any) -> None:
    """Copies settings that older LLaVA checkpoints keep in the model's configuration."""
    if getattr(processor, "patch_size", 0) is None:
        processor.patch_size = config.vision_config.patch_size
    if getattr(processor, "vision_feature_select_strategy", "") is None:
        processor.vision_feature_select_strategy = config.vision_feature_select_strategy
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "left"  # new tokens are appended on the right of every row
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token


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
                        *folder.glob("*.jinja")]):  # fmt: skip
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\0".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(_DIGEST_BYTES))
            opened.seek(max(0, size - _DIGEST_BYTES))
            digest.update(opened.read(_DIGEST_BYTES))
    return digest.hexdigest()


def check_model_folder(model: str) -> None:
    """Refuses a folder without a checkpoint in safetensors; a hub id passes.

    Raises:
        Missing: there is no such folder, or it lacks a file that a checkpoint needs.
    """
    folder = Path(model)
    if not folder.is_dir():
        if folder.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
            raise Missing(f"there is no folder {model}: check the path given as --reader")
        return
    if not (folder / "config.json").is_file():
        raise Missing(f"{model} has no config.json, so it is no model: check the path of --reader")
    if not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt*"))
        found = "only pickled ones, which can run code" if pickled else "none at all"
        raise Missing(
            f"{model} has no weights in safetensors, {found}: use a revision that has them, or "
            "convert them with save_pretrained() on a machine without valuable data"
        )


@contextmanager
def translate_loading_errors(model: str, offline: bool) -> Iterator[None]:
    """Translates errors of transformers while a model loads; the messages name the next command."""
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
