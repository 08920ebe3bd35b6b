"""The tokenizer of the demo's two models: byte pairs learned on values, template words whole.

Knows the vocabulary. Pieces learned from template words never occur in invented names and break
real ones ("renc" of currency breaks "French"). So those words are entries of their own, reached
without merges, and the pieces are learned on names and values alone; each digit stands alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from rag_vqa.demo import questions
from rag_vqa.demo.world import texts
from rag_vqa.demo.world.entities import real_names
from rag_vqa.demo.world.facts import MONTHS, SECTIONS, SHARED_SUBUNITS
from rag_vqa.demo.world.names import Namer, frame_words
from rag_vqa.demo.world.values import (
    BANK_WORDS,
    FORMS,
    LAYOUTS,
    PALETTE,
    REGIONS,
    invent_facts,
    noun_words,
)
from rag_vqa.prompts.template import TEMPLATE_NAMES, template_source

_WORD = re.compile(r"km²|[^\W\d_]+")
_SLOT = re.compile(r"\{\w+\}")
_CLOSED = ("an languages are is s landlocked coastal none", "left right million billion people")
_UNITS = "tonnes km km² m"
PIECES = 640  # byte-level BPE, bytes included
CORPUS = 200_000  # values that the pieces are learnt on
PAD, START, END, IMAGE = "<pad>", "<s>", "</s>", "<image>"
# Words that only prompts have: of the templates, and of the retriever's instruction.
_TAGS = re.compile(r"\{[{%].*?[}%]\}")
INSTRUCTION = "Retrieve the document that answers the question:"
FRAME = re.findall(
    r"[^\W\d_]+|·",
    _TAGS.sub(" ", " ".join((*map(template_source, TEMPLATE_NAMES), INSTRUCTION, "unknown ·"))),
)


def template_words() -> list[str]:
    """All words of sentences, questions and closed vocabularies, sorted; case counts.

    Words of held-out nouns are absent, unless a template has them: they stay pieces to a reader,
    as every word that it has not seen.
    """
    pieces = [
        _SLOT.sub(" ", text)
        for text in (*texts.sentence_templates(), *questions.question_templates())
    ]
    pieces += [*REGIONS, *FORMS, *PALETTE, *MONTHS, *LAYOUTS, *SHARED_SUBUNITS, *SECTIONS]
    pieces += [*frame_words(), *noun_words(), *BANK_WORDS, *_CLOSED, _UNITS]
    words = {word for piece in pieces for word in _WORD.findall(piece)}
    return sorted(words - set("ABC"))


def value_corpus(rng: np.random.Generator, n: int) -> Iterator[str]:
    """`n` invented names and values, template words taken out: what the BPE is trained on."""
    known = frozenset(template_words())
    quick = Random(int(rng.integers(2**63)))
    made = 0
    while made < n:
        namer = Namer(quick, real_names())
        name = namer.country()
        facts = invent_facts(namer, name, ("red",), None)
        for text in (name, *(fact.value for fact in facts.values())):
            rest = " ".join(word for word in text.split() if word.strip(",") not in known)
            if rest and made < n:
                made += 1
                yield rest


def train_tokenizer(seed: int, corpus: int = CORPUS) -> Tokenizer:
    """Learn the pieces and add the whole words, with and without a space before them."""
    splitter = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = splitter
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES,
        special_tokens=[PAD, START, END, IMAGE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learner.train_from_iterator(_corpus_with_spaces(np.random.default_rng(seed), corpus), trainer)
    vocabulary = learner.get_vocab()
    model = learner.to_str()
    merges = [(left, right) for left, right in _merges(model)]
    byte_level = pre_tokenizers.ByteLevel(False, use_regex=False)
    for word in sorted({*template_words(), *FRAME}):
        for form in (word, f" {word}"):
            piece = "".join(text for text, _ in byte_level.pre_tokenize_str(form))
            vocabulary.setdefault(piece, len(vocabulary))
    whole = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    whole.pre_tokenizer = splitter
    whole.decoder = decoders.ByteLevel()
    whole.add_special_tokens([PAD, START, END, IMAGE])
    return whole


def retriever_tokenizer(tokenizer: Tokenizer, window: int) -> PreTrainedTokenizerFast:
    """As CLIP's: a start and an end around each text, `window` tokens at most."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(t, copy.token_to_id(t)) for t in (START, END)],
    )
    return _wrap_tokenizer(copy, window)


def reader_tokenizer(
    tokenizer: Tokenizer, context: int, chat_template: str
) -> PreTrainedTokenizerFast:
    """Nothing added around a text: the chat template writes its own start."""
    wrapped = _wrap_tokenizer(tokenizer, context)
    wrapped.chat_template = chat_template
    return wrapped


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """tokenizer.json and its configuration."""
    tokenizer.save_pretrained(folder)


def _wrap_tokenizer(tokenizer: Tokenizer, window: int) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=window,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        clean_up_tokenization_spaces=False,
        extra_special_tokens={"image_token": IMAGE},
    )


def _corpus_with_spaces(rng: np.random.Generator, corpus: int) -> Iterator[str]:
    # In a sentence a value follows a space; as a title it does not.
    for i, value in enumerate(value_corpus(rng, corpus)):
        yield value if i % 4 == 0 else f" {value}"


def _merges(model: str) -> list[list[str]]:
    found: list[list[str]] = json.loads(model)["model"]["merges"]
    return found
