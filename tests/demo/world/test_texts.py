"""Documents: what they state, how long they are, and that training varies them."""

import time

import numpy as np
import pytest

from rag_vqa.demo.questions import questions
from rag_vqa.demo.world.entities import (
    Entity,
    drop_facts,
    facts_by_section,
    invent_entity,
    real_entities,
)
from rag_vqa.demo.world.facts import SECTIONS, Fact
from rag_vqa.demo.world.texts import documents
from rag_vqa.demo.world.values import HELD_OUT_NOUNS, TRAINING_NOUNS


def test_a_document_in_full() -> None:
    facts = {"capital": Fact("Oslo"), "form": Fact("emirate"), "languages": Fact("A and B")}
    people, government = documents(Entity("aland", "Aland", facts), image="flag.png")
    assert government.text == "The capital is Oslo. The form of state is an emirate."
    assert (government.id, government.parent) == ("aland/government", "aland")
    assert (government.title, government.section) == ("Aland", "government")
    assert government.images == ("flag.png",)
    assert people.text == "Official languages: A and B."


def test_real_documents_are_short_and_state_each_fact_in_their_own_section() -> None:
    for entity in real_entities().values():
        found = {document.section: document.text for document in documents(entity)}
        assert set(found) <= set(SECTIONS)
        for section, facts in facts_by_section(entity).items():
            assert all(fact.value in found[section] for fact in facts.values())
            assert len(found.get(section, "").split()) <= 45


def test_no_document_of_a_real_country_speaks_of_an_unanswerable_attribute() -> None:
    texts = [d.text.lower() for e in real_entities().values() for d in documents(e)]
    for noun in (*HELD_OUT_NOUNS, *TRAINING_NOUNS):
        assert not any(f"{noun} is" in text or f"{noun}:" in text for text in texts), noun
    assert not any(noun in text for noun in HELD_OUT_NOUNS for text in texts)


def test_no_invented_document_speaks_of_a_held_out_attribute() -> None:
    rng = np.random.default_rng(8)
    for _ in range(200):
        for document in documents(invent_entity(rng), rng=rng):
            assert not any(f"{noun} is " in document.text for noun in HELD_OUT_NOUNS)


def test_varied_documents_state_the_same_facts_in_other_words() -> None:
    entity = real_entities()["NO"]
    rng = np.random.default_rng(0)
    versions = {tuple(d.text for d in documents(entity, rng=rng)) for _ in range(20)}
    assert len(versions) == 20
    for texts in versions:
        assert all(fact.value in " ".join(texts) for fact in entity.facts.values())


def test_a_thinned_country_states_what_is_left_and_no_more() -> None:
    rng = np.random.default_rng(1)
    whole = real_entities()["JP"]
    kept = drop_facts(whole, rng, 0.4)
    sentences = sum(d.text.count(". ") + 1 for d in documents(kept))
    assert sentences == len(kept.facts) < len(whole.facts)


def test_documents_drop_by_the_seed_and_need_one() -> None:
    entity = real_entities()["JP"]
    first = documents(entity, rng=np.random.default_rng(2), drop=0.3)
    assert first == documents(entity, rng=np.random.default_rng(2), drop=0.3)
    everything = "".join(d.text for d in documents(entity))
    assert sum(len(d.text) for d in first) < len(everything)
    with pytest.raises(ValueError, match="needs rng"):
        documents(entity, drop=0.3)


def test_a_country_takes_about_a_millisecond() -> None:
    rng = np.random.default_rng(0)
    invent_entity(rng)
    start = time.process_time()
    for _ in range(300):
        entity = invent_entity(rng)
        documents(entity, rng=rng)
        questions(entity, rng)
    assert (time.process_time() - start) / 300 < 0.003  # 1 ms, with room for a busy machine
