"""Training contexts for the reader: photo, ranked documents, questions with answers, as tokens.

Knows the situations that a reader meets: the right document first, or lower among easily confused
ones; none at all; a photo without a flag; a question that no document answers. Prompts go through
the package's own builder and encoder, so training sees what use does. Several questions share one
context and do not see each other (an attention mask of our own). Does not know the model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import BatchEncoding, PreTrainedTokenizerFast

from rag_vqa.demo.drawing.flag import draw_flag
from rag_vqa.demo.questions import Question, questions, unanswerable_question
from rag_vqa.demo.train_tower import IMAGE_TOKENS
from rag_vqa.demo.training import invented_countries
from rag_vqa.demo.training import tokenizer as vocabulary
from rag_vqa.demo.training.invented_countries import Country, Picture, invent_countries
from rag_vqa.demo.world.entities import drop_facts
from rag_vqa.demo.world.facts import section_of
from rag_vqa.demo.world.texts import documents
from rag_vqa.prompts import build_prompt
from rag_vqa.readers.prompt_encoder import PromptEncoder
from rag_vqa.types import Document, Hit, Passage, PromptLimits, Query

UNKNOWN = "unknown"
QUESTIONS_PER_CONTEXT = 5  # questions of one context
# Shares of situations. Where a retriever finds the right document, it is nearly always at rank 1.
RIGHT_FIRST, NO_FLAG, WRONG_PHOTO = 0.8, 0.2, 0.03
COUNTRIES_TRIED = 12  # for a photo without a flag, the flags most like it are chosen among these
SHORT_PROMPT_SHARE = 0.15  # of prompts are the benchmarks' short form, whose answers cite nothing
CONTEXT_TOKENS = 1024
LENGTH_MULTIPLE = 64  # tokens
LIMITS = PromptLimits(images=8, context=CONTEXT_TOKENS)
_CITED = re.compile(r"\[(\d+)\] (.+)")


@dataclass(frozen=True, slots=True)
class Context:
    """One photo, the documents in the prompt, and questions with the answers of a good reader."""

    photo: Picture | None
    hits: tuple[Hit, ...]
    questions: tuple[tuple[str, str], ...]  # (question, answer)
    template: str = "answer"
    matching_document: int = 0  # number of the document whose flag the photo shows; 0: none

    def query(self, question: str) -> Query:
        """The photo with one question."""
        return Query(question, None if self.photo is None else Image.fromarray(self.photo))

    @property
    def pictures(self) -> list[Picture]:
        """The photo, then those of the documents, as a prompt shows them."""
        drawings = [image for hit in self.hits for image in hit.document.images]
        photos = [] if self.photo is None else [self.photo]
        return [*photos, *(np.asarray(drawing) for drawing in drawings)]


def make_contexts(
    rng: np.random.Generator, count: int, k: int, illustrated: bool = True
) -> list[Context]:
    """`count` contexts of `k` documents each; without pictures if not `illustrated`."""
    return [_make_context(rng, k, illustrated) for _ in range(count)]


def _make_context(rng: np.random.Generator, k: int, illustrated: bool) -> Context:
    # Kin look alike, as what a retriever confuses does; strangers do not.
    most = max(k, 1)
    photo: Picture | None
    if illustrated and rng.random() < NO_FLAG:
        photo, answerable = invented_countries.photograph_training_scene(rng), False
        kin = _sort_by_likeness(invent_countries(rng, COUNTRIES_TRIED, kin=1), photo)[:most]
    else:
        kin = invent_countries(rng, most, kin=int(rng.integers(1, most + 1)))
        photo, answerable = _draw_photo(rng, kin[0]) if illustrated else (None, True)
    target, others = kin[0], kin[1:]
    shown = replace(target, entity=drop_facts(target.entity, rng, 0.1))
    order = [shown, *others][:k]
    if k > 1 and rng.random() > RIGHT_FIRST:
        place = int(rng.integers(1, k))
        order[0], order[place] = order[place], order[0]
    section = _choose_section(rng, target)
    found = [
        replace(
            _choose_document(rng, country, section), images=_drawings(rng, country) * illustrated
        )
        for country in order
    ]
    number = order.index(shown) + 1 if shown in order else 0
    stated = _stated_facts(shown, found[number - 1]) if number and answerable else {}
    template = (
        "closed-book" if k == 0 else "short" if rng.random() < SHORT_PROMPT_SHARE else "answer"
    )
    citation = f"[{number}] " if template == "answer" else ""
    pairs = [
        (q.text, citation + stated[q.attribute] if q.attribute in stated else UNKNOWN)
        for q in _choose_questions(rng, target, section)
    ]
    return Context(
        photo=photo,
        hits=tuple(
            Hit(document, Passage(document.id, 0, document.text), rank, 0.0)
            for rank, document in enumerate(found, 1)
        ),
        questions=tuple(pairs),
        template=template,
        matching_document=number if answerable and illustrated else 0,
    )


def _sort_by_likeness(countries: list[Country], photo: Picture) -> list[Country]:
    """Nearest mean colours first: what a retriever would find for the photo."""

    def distance(country: Country) -> float:
        flag = draw_flag(country.flag, 16).mean(axis=(0, 1))
        return float(np.square(flag - photo.mean(axis=(0, 1))).sum())

    return sorted(countries, key=distance)


def _draw_photo(rng: np.random.Generator, target: Country) -> tuple[Picture, bool]:
    """A photo for the question, and whether it shows the target's flag."""
    if rng.random() < WRONG_PHOTO:
        return invent_countries(rng, 1, kin=1)[0].photo(rng), False
    return target.photo(rng), True


