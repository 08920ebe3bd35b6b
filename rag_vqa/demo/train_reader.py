"""Train the demo's reader: `python -m rag_vqa.demo.train_reader --out DIR --tower DIR`.

Resumes by itself. The reader is a LLaVA of four layers. It looks at the photo and at the
documents' pictures and texts, and copies the answer with the number of its document, or answers
"unknown". Knows the model, the curriculum and the supervised attention heads. Does not know how
training contexts become tokens (training/reader_contexts.py) or how the tower is trained
(train_tower.py).
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPVisionModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from rag_vqa.demo.train_tower import IMAGE_TOKENS, PATCH, SIZE, VISION_CONFIG
from rag_vqa.demo.training import tokenizer as vocabulary
from rag_vqa.demo.training.invented_countries import pixel_values
from rag_vqa.demo.training.reader_contexts import (
    CONTEXT_TOKENS,
    collate_rows,
    encode_context,
    make_contexts,
)
from rag_vqa.readers.prompt_encoder import PromptEncoder
from rag_vqa.retriever.training.training_loop import (
    StepOutcome,
    TrainingCallbacks,
    fit,
    make_accelerator,
    whole_step,
)
from rag_vqa.retriever.training.training_settings import TrainingPlan

# The question's words stand last, so the frame before them is one context for many questions.
CHAT = (
    "{{ bos_token }}{% for message in messages %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}\nAnswer:{% endif %}"
)
SEED, STEPS = 10, 9000
CONTEXT_WEIGHT = 0.1  # loss on the context's own words: it teaches to copy
CONTEXTS = 6  # a step: copying comes suddenly, after many steps more than many examples
WORDS_ALONE = 0.3  # of the steps
COPY_LAYER = 2  # the layer, of four, with a head that is taught where to copy from
MATCH_LAYER = 0  # the layer with a head that is taught which picture shows the photo's flag


class Pointer:
    """Watches one attention layer; `loss` speaks of the forward pass just made."""

    def __init__(self, attention: nn.Module, head: int) -> None:
        self.attention: Any = attention
        self.head = head
        self._seen: dict[str, Any] = {}
        attention.register_forward_pre_hook(self._remember, with_kwargs=True)

    def _remember(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self._seen = kwargs

    def loss(self, target: Tensor, mask: Tensor) -> Tensor:
        """Mean cross entropy of the head's attention against the right places.

        Args:
            target: (B, L), the place that each place should attend to; -1 for any.
            mask: (B, 1, L, L), additive, as the model got it.
        """
        hidden, (cos, sin) = self._seen["hidden_states"], self._seen["position_embeddings"]
        width = self.attention.head_dim
        q, k = (
            projection(hidden)
            .unflatten(-1, (-1, width))
            .transpose(1, 2)[:, self.head : self.head + 1]
            for projection in (self.attention.q_proj, self.attention.k_proj)
        )
        q, k = apply_rotary_pos_emb(q, k, cos, sin)  # (B, 1, L, width)
        rows, places = (target >= 0).nonzero(as_tuple=True)
        if not len(rows):
            return torch.zeros(())
        scores = torch.einsum("nd,nld->nl", q[rows, 0, places], k[rows, 0]) * width**-0.5
        scores = scores + mask[rows, 0, places]
        loss: Tensor = nn.functional.cross_entropy(scores, target[rows, places])
        return loss


def reader_configuration(tokenizer: PreTrainedTokenizerFast) -> LlavaConfig:
    """Llama of width 128 behind a CLIP tower whose every token, CLS too, is shown to it."""
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT_TOKENS + 64,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlavaConfig(
        text_config=text,
        vision_config=VISION_CONFIG,
        image_token_id=tokenizer.convert_tokens_to_ids(vocabulary.IMAGE),
        image_seq_length=IMAGE_TOKENS,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )


def reader_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """What is saved beside the weights and loads as any LLaVA's does."""
    square = {"height": SIZE, "width": SIZE}
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size=square, do_center_crop=False),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    )


def curriculum_stage(rng: np.random.Generator, progress: float) -> tuple[int, bool]:
    """How many documents a step shows, and whether pictures: words alone first, one document.

    Looking up and copying is learnt fastest from short contexts; what a picture is for comes
    after that, then choosing among documents.
    """
    if progress < WORDS_ALONE:
        return 1, False
    if rng.random() < 0.04:
        return 0, True
    if progress < WORDS_ALONE + 0.1:
        return int(rng.integers(1, 3)), True
    return int(rng.choice([1, 2, 3, 5], p=[0.25, 0.1, 0.6, 0.05])), True


