"""Variants of ReT: the paper's ablations, each one switch on a configuration.

Knows what a switch does to a configuration. Does not know models: RetModel builds what the
configuration says, and what a switch leaves out does not exist.
"""

from typing import Any, Literal

from rag_vqa.retriever.configuration import Fusion, RetConfig, RetrieverConfig
from rag_vqa.sections import Section


class Variant(Section):
    """What differs from a configuration; None leaves it as it is.

    Attributes:
        gates: False adds what is read of each modality to the state, without input or forget gate.
        layers: "last" is one step, on the last layer of each tower.
        fusion: "text" or "image" reads that modality alone.
        tokens: learned queries, and so features of an item, before pooling.
        pool: one vector an item, the mean of its tokens.
        one_model: one cell and one projection for both sides.
    """

    gates: bool | None = None
    layers: Literal["last"] | None = None
    fusion: Fusion | None = None
    tokens: int | None = None
    pool: bool | None = None
    one_model: bool | None = None


def varied(config: RetrieverConfig, variant: Variant) -> RetrieverConfig:
    """A new configuration with these differences on both sides; `config` stays as it is.

    Raises ValueError (of the configuration) where a size cannot be.
    """
    raw = config.to_dict()
    raw |= {
        "query_config": _side(config.query, variant),
        "passage_config": _side(config.passage, variant),
    }
    if variant.one_model is not None:
        raw["share_query_passage_models"] = variant.one_model
    return RetrieverConfig.from_dict(raw)  # type: ignore[no-any-return]


def _side(config: RetConfig, variant: Variant) -> dict[str, Any]:
    raw = config.to_dict()
    named = {
        "gates": variant.gates,
        "fusion": variant.fusion,
        "num_queries": variant.tokens,
        "use_pooler_features": variant.pool,
    }
    raw |= {name: value for name, value in named.items() if value is not None}
    if variant.layers == "last":
        raw["layer_strategy"] = {
            "text": _last(config.text_config),
            "vision": _last(config.vision_config),
        }
    return raw


def _last(tower: object) -> list[int]:
    count: int | None = getattr(tower, "num_hidden_layers", None)
    if count is None:
        raise ValueError("the last layer alone needs text_config and vision_config")
    return [count - 1]
