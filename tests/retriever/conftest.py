"""A tiny checkpoint. What needs no model does not load torch for it."""

import json
from pathlib import Path

import pytest

WORDS = ["<s>", "</s>", "a", "red", "bird", "find", "where", "does", "it", "nest"]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A retriever of two layers with random weights, whole: with tokenizer and image processor."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPImageProcessorPil, PreTrainedTokenizerFast

    from rag_vqa.retriever.configuration import RetConfig, RetrieverConfig
    from rag_vqa.retriever.encoder import INSTRUCTION_FILE
    from rag_vqa.retriever.model import RetrieverModel

    folder = tmp_path_factory.mktemp("tiny-ret")
    torch.manual_seed(0)
    text = {
        "vocab_size": len(WORDS),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 8,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
        "_name_or_path": "/somebody/else/clip",
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
    }
    side = {
        "text_config": text,
        "vision_config": vision,
        "layer_strategy": {"text": [0, 1], "vision": [0, 1]},
        "hidden_size": 64,
        "num_queries": 4,
        "late_proj_output_size": 8,
    }
    config = RetrieverConfig(query_config=RetConfig(**side), passage_config=RetConfig(**side))
    RetrieverModel(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=words, model_max_length=8, bos_token="<s>", eos_token="</s>",
        pad_token="</s>",
    ).save_pretrained(folder)  # fmt: skip
    size = {"height": 16, "width": 16}
    CLIPImageProcessorPil(size=size, crop_size=size).save_pretrained(folder)
    (folder / INSTRUCTION_FILE).write_text(json.dumps({"default": "find"}))
    return folder
