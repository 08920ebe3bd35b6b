"""Loads a reader's processor from a folder or the hub: tokenizer, images, chat template.

Knows how processors are built without torchvision, and which cannot be. Does not know weights
(model_loading.py) or prompts. Never runs code from a checkpoint. The remote back end uses it for
tokenizers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rag_vqa.errors import Missing, ReaderError
from rag_vqa.model_structure import is_text_only


def load_processor(model: str, config: Any, **where: Any) -> Any:
    """A processor for text and images, padding on the left, with a chat template.

    Args:
        model: folder or hub id.
        config: the model's configuration, which states what older processors leave out.
        where: `revision`, `local_files_only`.

    Raises:
        ReaderError: the model has no processor, one without images in its text, or no chat
            template.
        Missing: its images need a package that is not installed.
        OSError: from transformers, if files are missing.
    """
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    if is_text_only(config):
        return _TextProcessor(model, **where)
    if type(config) not in PROCESSOR_MAPPING:
        raise ReaderError(
            f"{model} is a {config.model_type} model, which has no processor for images and text: "
            "name an image-text-to-text model"
        )
    with _translate_errors(model, config):
        kind = _without_video(PROCESSOR_MAPPING[type(config)])
        processor = kind.from_pretrained(model, trust_remote_code=False, **where)
    if not isinstance(getattr(processor, "image_token", None), str):
        raise ReaderError(
            f"{model} is a {config.model_type} model, whose processor has no mark for an image "
            "within a text: name a model for chats about images"
        )
    processor.chat_template = _default_template(processor, model)
    _fill_missing_settings(processor, config)
    return processor


@contextmanager
def _translate_errors(model: str, config: Any) -> Iterator[None]:
    """Raises Missing where torchvision is not installed, and ReaderError for unfitting files."""
    try:
        yield
    except (AttributeError, TypeError, KeyError, IndexError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ReaderError(
            f"{model}: the processor of {config.model_type} models does not fit its tokenizer or "
            f"its files: {reason}. Fetch the model again, or name another reader"
        ) from error
    except (ImportError, ValueError) as error:
        if "torchvision" not in str(error).lower():
            raise
        raise Missing(
            f"{model}: images of {config.model_type} models need torchvision, which is not "
            "installed. Install the build that fits this torch (https://pytorch.org), run the "
            "model behind a server (--server), or name another reader"
        ) from error


def check_vocabulary(model: str, tokenizer: Any, config: Any) -> None:
    """Refuses a tokenizer of another model, whose tokens this one has no numbers for.

    Tokens that were added do not count: some models bring more of them than they can read.

    Raises:
        ReaderError: it has more tokens.
    """
    size = getattr(config.get_text_config(), "vocab_size", None)
    if isinstance(size, int) and tokenizer.vocab_size > size:
        raise ReaderError(
            f"{model}: its tokenizer has {tokenizer.vocab_size:,} tokens, and the model reads "
            f"{size:,}: it belongs to another model. Fetch the model again"
        )


class _TextProcessor:
    """A tokenizer alone, called as the processor of a model that sees is called."""

    image_token = ""
    image_token_ids = ()

    def __init__(self, model: str, **where: Any) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False, **where)
        self.chat_template = _default_template(self, model)
        _prepare_padding(self.tokenizer)

    def __call__(self, text: list[str], images: None = None, **options: Any) -> Any:
        from transformers import BatchFeature

        return BatchFeature(dict(self.tokenizer(text, **options)))


class _VideoStub:
    """Stands in for a video processor, which needs torchvision. Its settings are all None."""

    model_input_names = ()

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
        return


def _without_video(kind: type[Any]) -> type[Any]:
    """The same processor class with a stub for its video part; itself if it has none.

    The class keeps its attribute: some hand it on by position, others by keyword, and some read
    settings from it.
    """
    if "video_processor" not in kind.get_attributes():  # the same with and without torchvision
        return kind

    class Files(kind):  # type: ignore[misc]
        """Loads all parts but the video processor."""

        @classmethod
        def get_attributes(cls) -> list[str]:
            return [name for name in kind.get_attributes() if name != "video_processor"]

    class WithoutVideo(kind):  # type: ignore[misc]
        @classmethod
        def get_attributes(cls) -> list[str]:
            return list(kind.get_attributes())

        @classmethod
        def _get_arguments_from_pretrained(cls, *args: Any, **options: Any) -> list[Any]:
            parts = iter(Files._get_arguments_from_pretrained(*args, **options))
            names = cls.get_attributes()
            return [_VideoStub() if name == "video_processor" else next(parts) for name in names]

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if isinstance(argument, _VideoStub):
                return _VideoStub
            return super().check_argument_for_proper_class(argument_name, argument)

        def to_dict(self) -> dict[str, Any]:
            return {k: v for k, v in super().to_dict().items() if k != "video_processor"}

    Files.__name__ = WithoutVideo.__name__ = kind.__name__
    return WithoutVideo


def _default_template(processor: Any, model: str) -> str:
    """The chat template of a processor or its tokenizer; of several with names, the default one.

    Raises:
        ReaderError: there is none.
    """
    template = getattr(processor, "chat_template", None)  # a tokenizer alone has its own
    template = template or getattr(processor.tokenizer, "chat_template", None)
    if isinstance(template, dict):
        if len(template) > 1 and "default" not in template:
            names = ", ".join(sorted(template))
            raise ReaderError(
                f"{model} has several chat templates and none is the default: {names}"
            )
        template = template.get("default") or next(iter(template.values()), None)
    if not template:
        raise ReaderError(
            f"{model} has no chat template: add chat_template.jinja to its folder, "
            "or name a model that was trained to follow instructions"
        )
    return str(template)


def _fill_missing_settings(processor: Any, config: Any) -> None:
    """Copies settings that older LLaVA checkpoints keep in the model's configuration."""
    if getattr(processor, "patch_size", 0) is None:
        processor.patch_size = config.vision_config.patch_size
    if getattr(processor, "vision_feature_select_strategy", "") is None:
        processor.vision_feature_select_strategy = config.vision_feature_select_strategy
    _prepare_padding(processor.tokenizer)


def _prepare_padding(tokenizer: Any) -> None:
    tokenizer.padding_side = "left"  # new tokens are appended on the right of every row
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
