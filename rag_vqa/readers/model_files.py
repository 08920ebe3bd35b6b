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

_DIGEST_BYTES = (
    2**20
)  # bytes of each end of a file that are read: weights of gigabytes take no minutes


def load_processor(model: str, config: Any, **where: Any) -> Any:
    """A processor for text and images, padding on the left, with a chat template.

    Args:
        model: folder or hub id.
        config: the model's configuration, which says what older processors leave out.
        where: `revision`, `local_files_only`.

    Raises:
        ReaderError: the model has no processor, or no chat template.
        OSError: of transformers, where files are not to be had.
    """
    from transformers import AutoProcessor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    if type(config) not in PROCESSOR_MAPPING:
        raise ReaderError(
            f"{model} is a {config.model_type} model, which has no processor for images and text: "
            "name an image-text-to-text model"
        )
    kind = PROCESSOR_MAPPING[type(config)]
    if "video_processor" in kind.get_attributes():  # with torchvision too: one way everywhere
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
    """The same processor without its video part, which alone is what needs torchvision."""

    class WithoutVideo(kind):  # type: ignore[misc]
        @classmethod
        def get_attributes(cls) -> list[str]:
            return [name for name in super().get_attributes() if name != "video_processor"]

    WithoutVideo.__name__ = kind.__name__
    return WithoutVideo


def _fill_missing_settings(processor: Any, config: Any) -> None:
    """Older LLaVA checkpoints leave to the model's configuration what the processor needs."""
    if getattr(processor, "patch_size", 0) is None:
        processor.patch_size = config.vision_config.patch_size
    if getattr(processor, "vision_feature_select_strategy", "") is None:
        processor.vision_feature_select_strategy = config.vision_feature_select_strategy
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "left"  # new tokens are written on the right of every row
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token


def model_record_name(model: str, commit: str | None, quantization: str) -> str:
    """`id@commit+nf4`. Of a folder its last part, so that no path of a machine is recorded, and in
    place of the commit a digest of its files; the embedded reader is "demo".
    """
    folder = Path(model)
    if folder.is_dir():
        commit = checkpoint_digest(folder)
        embedded = folder.resolve() == Path(model_source(EMBEDDED, "reader")).resolve()
        model = EMBEDDED if embedded else folder.resolve().name
    return f"{model}@{commit}+{quantization}" if commit else f"{model}+{quantization}"


def checkpoint_digest(folder: Path) -> str:
    """Of a checkpoint: names, sizes and both ends of its files; 12 hex digits.

    Weights that were trained on differ in their ends as well; a file that was changed in its
    middle alone, at the same size, is not told apart.
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
def translate_loading_errors(model: str, offline: bool) -> Iterator[None]:
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
