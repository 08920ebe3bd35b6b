"""Questions: never a name, the answer in its section's document, unknown where none states it."""

import re

import numpy as np
import pytest

from rag_vqa.demo.questions import Question, questions, unanswerable_question
from rag_vqa.demo.training.tokenizer import template_words, value_corpus
from rag_vqa.demo.world.entities import invent_entity, real_entities
from rag_vqa.demo.world.facts import SECTIONS
from rag_vqa.demo.world.texts import documents
from rag_vqa.demo.world.values import HELD_OUT_NOUNS, TRAINING_NOUNS


def stated(question: Question, texts: dict[str, str]) -> list[str]:
    """Sections whose text has the answer as whole words."""
    pattern = re.compile(rf"(?<!\w){re.escape(question.answers[0])}(?!\w)")
    return [section for section, text in texts.items() if pattern.search(text)]


def test_each_canonical_answer_is_in_the_document_of_its_section() -> None:
    for entity in real_entities().values():
        texts = {document.section: document.text for document in documents(entity)}
        asked = questions(entity)
        assert {q.attribute for q in asked} == set(entity.facts) - {"description"}
        for question in asked:
            assert question.section in stated(question, texts), question


def test_an_answer_that_belongs_to_one_section_is_in_no_other() -> None:
    own = ("area", "population", "national_day", "calling_code", "domain")
    for entity in real_entities().values():
        texts = {document.section: document.text for document in documents(entity)}
        for question in questions(entity):
            if question.attribute in own:
                assert stated(question, texts) == [question.section], question


def test_invented_answers_are_in_their_documents_however_phrased() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        entity = invent_entity(rng)
        texts = {document.section: document.text for document in documents(entity, rng=rng)}
        for question in questions(entity, rng):
            assert question.answers[0] in texts[question.section], question


def test_no_question_names_the_country_or_leaves_a_slot() -> None:
    rng = np.random.default_rng(1)
    for entity in real_entities().values():
        for question in (*questions(entity), *questions(entity, rng)):
            assert entity.name not in question.text
            assert "{" not in question.text
            assert question.text[-1] in "?."


def test_each_attribute_is_asked_in_many_ways() -> None:
    rng = np.random.default_rng(2)
    asked: dict[str, set[str]] = {}
    for entity in list(real_entities().values())[:40] * 6:
        for question in questions(entity, rng):
            asked.setdefault(question.attribute, set()).add(question.text)
    assert set(asked) == {a for group in SECTIONS.values() for a in group} - {"description"}
    assert min(map(len, asked.values())) >= 10


def test_canonical_wording() -> None:
    texts = {question.attribute: question.text for question in questions(real_entities()["NO"])}
    assert texts["capital"] == "What is the capital of this country?"
    assert texts["colours"] == "What are the colours of this flag?"


@pytest.mark.parametrize("held_out", [False, True])
def test_unanswerable_questions_have_no_answer_and_no_section(held_out: bool) -> None:
    rng = np.random.default_rng(3)
    asked = [unanswerable_question(rng, held_out) for _ in range(400)]
    assert all(q.answers == () and q.section == "" and q.attribute in q.text for q in asked)
    nouns = {question.attribute for question in asked}
    assert (nouns <= set(HELD_OUT_NOUNS)) is held_out
    assert len(nouns) >= 30


def test_held_out_nouns_are_others_than_those_of_training() -> None:
    assert not set(HELD_OUT_NOUNS) & set(TRAINING_NOUNS)
    rng = np.random.default_rng(4)
    stated_nouns = {a.partition(":")[2] for _ in range(500) for a in invent_entity(rng).facts}
    assert not stated_nouns & set(HELD_OUT_NOUNS)


def test_questions_are_determined_by_the_seed() -> None:
    entity = real_entities()["FR"]
    first, again = (questions(entity, np.random.default_rng(9)) for _ in range(2))
    assert first == again != questions(entity, np.random.default_rng(10))


def test_template_words_cover_every_question_and_the_words_of_sentences() -> None:
    words = set(template_words())
    rng = np.random.default_rng(5)
    for entity in list(real_entities().values())[:20]:
        for question in questions(entity, rng):
            assert set(re.findall(r"[^\W\d_]+", question.text)) <= words, question
    assert {"Northern", "republic", "landlocked", "million", "km²", "May"} <= words
    # A word known from held-out nouns alone must stay unknown, as in any user's question.
    assert not {"motto", "archbishop", "lighthouse", "sheep"} & words


def test_the_corpus_of_values_has_no_template_word() -> None:
    words = set(template_words())
    lines = list(value_corpus(np.random.default_rng(6), 500))
    assert len(lines) == 500
    assert not {word for line in lines for word in line.split()} & words
    assert lines == list(value_corpus(np.random.default_rng(6), 500))
