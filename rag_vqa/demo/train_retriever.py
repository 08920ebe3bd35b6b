"""Train the demo's ReT: `python -m rag_vqa.demo.train_retriever --out DIR`. Resumes by itself.

Two stages, both on endless invented countries alone: a vision tower that matches photos with
drawings (matcher.py), then, with that tower frozen, a whole ReT that finds the document of the
right country and the right section. What is written loads as any released checkpoint does.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPTextConfig,
    PreTrainedTokenizerFast,
)

from rag_vqa.demo import tokenizer as vocabulary
from rag_vqa.demo.countries import Country, invent_countries
from rag_vqa.demo.matcher import SIZE, VISION, train_tower
from rag_vqa.demo.pictures import pixels
from rag_vqa.demo.questions import questions
from rag_vqa.demo.texts import documents
from rag_vqa.demo.training_options import options
from rag_vqa.retriever.configuration import RetConfig, RetrieverConfig
from rag_vqa.retriever.encoder import INSTRUCTION_FILE
from rag_vqa.retriever.loss import contrastive_loss, recall_at_1
from rag_vqa.retriever.model import RetModel, RetrieverModel
from rag_vqa.retriever.passages import split
from rag_vqa.retriever.scoring import late_interaction
from rag_vqa.retriever.training.loop import Plan, autocast, fit

WINDOW = 96  # tokens of text; CLIP's own is 77, but here a word can be a piece a letter
COUNTRIES, SECTIONS = 48, 2  # of a batch: countries, sections of each
# Of pairs and of tokens: a new shape makes bfloat16 kernels compile anew, longer than a step takes.
ROUND = 16
Pair = tuple[str, str, str, int]  # query text, passage text, label, row of the picture


def configuration(tokenizer: PreTrainedTokenizerFast) -> RetrieverConfig:
    """A whole ReT, small: K = 32 tokens of D = 128 as the released ones, three steps."""
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=WINDOW,
        hidden_act="gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        projection_dim=128,
    )
    side = RetConfig(
        text_config=text,
        vision_config=VISION,
        is_text_frozen=False,
        layer_strategy={"text": [0, 1, 2], "vision": [1, 2, 3]},
        hidden_size=128,
        dropout_p=0.0,
        attention_dropout=0.0,
    )
    return RetrieverConfig(query_config=side, passage_config=RetConfig(**side.to_dict()))


def pairs(countries: list[Country], rng: np.random.Generator) -> list[Pair]:
    """Questions beside the documents that answer them, two sections a country.

    In half of the batches all countries share their sections, so that only the picture tells the
    documents of a section apart; in the others only the words tell those of a country apart.
    """
    shared = rng.random() < 0.5
    order: list[str] = []
    found: list[Pair] = []
    for row, country in enumerate(countries):
        texts = {d.section: d for d in documents(country.entity, rng=rng, drop=0.1)}
        asked = questions(country.entity, rng)
        if not (shared and order):
            order = [str(s) for s in rng.permutation(sorted({q.section for q in asked}))]
        for section in [s for s in order if s in texts][:SECTIONS]:
            of_section = [q for q in asked if q.section == section]
            if of_section:
                question = of_section[rng.integers(len(of_section))]
                text = split(texts[section], lambda _: 0, WINDOW)[0].text
                query = f"{vocabulary.INSTRUCTION} {question.text}"
                found.append((query, text, f"{row}/{section}", row))
    return found


class Trained(nn.Module):
    """A retriever with its scale learned, as fit() wants it."""

    def __init__(self, model: RetrieverModel) -> None:
        super().__init__()
        self.model = model
        self.log_scale = nn.Parameter(torch.zeros(()))

    @property
    def scale(self) -> Tensor:
        """Between 1/4 and 4."""
        return self.log_scale.clamp(-1.4, 1.4).exp()


def train(folder: Path, tower_folder: Path, seed: int, steps: int) -> None:
    """Both stages, the first in `tower_folder`, and the checkpoint into `folder`."""
    if not (folder / "tokenizer.json").exists():
        vocabulary.save(vocabulary.for_retriever(vocabulary.train(seed), WINDOW), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tower = train_tower(tower_folder)
    torch.manual_seed(seed)
    model = RetrieverModel(configuration(tokenizer))
    model.query_model.vision_model.load_state_dict(tower.state_dict())
    model.query_model.vision_model.requires_grad_(False)
    for tower in (model.query_model.text_model, model.query_model.vision_model):
        tower.set_attn_implementation("eager")  # faster than sdpa at this size
    trained = Trained(model).train()

    def loss_of(step: int) -> tuple[Tensor, Mapping[str, float]]:
        rng = np.random.default_rng([seed, step])
        countries = invent_countries(rng, COUNTRIES)
        batch = pairs(countries, rng)
        batch = batch[: len(batch) // ROUND * ROUND]
        photos = pixels([c.photo(rng) for c in countries], SIZE)
        drawings = pixels([c.drawing(rng) for c in countries], SIZE)
        rows = torch.tensor([pair[3] for pair in batch])

        def encode(side: RetModel, texts: list[str], pictures: Tensor) -> Tensor:
            read = tokenizer(
                texts, padding=True, truncation=True, pad_to_multiple_of=ROUND, return_tensors="pt"
            )
            with autocast():
                out = side(read["input_ids"], read["attention_mask"], pictures, image_index=rows)
            return F.normalize(out.ret_features.float(), dim=-1)

        queries = encode(model.get_query_model(), [pair[0] for pair in batch], photos)
        passages = encode(model.get_passage_model(), [pair[1] for pair in batch], drawings)
        labels = [pair[2] for pair in batch]
        loss = contrastive_loss(queries, passages, labels, logit_scale=trained.scale)
        with torch.no_grad():
            right = recall_at_1(late_interaction(queries, passages), labels)
        return loss, {"recall@1": float(right), "scale": float(trained.scale.detach())}

    fit(trained, loss_of, Plan(steps=steps, seed=seed), folder, "ret")
    model.config.logit_scale = float(trained.scale.detach())
    model.eval().half().save_pretrained(folder)
    square = {"height": SIZE, "width": SIZE}
    CLIPImageProcessorPil(size=square, do_center_crop=False).save_pretrained(folder)
    (folder / INSTRUCTION_FILE).write_text(json.dumps({"default": vocabulary.INSTRUCTION}) + "\n")


def main() -> None:
    """Command line."""
    given = options(__doc__, seed=1, steps=2500)
    train(given.out, given.tower, given.seed, given.steps)


if __name__ == "__main__":
    main()
