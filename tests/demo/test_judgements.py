"""What the critic learns is right: a yes has its value in its own document, a no has it not."""

import numpy as np
import pytest

from rag_vqa.critic import CHOICES, Critic
from rag_vqa.demo import tokenizer as vocabulary
from rag_vqa.demo.bundled import models_dir
from rag_vqa.demo.judged_rows import judged_row
from rag_vqa.demo.judgements import Judged, judged
from rag_vqa.demo.matcher import IMAGE_TOKENS
from rag_vqa.demo.rows import LIMITS, Row
from rag_vqa.demo.train_reader import processor
from rag_vqa.readers.encoding import PromptEncoder


def tokenizer():  # type: ignore[no-untyped-def]
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(models_dir() / "reader")


@pytest.fixture(scope="module")
def encoder() -> PromptEncoder:
    return PromptEncoder(processor(tokenizer()))


@pytest.fixture(scope="module")
def drawn(encoder: PromptEncoder) -> list[tuple[Judged, Row]]:
    return [(j, judged_row(j, encoder, tokenizer())) for j in judged(np.random.default_rng(7), 40)]


def test_a_yes_is_stated_by_its_document_alone(drawn: list[tuple[Judged, Row]]) -> None:
    yes = [j for asked, _ in drawn for j in asked.judgements if j.value]
    assert 0.25 < len(yes) / (2 * len(drawn)) < 0.5
    assert all(j.value in j.hit.document.text and j.alike for j in yes)
    for asked, _ in drawn:
        assert sum(bool(j.value) for j in asked.judgements) <= 1
    # Looking alike is not enough, and being of the right section is not either.
    assert any(j.alike and not j.value for asked, _ in drawn for j in asked.judgements)


def test_a_row_is_the_prompts_of_the_critic(
    drawn: list[tuple[Judged, Row]], encoder: PromptEncoder
) -> None:
    reader = tokenizer()

    class Shown:
        limits = LIMITS

        def count(self, prompt: object) -> int:
            return 0

    for asked, row in drawn[:8]:
        for number, judgement in enumerate(asked.judgements, 1):
            seen = [i for i, b in zip(row.ids, row.branch, strict=True) if b in (0, number)]
            prompt = Critic(Shown()).prompt(asked.query, judgement.hit)  # type: ignore[arg-type]
            text = encoder.render(prompt.parts)
            text = text.replace(vocabulary.IMAGE, vocabulary.IMAGE * IMAGE_TOKENS)
            assert seen == reader(text + CHOICES[not judgement.value])["input_ids"]


def test_yes_looks_at_the_value_and_no_at_the_beginning(drawn: list[tuple[Judged, Row]]) -> None:
    reader = tokenizer()
    for asked, row in drawn:
        branches = list(enumerate(asked.judgements, 1))
        for number, judgement in branches:
            first = next(
                i
                for i, (b, a) in enumerate(zip(row.branch, row.answer, strict=True))
                if b == number and a
            )
            place = row.source[first]
            if not judgement.value:
                assert place == 0
            elif place >= 0:
                assert row.branch[place] == number
                rest = reader.decode(row.ids[place : place + 40]).strip()
                assert rest.startswith(judgement.value)


def test_pictures_that_show_the_photo_s_flag_are_told(drawn: list[tuple[Judged, Row]]) -> None:
    image = tokenizer().convert_tokens_to_ids(vocabulary.IMAGE)
    for asked, row in drawn:
        firsts = [i for i, token in enumerate(row.ids) if token == image][::IMAGE_TOKENS]
        assert len(firsts) == 1 + len(asked.judgements) == len(asked.pictures)
        told = [row.alike[place] == firsts[0] for place in firsts[1:]]
        assert told == [j.alike for j in asked.judgements]