def _drawings(rng: np.random.Generator, country: Country) -> tuple[Image.Image, ...]:
    return (Image.fromarray(country.drawing(rng)),)


def _choose_section(rng: np.random.Generator, country: Country) -> str:
    sections = sorted({section_of(attribute) for attribute in country.entity.facts})
    return sections[int(rng.integers(len(sections)))]


def _choose_document(rng: np.random.Generator, country: Country, section: str) -> Document:
    found = {document.section: document for document in documents(country.entity, rng=rng)}
    if section not in found or rng.random() < 0.1:  # a retriever also brings other sections
        return found[sorted(found)[int(rng.integers(len(found)))]]
    return found[section]


def _choose_questions(
    rng: np.random.Generator, target: Country, section: str
) -> Sequence[Question]:
    every = questions(target.entity, rng)
    here = [question for question in every if question.section == section]
    elsewhere = [question for question in every if question.section != section]
    chosen = [here[i] for i in rng.permutation(len(here))[: QUESTIONS_PER_CONTEXT - 1]]
    chosen.append(
        unanswerable_question(rng)
        if rng.random() < 0.6 or not elsewhere
        else elsewhere[int(rng.integers(len(elsewhere)))]
    )
    return chosen


def _stated_facts(country: Country, document: Document) -> dict[str, str]:
    """The facts that the document states, by attribute; a free one also by its noun alone."""
    facts = country.entity.facts
    here = {a: fact.value for a, fact in facts.items() if section_of(a) == document.section}
    return here | {a.partition(":")[2]: value for a, value in here.items() if ":" in a}


@dataclass(frozen=True)
class ContextRow:
    """One context as tokens: its ids, then those of each question with its answer.

    `branch` (L) is 0 for the context and n for the n-th question. `answer` marks tokens to learn.
    `source` is the place in the context that an answer's token is copied from, -1 for none.
    `match` at the beginning of each document's picture is the place of the photo if both show one
    flag, else that of the very first token; -1 elsewhere.
    """

    ids: list[int]
    branch: list[int]
    answer: list[bool]
    source: list[int]
    match: list[int]