def train_reader(folder: Path, tower_folder: Path, seed: int, steps: int) -> None:
    """The reader, on the tower of `tower_folder`, and its checkpoint into `folder`."""
    if not (folder / "tokenizer.json").exists():
        made = vocabulary.reader_tokenizer(vocabulary.train_tokenizer(seed), CONTEXT_TOKENS, CHAT)
        vocabulary.save_tokenizer(made, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tower = CLIPVisionModel.from_pretrained(tower_folder, use_safetensors=True)
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(reader_configuration(tokenizer)).train()
    model.set_attn_implementation("eager")  # faster than sdpa at this size
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.model.vision_tower.requires_grad_(False)
    model.model.vision_tower.eval()
    encoder = PromptEncoder(reader_processor(tokenizer))
    layers = model.model.language_model.layers
    pointer = Pointer(layers[COPY_LAYER].self_attn, head=0)
    matcher = Pointer(layers[MATCH_LAYER].self_attn, head=1)

    def forward(step: int) -> StepOutcome:
        rng = np.random.default_rng([seed, step])
        k, illustrated = curriculum_stage(rng, step / steps)
        drawn = make_contexts(rng, CONTEXTS, k, illustrated)
        inputs = collate_rows(
            [encode_context(c, encoder, tokenizer) for c in drawn], tokenizer.pad_token_id
        )
        branch, answer = inputs.pop("branch"), inputs.pop("answer")
        source, match = inputs.pop("source"), inputs.pop("match")
        pictures = [picture for c in drawn for picture in c.pictures]
        shown = {"pixel_values": pixel_values(pictures, SIZE)} if pictures else {}
        logits = model(**inputs, **shown, use_cache=False).logits[:, :-1]
        ids, answer, branch = inputs["input_ids"][:, 1:], answer[:, 1:], branch[:, 1:]
        loss = F.cross_entropy(logits.flatten(0, 1), ids.flatten(), reduction="none")
        loss = loss.view_as(ids)
        words = (branch == 0) & (ids != model.config.image_token_id)
        figures = {"k": float(k), **_token_accuracy(logits, ids, answer, branch)}
        # Without documents the context may hold no word at all.
        context_loss = loss[words].sum() / words.sum().clamp(min=1)
        pointing = pointer.loss(source, inputs["attention_mask"])
        matching = matcher.loss(match, inputs["attention_mask"])
        total = loss[answer].mean() + CONTEXT_WEIGHT * context_loss + pointing + matching
        figures |= {"pointing": float(pointing.detach()), "matching": float(matching.detach())}
        figures |= {"answer_loss": float(loss[answer].mean().detach())}
        return StepOutcome(total, figures, CONTEXTS)

    plan = TrainingPlan(steps=steps, matrix_rate=0.02, rate=3e-3, seed=seed)
    made = make_accelerator("bf16", print)
    fit(
        model,
        whole_step(forward),
        plan,
        folder,
        made,
        identity=asdict(plan),
        callbacks=TrainingCallbacks(on_line=print),
    )
    model.eval().half().save_pretrained(folder)
    reader_processor(tokenizer).save_pretrained(folder)


@torch.no_grad()
def _token_accuracy(
    logits: Tensor, ids: Tensor, answer: Tensor, branch: Tensor
) -> dict[str, float]:
    """Shares of answer tokens, and of whole answers, that greedy decoding would get right."""
    hit = (logits.argmax(dim=-1) == ids) | ~answer
    whole = [
        bool(hit[r][branch[r] == n].all())
        for r in range(len(ids))
        for n in range(1, int(branch[r].max()) + 1)
    ]
    return {"token_accuracy": float(hit[answer].float().mean()), "exact": float(np.mean(whole))}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where the checkpoint goes")
    parser.add_argument("--tower", type=Path, required=True, help="what train_tower has made")
    given = parser.parse_args()
    torch.set_num_threads(1)  # other numbers of threads give other weights
    train_reader(given.out, given.tower, SEED, STEPS)


if __name__ == "__main__":
    main()
