"""Contexts as tokens: what is copied stands where it is said to, and no question sees another."""

import numpy as np
import pytest
import torch

from rag_vqa.demo.gallery import embedded_models_dir
from rag_vqa.demo.train_reader import reader_processor
from rag_vqa.demo.train_tower import IMAGE_TOKENS
from rag_vqa.demo.training import tokenizer as vocabulary
from rag_vqa.demo.training.reader_contexts import (
    CONTEXT_TOKENS,
    UNKNOWN,
    Context,
    ContextRow,
    collate_rows,
    encode_context,
    make_contexts,
)
from rag_vqa.readers.prompt_encoder import PromptEncoder


@pytest.fixture(scope="module")
def drawn() -> list[tuple[Context, ContextRow]]:
    rng = np.random.default_rng(3)
    encoder = PromptEncoder(reader_processor(tokenizer()))
    made = [c for k in (0, 1, 3) for c in make_contexts(rng, 12, k)]
    return [(context, encode_context(context, encoder, tokenizer())) for context in made]


def tokenizer():  # type: ignore[no-untyped-def]
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(embedded_models_dir() / "reader")


def test_copied_tokens_are_those_at_their_source(drawn: list[tuple[Context, ContextRow]]) -> None:
    copied = 0
    for _, made in drawn:
        for place, source in enumerate(made.source):
            if source > 0 and made.ids[place] == made.ids[source]:
                copied += 1
            assert source < place and (source <= 0 or made.branch[source] == 0)
    answers = sum(sum(made.answer) for _, made in drawn)
    assert copied > answers / 4


def test_answers_are_whole(drawn: list[tuple[Context, ContextRow]]) -> None:
    reader = tokenizer()
    for context, made in drawn:
        for number, (_, reply) in enumerate(context.questions, 1):
            ids = [
                token
                for token, branch, answer in zip(made.ids, made.branch, made.answer, strict=True)
                if branch == number and answer
            ]
            assert ids[-1] == reader.eos_token_id
            assert reader.decode(ids[:-1]).strip() == reply


def test_a_picture_is_matched_if_it_shows_the_photo_s_flag(
    drawn: list[tuple[Context, ContextRow]],
) -> None:
    image = tokenizer().convert_tokens_to_ids(vocabulary.IMAGE)
    for context, made in drawn:
        firsts = [i for i, token in enumerate(made.ids) if token == image][::IMAGE_TOKENS]
        assert len(firsts) == 1 + len(context.hits)
        matched = [made.match[place] == firsts[0] for place in firsts[1:]]
        assert [number for number, yes in enumerate(matched, 1) if yes] == (
            [context.matching_document] if context.matching_document else []
        )


def test_the_widest_context_fits() -> None:
    encoder = PromptEncoder(reader_processor(tokenizer()))
    wide = make_contexts(np.random.default_rng(1), 20, 5)
    assert (
        max(len(encode_context(context, encoder, tokenizer()).ids) for context in wide)
        < CONTEXT_TOKENS + 64
    )


def test_no_question_sees_another(drawn: list[tuple[Context, ContextRow]]) -> None:
    rows = [made for _, made in drawn[-2:]]
    made = collate_rows(rows, pad=0)
    seen = made["attention_mask"][:, 0] == 0
    branch = made["branch"]
    for number in range(len(rows)):
        for place in range(branch.shape[1]):
            others = torch.nonzero(seen[number, place]).flatten()
            assert (others <= place).all()
            if branch[number, place] >= 0:
                kinds = set(branch[number, others].tolist())
                assert kinds <= {0, int(branch[number, place])}
                # Its position counts what it sees, so that each question stands after the context.
                assert made["position_ids"][number, place] == len(others) - 1


def test_unknown_looks_at_the_beginning(drawn: list[tuple[Context, ContextRow]]) -> None:
    for context, made in drawn:
        for number, (_, reply) in enumerate(context.questions, 1):
            first = next(
                i
                for i, (b, a) in enumerate(zip(made.branch, made.answer, strict=True))
                if b == number and a
            )
            assert (made.source[first] == 0) == (reply == UNKNOWN)
