"""A context of the demo reader's training as rows of tokens, and what each place should look at.

Prompts are made by the package's own builder and encoder, so that training sees what use does.
Several questions share one context: none of them sees another (a mask of our own). Knows tokens,
not the model.
"""

import re
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import BatchEncoding, PreTrainedTokenizerFast

from rag_vqa.demo import tokenizer as vocabulary
from rag_vqa.demo.contexts import UNKNOWN, Context
from rag_vqa.demo.matcher import IMAGE_TOKENS
from rag_vqa.limits import Limits
from rag_vqa.prompts import build
from rag_vqa.readers.encoding import PromptEncoder

CONTEXT = 1024
ROUND = 64  # tokens
LIMITS = Limits(images=8, context=CONTEXT)
_CITED = re.compile(r"\[(\d+)\] (.+)")


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
    # Rounded up: a new length makes bfloat16 kernels compile anew, which takes longer than a step.
    length = -(-max(len(r.ids) for r in rows) // ROUND) * ROUND

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
