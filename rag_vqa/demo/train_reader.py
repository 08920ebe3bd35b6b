"""Train the demo's reader: `python -m rag_vqa.demo.train_reader --out DIR`. Resumes by itself.

A LLaVA of four layers that looks at the photo, at the pictures of the documents and at their
texts, and copies the answer out of the right one, with its number, or says that it is unknown.
Prompts are made by the package's own builder and encoder, so that training sees what use does.
Several questions share one context: none of them sees another (a mask of our own).
"""

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    AutoTokenizer,
    BatchEncoding,
    CLIPImageProcessorPil,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from rag_vqa.demo import tokenizer as vocabulary
from rag_vqa.demo.contexts import UNKNOWN, Context, contexts
from rag_vqa.demo.matcher import train_tower, vision
from rag_vqa.demo.pictures import pixels
from rag_vqa.demo.pointer import Pointer
from rag_vqa.limits import Limits
from rag_vqa.prompts import build
from rag_vqa.readers.encoding import PromptEncoder
from rag_vqa.retriever.training.loop import Plan, fit

CONTEXT, SIZE, PATCH = 768, 64, 16
IMAGE_TOKENS = (SIZE // PATCH) ** 2 + 1  # with the tower's CLS, which stands first
LIMITS = Limits(images=8, context=CONTEXT)
# The question's words stand last, so the frame before them is one context for many questions.
CHAT = (
    "{{ bos_token }}{% for message in messages %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}\nAnswer:{% endif %}"
)
VISION = vision(SIZE, PATCH)
CONTEXT_WEIGHT = 0.1  # loss on the context's own words: it teaches to copy
CONTEXTS = 6  # a step: copying comes suddenly, after many steps more than many examples
WORDS_ALONE = 0.3  # of the steps
POINTING = 2  # the layer, of four, with a head that is taught where to copy from
MATCHING = 0  # the layer with a head that is taught which picture shows the photo's flag
_CITED = re.compile(r"\[(\d+)\] (.+)")


def configuration(tokenizer: PreTrainedTokenizerFast) -> LlavaConfig:
    """Llama of width 128 behind a CLIP tower whose every token, CLS too, is shown to it."""
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT + 64,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlavaConfig(
        text_config=text,
        vision_config=VISION,
        image_token_id=tokenizer.convert_tokens_to_ids(vocabulary.IMAGE),
        image_seq_length=IMAGE_TOKENS,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )


def processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
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


@dataclass(frozen=True)
class Row:
    """One context as tokens: its ids, then those of each question with its answer.

    `branch` (L) is 0 for the context and n for the n-th question; `answer` marks what is learnt;
    `source` is the place in the context that an answer's token is copied from, -1 for none;
    `alike` at the beginning of each document's picture is that of the photo if both show one
    flag, else the frame's very first token.
    """

    ids: list[int]
    branch: list[int]
    answer: list[bool]
    source: list[int]
    alike: list[int]


def row(context: Context, encoder: PromptEncoder, tokenizer: PreTrainedTokenizerFast) -> Row:
    """Tokens of a context, through the builder and encoder that a reader's prompt goes through."""
    first = context.asked[0][0]
    # Nothing is dropped here: the contexts are made to fit.
    prompt = build(context.query(first), context.hits, LIMITS, lambda _: 0, context.template)
    frame, end = encoder.render(prompt.parts).rsplit(first, 1)
    space = " " * frame.endswith(" ")  # belongs to the question's first token
    frame = frame.removesuffix(space)
    frame = frame.replace(vocabulary.IMAGE, vocabulary.IMAGE * IMAGE_TOKENS)
    read = tokenizer(frame, return_offsets_mapping=True)
    ids = list(read["input_ids"])
    places = {start: i for i, (start, end) in enumerate(read["offset_mapping"]) if end > start}
    branch, answer, source = [0] * len(ids), [False] * len(ids), [-1] * len(ids)
    for number, (question, reply) in enumerate(context.asked, 1):
        asked = tokenizer(f"{space}{question}{end}")["input_ids"]
        replied = tokenizer(f" {reply}", return_offsets_mapping=True)
        copied = _copied(reply, replied, frame, places, ids)
        replied = [*replied["input_ids"], tokenizer.eos_token_id]
        ids += [*asked, *replied]
        branch += [number] * (len(asked) + len(replied))
        answer += [False] * len(asked) + [True] * len(replied)
        source += [-1] * len(asked) + copied
    return Row(ids, branch, answer, source, _alike(context, ids, tokenizer))


def _alike(context: Context, ids: list[int], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    found = [-1] * len(ids)
    image = tokenizer.convert_tokens_to_ids(vocabulary.IMAGE)
    firsts = [place for place, token in enumerate(ids) if token == image][::IMAGE_TOKENS]
    for number, place in enumerate(firsts[1:], 1):  # the first is the photo
        found[place] = firsts[0] if number == context.right else 0
    return found


def _copied(
    reply: str, read: BatchEncoding, frame: str, places: dict[int, int], ids: list[int]
) -> list[int]:
    """Where a reader should look in the frame while it writes each token of a reply.

    At the value, piece by piece, and at the document's number for its citation; before the value
    at the value's beginning; at the frame's very first token where the reply is "unknown".
    -1 where the place is not certain: the value stands twice in its document, or in other pieces.
    `read` is the reply after a space, `places` tells the frame's tokens by where they start.
    """
    found = [-1] * (len(read["input_ids"]) + 1)  # the end is copied from nowhere
    if reply == UNKNOWN:
        return [0, *found[1:]]
    cited = _CITED.fullmatch(reply)
    heading = frame.find(f"\n[{cited[1]}] ") if cited else 0
    last = frame.find(f"\n[{int(cited[1]) + 1}] ", heading) if cited else -1
    document = frame[heading : last if last > 0 else len(frame)]
    value = f" {cited[2] if cited else reply}"
    if document.count(value) != 1:
        return found
    here, there = len(reply) + 1 - len(value), heading + document.find(value)
    starts = {here + i: there + i for i in range(len(value))}
    for token, (start, _) in enumerate(read["offset_mapping"]):
        place = places.get(starts.get(start, there), -1)
        if start < here or ids[place] == read["input_ids"][token]:
            found[token] = place
    if cited:
        found[2] = places.get(heading + 2, -1)  # " ", "[", then the number
    return found


def batch(rows: list[Row], pad: int) -> dict[str, Tensor]:
    """(B, L) ids and positions, (B, 1, L, L) attention, (B, L) marks of context and answers."""
    length = max(len(r.ids) for r in rows)

    def column(values: list[list[int]], fill: int) -> Tensor:
        return torch.tensor([v + [fill] * (length - len(v)) for v in values])

    ids = column([r.ids for r in rows], pad)
    branch = column([r.branch for r in rows], -1)
    answer = column([[int(a) for a in r.answer] for r in rows], 0).bool()
    # The token at a place is predicted one place earlier: there is where to look for its source.
    source = column([r.source[1:] for r in rows], -1)
    alike = column([r.alike for r in rows], -1)
    # A token sees what stands before it, in the context or in its own branch.
    own = (branch[:, :, None] == branch[:, None, :]) | (branch[:, None, :] == 0)
    seen = own & torch.ones(length, length, dtype=torch.bool).tril()
    seen |= torch.eye(length, dtype=torch.bool)  # padding sees itself: no row is empty
    return {
        "input_ids": ids,
        "position_ids": seen.sum(dim=-1) - 1,  # each question goes on from the context's end
        "attention_mask": torch.where(seen, 0.0, torch.finfo(torch.float32).min)[:, None],
        "branch": branch,
        "answer": answer,
        "source": source,
        "alike": alike,
    }


def stage(rng: np.random.Generator, progress: float) -> tuple[int, bool]:
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


def train(folder: Path, seed: int, tower_steps: int, steps: int) -> None:
    """The tower, then the reader, then the checkpoint into `folder`."""
    if not (folder / "tokenizer.json").exists():
        made = vocabulary.for_reader(vocabulary.train(seed), CONTEXT, CHAT)
        vocabulary.save(made, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tower = train_tower(VISION, tower_steps, folder, seed)
    torch.manual_seed(seed + 1)
    model = LlavaForConditionalGeneration(configuration(tokenizer)).train()
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.model.vision_tower.requires_grad_(False)
    model.model.vision_tower.eval()
    encoder = PromptEncoder(processor(tokenizer))
    layers = model.model.language_model.layers
    pointer = Pointer(layers[POINTING].self_attn, head=0)
    matcher = Pointer(layers[MATCHING].self_attn, head=1)

    def loss_of(step: int) -> tuple[Tensor, Mapping[str, float]]:
        rng = np.random.default_rng([seed + 1, step])
        k, illustrated = stage(rng, step / steps)
        drawn = contexts(rng, CONTEXTS, k, illustrated)
        inputs = batch([row(c, encoder, tokenizer) for c in drawn], tokenizer.pad_token_id)
        branch, answer = inputs.pop("branch"), inputs.pop("answer")
        source, alike = inputs.pop("source"), inputs.pop("alike")
        pictures = [picture for c in drawn for picture in c.pictures]
        shown = {"pixel_values": pixels(pictures, SIZE)} if pictures else {}
        logits = model(**inputs, **shown, use_cache=False).logits[:, :-1]
        ids, answer, branch = inputs["input_ids"][:, 1:], answer[:, 1:], branch[:, 1:]
        loss = F.cross_entropy(logits.flatten(0, 1), ids.flatten(), reduction="none")
        loss = loss.view_as(ids)
        words = (branch == 0) & (ids != model.config.image_token_id)
        figures = {"k": float(k), **_right(logits, ids, answer, branch)}
        # Without documents the context may hold no word at all.
        context_loss = loss[words].sum() / words.sum().clamp(min=1)
        pointing = pointer.loss(source, inputs["attention_mask"])
        matching = matcher.loss(alike, inputs["attention_mask"])
        total = loss[answer].mean() + CONTEXT_WEIGHT * context_loss + pointing + matching
        figures |= {"pointing": float(pointing.detach()), "matching": float(matching.detach())}
        return total, figures | {"answer_loss": float(loss[answer].mean().detach())}

    fit(model, loss_of, Plan(steps=steps, matrix_rate=0.02, rate=3e-3, seed=seed), folder, "reader")
    model.eval().half().save_pretrained(folder)
    processor(tokenizer).save_pretrained(folder)


@torch.no_grad()
def _right(logits: Tensor, ids: Tensor, answer: Tensor, branch: Tensor) -> dict[str, float]:
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
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=10)
    parser.add_argument("--tower-steps", type=int, default=700)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    train(given.out, given.seed, given.tower_steps, given.steps)


if __name__ == "__main__":
    main()
