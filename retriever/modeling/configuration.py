"""ReT's configurations: the released config.json files, plus our extensions.

Knows names, defaults and layer lists. Does not know tensors: importing this loads no model code.
The extensions are explicit layer lists, `logit_scale`, and two switches of the paper's ablations,
`gates` and `fusion`. The release knows none of them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, CLIPTextConfig, CLIPVisionConfig, PreTrainedConfig

from rag_vqa.errors import RagVqaError, UsageError
from rag_vqa.retriever.modeling import find_family

# Indices of encoder layers (0 = output of the first layer), one for each recurrence step.
LAYER_STRATEGIES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "clip_vit_b": (tuple(range(12)), tuple(range(12))),
    "clip_vit_l": (tuple(range(12)), tuple(range(0, 24, 2))),
    "openclip_vit_h": (tuple(range(1, 24, 2)), (0, 2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 31)),
    # The text list ends 28, 31: the release skips 30.
    "openclip_vit_g": ((*range(0, 29, 2), 31), tuple(range(2, 48, 3))),
}
HEAD_WIDTH = 64
Fusion = Literal["both", "text", "image"]
# A file holds these extensions only if they are used: without them it is the release's.
EXTENSION_DEFAULTS: dict[str, Any] = {"gates": True, "fusion": "both"}


@strict
class RetConfig(PreTrainedConfig):  # type: ignore[misc]
    """One side of a retriever: two CLIP towers, the fusion cell, the projection.

    `layer_strategy` is a name of LAYER_STRATEGIES, or our extension
    `{"text": [...], "vision": [...]}`, two lists of equal length.
    `late_proj_output_size` 0 or None means no projection.

    Two extensions of ours: `gates` False adds the read of each modality to the state without any
    gate; `fusion` "text" or "image" reads that modality alone, and the other's part of the cell is
    not built. All items that lack the only modality read have equal features. The release's class
    accepts any key and ignores these: it would load such a checkpoint with random gates, which is
    why `export_released` refuses it.
    """

    model_type = "ret"

    text_config: dict[str, Any] | CLIPTextConfig | None = None
    vision_config: dict[str, Any] | CLIPVisionConfig | None = None
    is_text_frozen: bool = True
    is_vision_frozen: bool = True
    late_proj_output_size: int | None = 128
    layer_strategy: str | dict[str, list[int]] = "clip_vit_b"
    use_pooler_features: bool = False
    num_queries: int = 32
    hidden_size: int = 1024
    dropout_p: float | int = 0.05
    attention_dropout: float | int = 0.05
    activation_fn: str = "gelu"
    input_gate_bias_prior: float | int = 0.0
    forget_gate_bias_prior: float | int = 0.0
    use_tanh: bool = False
    gates: bool = True
    fusion: Fusion = "both"
    intermediate_size: int | None = None
    num_attention_heads: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if isinstance(self.text_config, Mapping):
            self.text_config = CLIPTextConfig(**_drop_model_type(self.text_config))
        if isinstance(self.vision_config, Mapping):
            self.vision_config = CLIPVisionConfig(**_drop_model_type(self.vision_config))
        # Derived, whatever the file contains: the release recomputes them as well.
        self.intermediate_size = 4 * self.hidden_size
        self.num_attention_heads = self.hidden_size // HEAD_WIDTH
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """Called by the strict dataclass. Raises ValueError that names the invalid field."""
        if self.hidden_size % HEAD_WIDTH:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of {HEAD_WIDTH}")
        if not 0 < self.num_queries <= self.hidden_size:
            raise ValueError(f"num_queries {self.num_queries} is not in 1..{self.hidden_size}")
        if self.activation_fn not in ("gelu", "relu"):
            raise ValueError(f"activation_fn {self.activation_fn!r} is neither 'gelu' nor 'relu'")
        text, vision = self.layers
        if len(text) != len(vision) or not text:
            raise ValueError(f"layer_strategy: {len(text)} text and {len(vision)} vision layers")
        for name, used, tower in (
            ("text", text, self.text_config),
            ("vision", vision, self.vision_config),
        ):
            count = getattr(tower, "num_hidden_layers", None)
            if count is not None and not 0 <= min(used) <= max(used) < count:
                raise ValueError(f"layer_strategy: {name} layers {used} of a tower of {count}")

    def to_dict(self) -> dict[str, Any]:
        """As transformers' own, without the extensions that have their default values."""
        raw: dict[str, Any] = super().to_dict()
        return {
            k: v
            for k, v in raw.items()
            if k not in EXTENSION_DEFAULTS or v != EXTENSION_DEFAULTS[k]
        }

    @property
    def num_tokens(self) -> int:
        """K, tokens of an item."""
        return 1 if self.use_pooler_features else self.num_queries

    @property
    def token_width(self) -> int:
        """D, width of a token."""
        return self.late_proj_output_size or self.hidden_size

    @property
    def reads_text(self) -> bool:
        """Whether text reaches the features at all."""
        return self.fusion != "image"

    @property
    def reads_images(self) -> bool:
        """Whether pictures reach the features at all."""
        return self.fusion != "text"

    @property
    def layers(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Encoder layers (text, vision), one pair for each recurrence step."""
        if isinstance(self.layer_strategy, str):
            if self.layer_strategy not in LAYER_STRATEGIES:
                known = ", ".join(LAYER_STRATEGIES)
                raise ValueError(f"layer_strategy {self.layer_strategy!r} is none of: {known}")
            return LAYER_STRATEGIES[self.layer_strategy]
        if set(self.layer_strategy) != {"text", "vision"}:
            raise ValueError('an explicit layer_strategy is {"text": [...], "vision": [...]}')
        return tuple(self.layer_strategy["text"]), tuple(self.layer_strategy["vision"])


@strict
class RetrieverConfig(PreTrainedConfig):  # type: ignore[misc]
    """Both sides, and what they share. `simmetric_loss` is the release's spelling of the key.

    `fg_loss` is here only because the release's files have it: the features' shape decides whether
    tokens or single vectors are compared. `logit_scale` multiplies the scores inside the loss (our
    extension; the release has none).
    """

    model_type = "retriever"

    query_config: dict[str, Any] | RetConfig | None = None
    passage_config: dict[str, Any] | RetConfig | None = None
    fg_loss: bool = True
    simmetric_loss: bool = True
    share_query_passage_models: bool = False
    share_text_models: bool = True
    share_vision_models: bool = True
    logit_scale: float | int = 1.0

    def __post_init__(self, **kwargs: Any) -> None:
        query = _as_ret_config(self.query_config)
        passage = query if self.share_query_passage_models else _as_ret_config(self.passage_config)
        if self.share_text_models:
            passage.text_config = query.text_config
        if self.share_vision_models:
            passage.vision_config = query.vision_config
        self.query_config, self.passage_config = query, passage
        super().__post_init__(**kwargs)

    @property
    def query(self) -> RetConfig:
        """The query side's configuration."""
        return _as_ret_config(self.query_config)

    @property
    def passage(self) -> RetConfig:
        """The passage side's configuration."""
        return _as_ret_config(self.passage_config)


def read_config(source: str | Path, **location: Any) -> dict[str, Any]:
    """The config.json of any checkpoint, as transformers finds it.

    Args:
        location: a revision, a cache folder and the like, as `from_pretrained` takes them.

    Raises:
        OSError: there is none.
    """
    raw, _ = PreTrainedConfig.get_config_dict(str(source), **location)
    return dict(raw)


def load_config(source: str | Path, **location: Any) -> RetrieverConfig:
    """The configuration of a ReT checkpoint; `location` as for `read_config`.

    Raises:
        UsageError: the checkpoint is of another type, such as ReT-2.
        RagVqaError: the configuration is invalid.
        OSError: of transformers, if there is none.
    """
    raw = read_config(source, **location)
    if find_family(source, raw).name != RetrieverConfig.model_type:
        raise UsageError(f"{source} is of type {raw['model_type']!r}: load it with Encoder.load.")
    try:
        return RetrieverConfig.from_dict(raw)  # type: ignore[no-any-return]
    except (StrictDataclassError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise RagVqaError(
            f"{source}/config.json does not describe a ReT model: {reason}"
        ) from error


def load_sides(source: str | Path, **location: Any) -> tuple[RetConfig, RetConfig]:
    """The configurations of query and passage side, of a retriever or of one side of it.

    Raises:
        UsageError, RagVqaError, OSError: as `load_config`.
    """
    raw = read_config(source, **location)
    if raw.get("model_type") == RetConfig.model_type:
        side = RetConfig.from_dict(raw)
        return side, side
    config = load_config(source, **location)
    return config.query, config.passage


def _as_ret_config(config: dict[str, Any] | RetConfig | None) -> RetConfig:
    return config if isinstance(config, RetConfig) else RetConfig(**_drop_model_type(config or {}))


def _drop_model_type(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy: the caller's dict stays usable."""
    return {key: value for key, value in config.items() if key != "model_type"}


# So that AutoConfig, which AutoTokenizer asks, knows our checkpoints.
AutoConfig.register(RetConfig.model_type, RetConfig, exist_ok=True)
AutoConfig.register(RetrieverConfig.model_type, RetrieverConfig, exist_ok=True)
