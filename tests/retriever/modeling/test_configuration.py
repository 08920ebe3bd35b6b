"""Configurations: released files read whole, mistakes refused, nothing of the caller's changed."""

import json
from pathlib import Path

import pytest

from rag_vqa.retriever.modeling.configuration import LAYER_STRATEGIES, RetConfig, RetrieverConfig

GOLDEN = Path(__file__).parents[2] / "golden"


def test_strategies_are_the_release_s() -> None:
    # Written out from the paper's supplement and the release, not computed.
    text, vision = LAYER_STRATEGIES["openclip_vit_g"]
    assert text == (0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 31)
    assert vision == (2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 32, 35, 38, 41, 44, 47)
    assert LAYER_STRATEGIES["clip_vit_l"][1] == (0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22)
    assert LAYER_STRATEGIES["openclip_vit_h"][0] == (1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23)


@pytest.mark.parametrize("name", [p.parent.name for p in GOLDEN.glob("*/config.json")])
def test_released_files(name: str) -> None:
    raw = json.loads((GOLDEN / name / "config.json").read_text())
    before = json.dumps(raw)
    config = RetrieverConfig.from_dict(raw)
    assert json.dumps(raw) == before  # the release pops model_type out of the caller's dict
    assert config.query.hidden_size == raw["query_config"]["hidden_size"]
    assert config.query.text_config.model_type == "clip_text_model"
    again = RetrieverConfig.from_dict(config.to_dict())
    assert again.passage.layers == config.passage.layers
    assert again.share_text_models == raw["share_text_models"]


def test_derived_sizes_ignore_the_file() -> None:
    config = RetConfig(hidden_size=128, intermediate_size=7, num_attention_heads=99)
    assert (config.intermediate_size, config.num_attention_heads) == (512, 2)


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("hidden_size", 100, "multiple"),
        ("num_queries", 0, "num_queries"),
        ("num_queries", 2000, "num_queries"),
        ("activation_fn", "silu", "relu"),
        ("layer_strategy", "clip_vit_x", "clip_vit_b"),
        ("layer_strategy", {"text": [0], "vision": [0, 1]}, "2 vision"),
        ("layer_strategy", {"text": [0]}, "explicit"),
    ],
)
def test_mistakes_are_refused(field: str, value: object, word: str) -> None:
    with pytest.raises(Exception, match=word):
        RetConfig(**{field: value})


def test_sharing_replaces_the_passage_side() -> None:
    query = {"text_config": {"hidden_size": 64}, "vision_config": {"hidden_size": 48}}
    other = {"text_config": {"hidden_size": 8}, "vision_config": {"hidden_size": 24}}
    both = RetrieverConfig(query_config=query, passage_config=other, share_vision_models=False)
    assert both.passage.text_config.hidden_size == 64
    assert both.passage.vision_config.hidden_size == 24
    one = RetrieverConfig(query_config=query, passage_config=other, share_query_passage_models=True)
    assert one.passage.vision_config.hidden_size == 48
