"""Shapes from configurations, against the models that these make."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as TEXT
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as IMAGES,
)

from rag_vqa.errors import Missing
from rag_vqa.memory import count_parameters, model_shape
from rag_vqa.model_structure import meta_model
from rag_vqa.readers.model_loading import load_model
from tests.support.tiny_readers import FAMILIES


@pytest.mark.parametrize("family", ["llava", "qwen"])
def test_parameters_are_those_of_the_loaded_model(
    family: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(f"{family}_folder")
    shape = model_shape(AutoConfig.from_pretrained(folder))
    model = AutoModelForImageTextToText.from_pretrained(folder)
    total = sum(p.numel() for p in model.parameters())
    linear = sum(
        p.numel()
        for name, p in model.named_parameters()
        if "language_model.layers" in name and p.dim() == 2
    )
    assert (shape.linear, shape.whole) == (linear, total - linear)
    assert count_parameters(folder) == total
    # 2 heads of keys, 16 wide, as the fixtures say.
    assert (shape.layers, shape.hidden, shape.inner, shape.heads) == (2, 64, 128, 32)
    assert (shape.vision_hidden, shape.vision_inner) == (64, 64)


@pytest.mark.parametrize("family", ["smolvlm", "gemma3"])
def test_what_is_counted_as_quantised_is_what_is_quantised(family: str, tmp_path: Path) -> None:
    """Also where the language model is called text_model."""
    from bitsandbytes.nn import Linear4bit

    FAMILIES[family](tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    model = load_model(str(tmp_path), config, "nf4", "cpu", torch.float32)
    layers = [layer for layer in model.modules() if isinstance(layer, Linear4bit)]
    quantised = sum(layer.in_features * layer.out_features for layer in layers)
    assert model_shape(config).linear == quantised > 0


def configurations(mapping: Mapping[str, Any]) -> Iterator[Any]:
    """The default configuration of each class with two layers, where a model can be made of it."""
    for kind in mapping:
        with suppress(Exception):
            config = CONFIG_MAPPING[kind]()
            text = config.get_text_config(decoder=True)
            with suppress(Exception):
                text.num_hidden_layers = 2
                text.layer_types = text.layer_types[-2:]
            meta_model(config)
            yield config


@pytest.mark.slow
@pytest.mark.parametrize("mapping", [IMAGES, TEXT], ids=["images", "text"])
def test_every_class_of_transformers_has_a_shape(mapping: Mapping[str, Any]) -> None:
    counted, whole = 0, set()
    for config in configurations(mapping):
        shape = model_shape(config)
        model = meta_model(config)
        assert shape.linear + shape.whole == sum(p.numel() for p in model.parameters())
        if not shape.linear:
            whole.add(config.model_type)
        counted += 1
    assert counted > len(mapping) * 0.7
    # Their linear layers are of classes of their own, or not within a decoder.
    assert whole <= {"falcon", "modernbert-decoder"}


def test_keys_of_layers_that_differ() -> None:
    """Gemma 4: five sliding layers of 2 heads, 8 wide, then a full one of 1 head, 16 wide."""
    from transformers import Gemma4TextConfig

    text = Gemma4TextConfig(
        vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=6,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, global_head_dim=16,
        num_global_key_value_heads=1, attention_k_eq_v=True, hidden_size_per_layer_input=0,
        vocab_size_per_layer_input=40,
    )  # fmt: skip
    assert text.is_heterogeneous
    assert model_shape(text).heads == 16


def test_a_state_that_does_not_grow_is_no_key() -> None:
    """Qwen3-Next: three of four layers are gated delta nets."""
    from transformers import Qwen3NextConfig

    text = Qwen3NextConfig(
        vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, num_experts=4,
        moe_intermediate_size=24, shared_expert_intermediate_size=24, num_experts_per_tok=2,
    )  # fmt: skip
    shape = model_shape(text)
    assert text.layer_types.count("linear_attention") == 3
    assert (shape.layers, shape.heads) == (1, 2 * 16)
    assert shape.inner == 2 * 24


def test_what_a_picture_takes(llava_folder: Path, qwen_folder: Path) -> None:
    llava = model_shape(AutoConfig.from_pretrained(llava_folder))
    assert llava.patches == (32 // 16) ** 2 + 1
    qwen = model_shape(AutoConfig.from_pretrained(qwen_folder))
    assert (qwen.patches, qwen.patch, qwen.merged) == (0, 14, 4)


def test_tiles_of_llava_next_are_counted() -> None:
    from transformers import CLIPVisionConfig, LlavaNextConfig

    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
        image_size=32, patch_size=16,
    )  # fmt: skip
    text = {
        "model_type": "llama", "vocab_size": 40, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
    }  # fmt: skip
    config = LlavaNextConfig(
        vision_config=vision, text_config=text, image_grid_pinpoints=[[32, 64], [64, 64]],
        image_token_index=3,
    )  # fmt: skip
    assert model_shape(config).patches == (1 + 4) * ((32 // 16) ** 2 + 1)


def test_a_folder_without_weights_and_one_with_half_of_them(
    tmp_path: Path, llava_folder: Path
) -> None:
    with pytest.raises(Missing, match="no weights in safetensors"):
        count_parameters(tmp_path)
    whole = (llava_folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:20])
    with pytest.raises(Missing, match="Fetch them again"):
        count_parameters(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(Missing, match="Fetch them again"):
        count_parameters(tmp_path)


def test_nothing_is_built_in_memory(llava_folder: Path) -> None:
    config = AutoConfig.from_pretrained(llava_folder)
    config.text_config.hidden_size = 65_536  # 2**33 numbers in one layer alone
    config.text_config.intermediate_size = 131_072
    config.text_config.num_attention_heads = 512
    assert model_shape(config).largest == 2**33
    assert torch.get_default_device() == torch.device("cpu")
