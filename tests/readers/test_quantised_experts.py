"""Mixtures of experts, and layers that bitsandbytes cannot pack, by tiny models of true classes."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from bitsandbytes.nn import Linear4bit

from rag_vqa.errors import ReaderError
from rag_vqa.memory import model_shape
from rag_vqa.model_structure import expert_weights, meta_model
from rag_vqa.readers.local.reader import LocalReader
from rag_vqa.readers.model_loading import load_model, refuse_quantised_experts
from tests.support.tiny_readers import CHATML, tokenizer_of

SIZES: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16,
}  # fmt: skip
TOWER = {
    "depth": 2, "hidden_size": 64, "out_hidden_size": 64, "intermediate_size": 64, "num_heads": 2,
    "num_position_embeddings": 64,
}  # fmt: skip
FOUR = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
LOCAL = ["sliding_attention", "full_attention"]


def qwen3_vl_moe() -> Any:
    text = {**SIZES, **FOUR, "intermediate_size": 128, "rope_parameters": ROPE}
    return transformers.Qwen3VLMoeConfig(
        text_config=text, vision_config={**TOWER, "deepstack_visual_indexes": [0]}
    )


def qwen3_5_moe() -> Any:
    text = {**SIZES, **FOUR, "shared_expert_intermediate_size": 64}
    return transformers.Qwen3_5MoeConfig(text_config=text, vision_config=TOWER)


def gemma4() -> Any:
    text = {
        **SIZES, "intermediate_size": 128, "vocab_size_per_layer_input": 300,
        "hidden_size_per_layer_input": 0, "layer_types": LOCAL, "enable_moe_block": True,
        "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 64,
    }  # fmt: skip
    tower = {**TOWER, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    return transformers.Gemma4Config(text_config=text, vision_config=tower, audio_config=None)


def mixtral() -> Any:
    return transformers.MixtralConfig(**SIZES, intermediate_size=128, num_local_experts=4)


def gpt_oss() -> Any:
    return transformers.GptOssConfig(
        **SIZES, intermediate_size=128, num_local_experts=4, layer_types=LOCAL
    )


# Two layers of four experts. Each is 64 wide with three matrices: gate, up and down.
SMALL, LARGE = 2 * 4 * 3 * 64 * 64, 2 * 4 * 3 * 64 * 128
MIXTURES = [(qwen3_vl_moe, SMALL), (qwen3_5_moe, SMALL), (gemma4, SMALL), (mixtral, LARGE),
            (gpt_oss, LARGE)]  # fmt: skip


@pytest.mark.parametrize(("make", "numbers"), MIXTURES)
def test_experts_are_counted_and_never_called_quantised(make: Any, numbers: int) -> None:
    shape = model_shape(make())
    model = meta_model(make())
    assert shape.experts == numbers
    assert sum(weight.numel() for weight in expert_weights(model).values()) == numbers
    assert shape.whole + shape.linear == model.num_parameters()
    assert shape.whole > numbers


@pytest.mark.parametrize(("make", "numbers"), MIXTURES)
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_a_quantised_mixture_is_refused_with_its_true_size(
    make: Any, numbers: int, quantization: str
) -> None:
    config = make()
    refuse_quantised_experts("org/mixture", config, "none", torch.float32)
    with pytest.raises(ReaderError, match="--quantization none") as caught:
        refuse_quantised_experts("org/mixture", config, quantization, torch.float32)
    whole = meta_model(config).num_parameters()
    size = f"{whole * 4 / 1e6:.0f} MB"
    for part in ("org/mixture", size, f"{numbers / whole:.0%} of its weights", "--server"):
        assert part in str(caught.value)


def test_dense_models_are_not_refused() -> None:
    config = transformers.LlamaConfig(**SIZES, intermediate_size=128)
    refuse_quantised_experts("org/dense", config, "nf4", torch.float32)
    assert model_shape(config).experts == 0


@pytest.fixture(scope="module")
def mixture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixture")
    tokenizer = tokenizer_of(["<pad>", "<|im_end|>"], [], pad_token="<pad>", eos_token="<|im_end|>")
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    config = transformers.MixtralConfig(
        **{**SIZES, "vocab_size": len(tokenizer)}, intermediate_size=128, num_local_experts=4
    )
    torch.manual_seed(0)
    transformers.MixtralForCausalLM(config).save_pretrained(folder)
    return folder


def test_a_reader_refuses_before_weights_load(mixture_folder: Path, monkeypatch: Any) -> None:
    def loads(*args: Any, **options: Any) -> Any:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("rag_vqa.readers.local.reader.load_model", loads)
    with pytest.raises(ReaderError, match="mixture of experts"):
        LocalReader(mixture_folder, quantization="nf4", device="cpu")


def test_a_mixture_loads_whole(mixture_folder: Path) -> None:
    reader = LocalReader(mixture_folder, device="cpu", max_new_tokens=2)
    assert {weight.dtype for weight in reader.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("inner", [96, 112])
def test_layers_that_cannot_be_packed_stay_whole(inner: int, tmp_path: Path) -> None:
    """96 inputs are no multiple of 64; 112 outputs are no multiple of 32."""
    config = transformers.LlamaConfig(**SIZES, intermediate_size=inner)
    torch.manual_seed(0)
    exact = transformers.LlamaForCausalLM(config).eval()
    exact.save_pretrained(tmp_path)
    model = load_model(str(tmp_path), config, "nf4", "cpu", torch.float32)
    layer = model.model.layers[0]
    assert type(layer.mlp.down_proj) is torch.nn.Linear
    assert isinstance(layer.self_attn.q_proj, Linear4bit)
    asked = torch.arange(40)[None]
    with torch.inference_mode():
        found, expected = model(asked).logits, exact(asked).logits
    assert torch.nn.functional.cosine_similarity(found, expected, dim=-1).min() > 0.98
