"""ReT as Hugging Face models: towers, adapters, the unrolled cell, the projection.

Knows how the released checkpoints are laid out and which weights they share. Does not know raw
text or images (processor.py), batching (encoder.py) or search. Load one with
`RetrieverModel.from_pretrained`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedModel,
)
from transformers.utils import ModelOutput

from rag_vqa.errors import RagVqaError
from rag_vqa.hub.folder_check import check_model_files, refuse_broken_numbers
from rag_vqa.retriever.losses import contrastive_loss
from rag_vqa.retriever.model_card import CARD_FILE, ModelCard
from rag_vqa.retriever.modeling.cell import RetCell
from rag_vqa.retriever.modeling.configuration import RetConfig, RetrieverConfig, load_config
from rag_vqa.retriever.modeling.processor import RetInputs

_CPU_ACTIVATIONS = 2**28  # bytes: 6 items of ReT-CLIP-ViT-L-14 with pictures


@dataclass
class RetOutput(ModelOutput):  # type: ignore[misc]
    """Features of a batch. B items, K tokens, D width, R steps, H hidden.

    Attributes:
        ret_features: (B, K, D), or (B, D) if the model pools; not normalised.
        states: (R, B, K, H), the state after each step, if requested.
        text_last_hidden_state, vision_last_hidden_state, *_pooler_output: the towers' own
            outputs; None if a tower did not run. They do not influence the features.
    """

    ret_features: Tensor | None = None
    states: Tensor | None = None
    text_last_hidden_state: Tensor | None = None
    text_pooler_output: Tensor | None = None
    vision_last_hidden_state: Tensor | None = None
    vision_pooler_output: Tensor | None = None


@dataclass
class RetrieverOutput(ModelOutput):  # type: ignore[misc]
    """Loss of a batch of pairs, and the un-normalised features of both sides."""

    loss: Tensor | None = None
    query_features: Tensor | None = None
    passage_features: Tensor | None = None


class _RetPreTrained(PreTrainedModel):  # type: ignore[misc]
    _supports_sdpa = True

    def _init_weights(self, module: nn.Module) -> None:
        """Keep torch's own initialisation, which ReT was trained from. Towers do their own."""

    @classmethod
    def from_pretrained(cls, source: Any, *args: Any, **kwargs: Any) -> Self:
        """Load from a folder or the hub; safetensors only.

        float32 (the release's published use) unless `dtype` is given.
        Raises RagVqaError if tensors are missing, unexpected or of another shape.
        """
        kwargs = {"dtype": torch.float32, "use_safetensors": True, **kwargs}
        if isinstance(source, str | Path) and Path(source).is_dir() and not kwargs.get("subfolder"):
            check_model_files(str(source), Path(source))
        kwargs |= {"output_loading_info": True, "ignore_mismatched_sizes": True}  # named below
        model, info = super().from_pretrained(source, *args, **kwargs)
        faults = {name: sorted(map(str, keys)) for name, keys in info.items() if keys}
        if faults:
            shown = "; ".join(f"{name}: {', '.join(keys[:3])}" for name, keys in faults.items())
            raise RagVqaError(
                f"{source} does not fit its configuration ({shown}). "
                f"Is it a whole checkpoint of {cls.__name__}?"
            )
        refuse_broken_numbers(str(source), model.named_parameters())
        return model  # type: ignore[no-any-return]

    def push_to_hub(self, repo_id: str, **options: Any) -> Any:
        """Upload configuration and weights, as transformers does, and a card if none is there.

        `Encoder.push_to_hub` uploads the processor with them.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=options.get("token"))
        repo = api.create_repo(repo_id, private=options.get("private"), exist_ok=True).repo_id
        if not api.file_exists(repo, CARD_FILE):
            card = ModelCard().render(self.config, repo).encode()
            api.upload_file(path_or_fileobj=card, path_in_repo=CARD_FILE, repo_id=repo)
        return super().push_to_hub(repo, **options)


class RetModel(_RetPreTrained):
    """One side: (text, image) → K tokens of width D."""

    config_class = RetConfig

    def __init__(
        self,
        config: RetConfig,
        text_model: CLIPTextModel | None = None,
        vision_model: CLIPVisionModel | None = None,
    ) -> None:
        """`text_model`, `vision_model`: towers that the other side owns, shared with this one."""
        super().__init__(config)
        text, vision = config.text_config, config.vision_config
        if not (isinstance(text, CLIPTextConfig) and isinstance(vision, CLIPVisionConfig)):
            raise ValueError("RetConfig needs text_config and vision_config to build a model")
        self._attach_tower("text_model", text_model, lambda: CLIPTextModel(text))
        self._attach_tower("vision_model", vision_model, lambda: CLIPVisionModel(vision))
        width, steps = config.hidden_size, len(config.layers[0])
        # The tower of an unread modality stays, so that files and processors keep one layout.
        for name, tower, read in (
            ("text", text, config.reads_text),
            ("vision", vision, config.reads_images),
        ):
            adapters = (nn.Linear(tower.hidden_size, width) for _ in range(steps if read else 0))
            setattr(self, f"{name}_adapter", nn.ModuleList(adapters))
        self.ret_cell = RetCell(config)
        size = config.late_proj_output_size
        self.late_proj = nn.Linear(width, size, bias=False) if size else nn.Identity()
        self.post_init()

    def _attach_tower(self, name: str, shared: nn.Module | None, build: Any) -> None:
        # A tower of the other side stays out of the module tree: it exists once, is saved once,
        # and is absent from this side's state dict, exactly as in the released files.
        if shared is None:
            setattr(self, name, build())
        else:
            object.__setattr__(self, name, shared)

    def save_pretrained(self, folder: Any, **kwargs: Any) -> None:
        """Save this side alone, with its towers, whichever side owns them."""
        if "state_dict" not in kwargs:
            kwargs["state_dict"] = self._full_state_dict()
        super().save_pretrained(folder, **kwargs)

    def encode(self, inputs: RetInputs) -> Tensor:
        """Tokens (B, K, D) of a batch, or (B, D) if the model pools; not normalised.

        A CPU takes a few items at a time, which is not slower there: the towers keep all of their
        layers until the cell has read them. Items that share a picture stay together.
        """
        count, shared = len(inputs.input_ids), inputs.image_index
        parts = 1
        if self.device.type == "cpu":
            parts = min(count, math.ceil(self._activations(inputs) / _CPU_ACTIVATIONS))
        order = torch.arange(count) if shared is None else shared.argsort(stable=True)
        features = [
            self(**inputs.take(rows).to_device(self.device, self.dtype)).ret_features
            for rows in order.tensor_split(parts)
        ]
        return torch.cat(features)[order.argsort()]

    def _activations(self, inputs: RetInputs) -> int:
        """Bytes that both towers hold at their last layers: all layers, and three inner arrays."""
        text, vision = self.config.text_config, self.config.vision_config
        patches = (vision.image_size // vision.patch_size) ** 2 + 1
        pictures = 0 if inputs.pixel_values is None else len(inputs.pixel_values)
        numbers: int = sum(
            rows * ((tower.num_hidden_layers + 2) * tower.hidden_size + 3 * tower.intermediate_size)
            for tower, rows in ((text, inputs.input_ids.numel()), (vision, pictures * patches))
        )
        return numbers * int(self.dtype.itemsize)

    def update_digest(self, digest: Any) -> None:
        """Feed the weights and all of the configuration that shapes a token to a digest."""
        for name, tensor in sorted(self._full_state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        config = self.config
        shape = {
            "layers": config.layers,
            "tanh": config.use_tanh,
            "activation": config.activation_fn,
            "pooled": config.use_pooler_features,
        }
        for tower in (config.text_config, config.vision_config):  # quick_gelu and gelu differ
            shape[tower.model_type] = [
                tower.hidden_act, tower.layer_norm_eps, tower.num_attention_heads,
            ]  # fmt: skip
        digest.update(json.dumps(shape, sort_keys=True).encode())

    def _full_state_dict(self) -> dict[str, Tensor]:
        """The state dict, with the towers that the other side owns."""
        state = dict(self.state_dict())
        for name in ("text_model", "vision_model"):
            tower = getattr(self, name).state_dict()
            state |= {f"{name}.{key}": tensor for key, tensor in tower.items()}
        return state

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        # `.to()` and `.half()` of one side alone convert the shared towers as well.
        for tower in (self.text_model, self.vision_model):
            if tower not in self._modules.values():
                tower._apply(fn, recurse)
        super()._apply(fn, recurse)
        return self

    def train(self, mode: bool = True) -> Self:
        """Set training mode; frozen towers stay in evaluation mode."""
        super().train(mode)
        if self.config.is_text_frozen:
            self.text_model.eval()
        if self.config.is_vision_frozen:
            self.vision_model.eval()
        return self

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        text_mask: Tensor | None = None,
        image_mask: Tensor | None = None,
        image_index: Tensor | None = None,
        output_states: bool = False,
    ) -> RetOutput:
        """Encode a batch.

        Args:
            input_ids, attention_mask: (B, L); None = no item has text.
            pixel_values: (B, 3, S, S); None = no item has an image.
            image_index: (B), if items share pictures: pixel_values is then (U, 3, S, S).
            text_mask, image_mask: (B), 1 = present, 0 = absent; None = all present.
                If all are 0, or `fusion` leaves the modality out, that tower and its
                attention do not run.
        """
        if input_ids is None and pixel_values is None:
            raise ValueError("forward needs input_ids or pixel_values")
        text_layers, vision_layers = self.config.layers
        text = vision = None
        if input_ids is not None and self.config.reads_text and _any_present(text_mask):
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.is_text_frozen):
                text = self.text_model(
                    input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True
                )
        if pixel_values is not None and self.config.reads_images and _any_present(image_mask):
            with torch.set_grad_enabled(
                torch.is_grad_enabled() and not self.config.is_vision_frozen
            ):
                vision = self.vision_model(
                    pixel_values=pixel_values.to(self.dtype), output_hidden_states=True
                )
        given = next(x for x in (input_ids, image_index, pixel_values) if x is not None)
        text_mask = None if text_mask is None else text_mask.to(self.dtype)
        image_mask = None if image_mask is None else image_mask.to(self.dtype)
        state, states = self.ret_cell.initial_state(len(given)), []
        for step, (i, j) in enumerate(zip(text_layers, vision_layers, strict=True)):
            state = self.ret_cell(
                state,  # hidden_states[0] is the embedding: layer i is entry i + 1
                None if text is None else self.text_adapter[step](text.hidden_states[i + 1]),
                None
                if vision is None
                else _select_rows(
                    self.vision_adapter[step](vision.hidden_states[j + 1]), image_index
                ),
                attention_mask,
                text_mask,
                image_mask,
            )
            if output_states:
                states.append(state)
        pooled = state.mean(dim=1) if self.config.use_pooler_features else state
        return RetOutput(
            ret_features=self.late_proj(pooled),
            states=torch.stack(states) if output_states else None,
            text_last_hidden_state=None if text is None else text.last_hidden_state,
            text_pooler_output=None if text is None else text.pooler_output,
            vision_last_hidden_state=None if vision is None else vision.last_hidden_state,
            vision_pooler_output=None if vision is None else vision.pooler_output,
        )


class RetrieverModel(_RetPreTrained):
    """Both sides of a retriever, with their towers (or all) shared as the configuration says."""

    config_class = RetrieverConfig

    def __init__(self, config: RetrieverConfig) -> None:
        super().__init__(config)
        query = RetModel(config.query)
        self.query_model = query
        if config.share_query_passage_models:
            object.__setattr__(self, "passage_model", query)
        else:
            self.passage_model = RetModel(
                config.passage,
                text_model=query.text_model if config.share_text_models else None,
                vision_model=query.vision_model if config.share_vision_models else None,
            )
        self.post_init()

    @classmethod
    def from_pretrained(cls, source: Any, *args: Any, **kwargs: Any) -> Self:
        """Load a released checkpoint or one of yours; see above.

        Raises UsageError if it is not of ReT's first generation.
        """
        if "config" not in kwargs:
            names = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder",
                     "token")  # fmt: skip
            location = {name: kwargs[name] for name in names if name in kwargs}
            kwargs["config"] = load_config(source, **location)
        return super().from_pretrained(source, *args, **kwargs)

    def get_query_model(self) -> RetModel:
        """The side that encodes queries."""
        return self.query_model

    def get_passage_model(self) -> RetModel:
        """The side that encodes passages; the same object where both are one model."""
        return self.passage_model

    def forward(
        self, query: Mapping[str, Any], passage: Mapping[str, Any], labels: list[Any]
    ) -> RetrieverOutput:
        """Loss over a batch of B pairs; equal labels (B) mark the same passage.

        As in the release, the query side gets no text_mask: a query without text reads the
        tokenizer's marks, in every batch.
        """
        query = {**query}  # of a RetInputs, too
        if query.get("input_ids") is None:
            raise ValueError("the query side needs input_ids: the marks alone for an absent text")
        inputs = {name: value for name, value in query.items() if name != "text_mask"}
        queries = self.query_model(**inputs).ret_features
        passages = self.passage_model(**passage).ret_features
        loss = contrastive_loss(
            F.normalize(queries, dim=-1),
            F.normalize(passages, dim=-1),
            labels,
            symmetric=self.config.simmetric_loss,
            logit_scale=self.config.logit_scale,
        )
        return RetrieverOutput(loss=loss, query_features=queries, passage_features=passages)


def _any_present(mask: Tensor | None) -> bool:
    return mask is None or bool(mask.any())


def _select_rows(shared: Tensor, index: Tensor | None) -> Tensor:
    return shared if index is None else shared[index]


# So that AutoModel knows our checkpoints: a retriever, and one side of it.
AutoModel.register(RetConfig, RetModel, exist_ok=True)
AutoModel.register(RetrieverConfig, RetrieverModel, exist_ok=True)
