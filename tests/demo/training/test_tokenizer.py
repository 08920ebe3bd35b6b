"""The demo's tokenizer: real values survive, template words are whole, markers stay apart."""

import pytest
from tokenizers import Tokenizer

from rag_vqa.demo.training import tokenizer as vocabulary
from rag_vqa.demo.world.entities import real_entities
from rag_vqa.demo.world.texts import documents


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return vocabulary.train_tokenizer(seed=3, corpus=5_000)


def test_every_real_text_comes_back(trained: Tokenizer) -> None:
    for entity in real_entities().values():
        for document in documents(entity):
            text = f"{document.title} · {document.section}\n{document.text}"
            assert trained.decode(trained.encode(text).ids) == text


def test_template_words_are_whole_and_names_are_pieces(trained: Tokenizer) -> None:
    assert [trained.decode([i]) for i in trained.encode("The capital is").ids] == [
        "The", " capital", " is",
    ]  # fmt: skip
    assert len(trained.encode(" currency").ids) == 1
    # No piece of a template word reaches into a name: "currency" has "renc", "French" has not.
    pieces = [trained.decode([i]) for i in trained.encode(" Frencho").ids]
    assert "renc" not in "|".join(pieces) and len(pieces) > 1


def test_digits_stand_alone(trained: Tokenizer) -> None:
    assert [trained.decode([i]) for i in trained.encode("323,802").ids] == list("323,802")


def test_the_retriever_s_wraps_and_cuts(trained: Tokenizer) -> None:
    wrapped = vocabulary.retriever_tokenizer(trained, 8)
    ids = wrapped("The capital is Oslo, a city of some size", truncation=True)["input_ids"]
    assert len(ids) == 8
    assert (ids[0], ids[-1]) == (wrapped.bos_token_id, wrapped.eos_token_id)


def test_the_reader_s_adds_nothing(trained: Tokenizer) -> None:
    plain = vocabulary.reader_tokenizer(trained, 64, "{{ bos_token }}")
    assert plain.decode(plain("Oslo")["input_ids"]) == "Oslo"
