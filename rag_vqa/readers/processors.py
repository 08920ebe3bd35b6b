"""The processor of a reader: tokenizer and image processor, without torchvision.

It knows how processors are built from a folder or the hub. It does not know prompts or models.
"""

from __future__ import annotations

from typing import Any

from rag_vqa.errors import ReaderError


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
        kind = _without_video(kind)
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
    _complete(processor, config)
    return processor


def _without_video(kind: type[Any]) -> type[Any]:
    """The same processor without its video part, which alone is what needs torchvision."""

    class WithoutVideo(kind):  # type: ignore[misc]
        @classmethod
        def get_attributes(cls) -> list[str]:
            return [name for name in super().get_attributes() if name != "video_processor"]

    WithoutVideo.__name__ = kind.__name__
    return WithoutVideo


def _complete(processor: Any, config: Any) -> None:
    """Older LLaVA checkpoints leave to the model's configuration what the processor needs."""
    if getattr(processor, "patch_size", 0) is None:
        processor.patch_size = config.vision_config.patch_size
    if getattr(processor, "vision_feature_select_strategy", "") is None:
        processor.vision_feature_select_strategy = config.vision_feature_select_strategy
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "left"  # new tokens are written on the right of every row
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