def encode_context(
    context: Context, encoder: PromptEncoder, tokenizer: PreTrainedTokenizerFast
) -> ContextRow:
    """Tokens of a context, through the builder and encoder that a reader's prompt goes through."""
    first = context.questions[0][0]
    # Nothing is dropped here: the contexts are made to fit.
    prompt = build_prompt(context.query(first), context.hits, LIMITS, lambda _: 0, context.template)
    frame, end = encoder.render(prompt.parts).rsplit(first, 1)
    space = " " * frame.endswith(" ")  # belongs to the question's first token
    frame = frame.removesuffix(space)
    frame = frame.replace(vocabulary.IMAGE, vocabulary.IMAGE * IMAGE_TOKENS)
    frame_tokens = tokenizer(frame, return_offsets_mapping=True)
    ids = list(frame_tokens["input_ids"])
    places = {
        start: i for i, (start, end) in enumerate(frame_tokens["offset_mapping"]) if end > start
    }
    branch, answer, source = [0] * len(ids), [False] * len(ids), [-1] * len(ids)
    for number, (question, reply) in enumerate(context.questions, 1):
        question_ids = tokenizer(f"{space}{question}{end}")["input_ids"]
        reply_tokens = tokenizer(f" {reply}", return_offsets_mapping=True)
        reply_sources = _copy_sources(reply, reply_tokens, frame, places, ids)
        reply_ids = [*reply_tokens["input_ids"], tokenizer.eos_token_id]
        ids += [*question_ids, *reply_ids]
        branch += [number] * (len(question_ids) + len(reply_ids))
        answer += [False] * len(question_ids) + [True] * len(reply_ids)
        source += [-1] * len(question_ids) + reply_sources
    return ContextRow(ids, branch, answer, source, _matching_pictures(context, ids, tokenizer))


def _matching_pictures(
    context: Context, ids: list[int], tokenizer: PreTrainedTokenizerFast
) -> list[int]:
    found = [-1] * len(ids)
    image = tokenizer.convert_tokens_to_ids(vocabulary.IMAGE)
    firsts = [place for place, token in enumerate(ids) if token == image][::IMAGE_TOKENS]
    for number, place in enumerate(firsts[1:], 1):  # the first is the photo
        found[place] = firsts[0] if number == context.matching_document else 0
    return found


def _copy_sources(
    reply: str, tokens: BatchEncoding, frame: str, places: dict[int, int], ids: list[int]
) -> list[int]:
    """Where a reader should look in the frame while it writes each token of a reply.

    At the value, piece by piece, and at the document's number for its citation. Before the value:
    at the value's beginning. For the reply "unknown": at the frame's very first token. -1 if the
    place is uncertain: the value stands twice in its document, or in other pieces.
    `tokens` are those of the reply after a space; `places` has the frame's tokens by their start.
    """
    found = [-1] * (len(tokens["input_ids"]) + 1)  # the end is copied from nowhere
    if reply == UNKNOWN:
        return [0, *found[1:]]
    citation = _CITED.fullmatch(reply)
    heading = frame.find(f"\n[{citation[1]}] ") if citation else 0
    last = frame.find(f"\n[{int(citation[1]) + 1}] ", heading) if citation else -1
    document = frame[heading : last if last > 0 else len(frame)]
    value = f" {citation[2] if citation else reply}"
    if document.count(value) != 1:
        return found
    in_reply, in_frame = len(reply) + 1 - len(value), heading + document.find(value)
    starts = {in_reply + i: in_frame + i for i in range(len(value))}
    for token, (start, _) in enumerate(tokens["offset_mapping"]):
        place = places.get(starts.get(start, in_frame), -1)
        if start < in_reply or ids[place] == tokens["input_ids"][token]:
            found[token] = place
    if citation:
        found[2] = places.get(heading + 2, -1)  # " ", "[", then the number
    return found


def collate_rows(rows: list[ContextRow], pad: int) -> dict[str, Tensor]:
    """(B, L) ids and positions, (B, 1, L, L) attention, (B, L) marks of context and answers."""
    # Rounded up: a new length makes bfloat16 kernels compile anew, which takes longer than a step.
    length = -(-max(len(r.ids) for r in rows) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE

    def column(values: list[list[int]], fill: int) -> Tensor:
        return torch.tensor([v + [fill] * (length - len(v)) for v in values])

    ids = column([r.ids for r in rows], pad)
    branch = column([r.branch for r in rows], -1)
    answer = column([[int(a) for a in r.answer] for r in rows], 0).bool()
    # The token at a place is predicted one place earlier: there is where to look for its source.
    source = column([r.source[1:] for r in rows], -1)
    match = column([r.match for r in rows], -1)
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
        "match": match,
    }
