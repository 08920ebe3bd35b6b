"""Processors of a reader: without video parts or code of a checkpoint, with a chat template."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_readers import QWEN_CHAT, tokenizer_of
from transformers import AutoConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from rag_vqa.errors import Missing, ReaderError
from rag_vqa.readers.processor_loading import load_processor
from rag_vqa.readers.prompt_encoder import PromptEncoder


def test_code_beside_a_model_is_not_run(
    qwen_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A family with a video part whose configuration does not name its tokenizer's class.

    There transformers would ask whether to run the checkpoint's code, and this test answers yes.
    """
    from transformers import LlavaOnevisionConfig

    folder, ran = tmp_path / "planted", tmp_path / "ran"
    shutil.copytree(qwen_folder, folder)
    config = LlavaOnevisionConfig()
    config.save_pretrained(folder)
    code = f"open({str(ran)!r}, 'w').close()\nclass Planted: pass\n"
    (folder / "planted.py").write_text(code)
    maps: dict[str, dict[str, Any]] = {
        "tokenizer_config.json": {"AutoTokenizer": [None, "planted.Planted"]},
        "preprocessor_config.json": {"AutoImageProcessor": "planted.Planted"},
        "processor_config.json": {"AutoProcessor": "planted.Planted"},
    }
    for name, auto_map in maps.items():
        file = folder / name
        stated = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(stated | {"auto_map": auto_map}))
    tokenizer = folder / "tokenizer_config.json"
    stated = json.loads(tokenizer.read_text()) | {"tokenizer_class": "Planted"}
    tokenizer.write_text(json.dumps(stated))
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda text="": asked.append(text) or "y")
    with pytest.raises(ValueError, match="custom code"):
        load_processor(str(folder), config)
    assert asked == []
    assert not ran.exists()


def test_a_model_without_images_and_text_has_no_processor(tmp_path: Path) -> None:
    from transformers import ViTConfig

    with pytest.raises(ReaderError, match=r"vit.*image-text-to-text"):
        load_processor(str(tmp_path), ViTConfig())


def test_a_model_without_chat_template_is_refused(qwen_folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(qwen_folder, bare)
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(ReaderError, match="no chat template"):
        load_processor(str(bare), AutoConfig.from_pretrained(bare))


def processor_folder(folder: Path, kind: str, images: str) -> Any:
    """The files of a processor as the hub has them; returns the configuration."""
    marks = ["<|image_pad|>", "<|video_pad|>", "<|image|>", "<|video|>"]
    tokenizer = tokenizer_of(
        ["<pad>", "</s>", *marks],
        ["capital"],
        pad_token="<pad>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
    )
    tokenizer.chat_template = QWEN_CHAT
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": images}))
    config = CONFIG_MAPPING[kind]()
    config.save_pretrained(folder)
    return config


@pytest.mark.parametrize(
    ("kind", "images"),
    [
        ("qwen3_5", "Qwen2VLImageProcessorFast"),  # the name of the class that needs torchvision
        ("glm4v", "Glm4vImageProcessor"),
        ("llava_next_video", "LlavaNextImageProcessor"),  # its video part comes first
        ("video_llama_3", "VideoLlama3ImageProcessor"),
        ("exaone4_5", "Qwen2VLImageProcessor"),
    ],
)
def test_a_video_part_is_left_out_wherever_it_stands(
    tmp_path: Path, kind: str, images: str
) -> None:
    processor = load_processor(str(tmp_path), processor_folder(tmp_path, kind, images))
    assert processor.image_token == "<|image_pad|>"
    assert type(processor.image_processor).__name__.endswith("Pil")
    assert "video_processor" not in processor.to_dict()


@pytest.mark.parametrize(
    ("kind", "images"),
    [("llama4", "Llama4ImageProcessor"), ("mistral3", "PixtralImageProcessor")],
)
def test_images_that_need_torchvision_are_named(tmp_path: Path, kind: str, images: str) -> None:
    config = processor_folder(tmp_path, kind, images)
    with pytest.raises(Missing, match=f"images of {kind} models need torchvision.*--server"):
        load_processor(str(tmp_path), config)


def test_a_tokenizer_without_the_processors_marks_is_named(tmp_path: Path) -> None:
    config = processor_folder(tmp_path, "minicpmv4_6", "MiniCPMV4_6ImageProcessor")
    with pytest.raises(ReaderError, match="minicpmv4_6 models does not fit its tokenizer"):
        load_processor(str(tmp_path), config)


def copied(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    (target / "chat_template.jinja").unlink()
    return target


def test_named_templates_the_default_is_taken(qwen_folder: Path, tmp_path: Path) -> None:
    folder = copied(qwen_folder, tmp_path / "named")
    file = folder / "tokenizer_config.json"
    named = [{"name": "tool_use", "template": "TOOLS"}, {"name": "default", "template": QWEN_CHAT}]
    stated = json.loads(file.read_text())
    file.write_text(json.dumps({**stated, "chat_template": named}))
    processor = load_processor(str(folder), AutoConfig.from_pretrained(folder))
    assert processor.chat_template == QWEN_CHAT
    assert PromptEncoder(processor).template.source == QWEN_CHAT
    file.write_text(
        json.dumps({**stated, "chat_template": [{**named[0]}, {**named[0], "name": "rag"}]})
    )
    with pytest.raises(
        ReaderError, match="several chat templates and none is the default: rag, tool_use"
    ):
        load_processor(str(folder), AutoConfig.from_pretrained(folder))


def test_a_template_within_the_tokenizers_configuration(qwen_folder: Path, tmp_path: Path) -> None:
    folder = copied(qwen_folder, tmp_path / "inside")
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "chat_template": QWEN_CHAT}))
    processor = load_processor(str(folder), AutoConfig.from_pretrained(folder))
    assert processor.chat_template == QWEN_CHAT


def test_a_template_in_the_processors_json(qwen_folder: Path, tmp_path: Path) -> None:
    folder = copied(qwen_folder, tmp_path / "json")
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": QWEN_CHAT}))
    processor = load_processor(str(folder), AutoConfig.from_pretrained(folder))
    assert processor.chat_template == QWEN_CHAT
