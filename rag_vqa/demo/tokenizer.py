"""The tokenizer of the demo's two models: byte pairs learnt on values, template words whole.

Knows the vocabulary. Pieces learnt from template words never occur in invented names and yet
break real ones ("renc" of currency breaks "French"), so those words are entries of their own,
reached without merges, and the pieces are learnt on names and values alone; digits stand alone.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from rag_vqa.demo.vocabulary import template_words, value_corpus
from rag_vqa.prompts.template import NAMES, source_of

PIECES = 640  # byte-level BPE, bytes included
CORPUS = 200_000  # values that the pieces are learnt on
PAD, START, END, IMAGE = "<pad>", "<s>", "</s>", "<image>"
# Words that only prompts have: of the templates, and of the retriever's instruction.
_TAGS = re.compile(r"\{[{%].*?[}%]\}")
INSTRUCTION = "Retrieve the document that answers the question:"
FRAME = re.findall(
    r"[^\W\d_]+|·", _TAGS.sub(" ", " ".join((*map(source_of, NAMES), INSTRUCTION, "unknown ·")))
)


def train(seed: int, corpus: int = CORPUS) -> Tokenizer:
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
    learner.train_from_iterator(_spaced(np.random.default_rng(seed), corpus), trainer)
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


def for_retriever(tokenizer: Tokenizer, window: int) -> PreTrainedTokenizerFast:
    """As CLIP's: a start and an end around each text, `window` tokens at most."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(t, copy.token_to_id(t)) for t in (START, END)],
    )
    return _wrapped(copy, window)


def for_reader(tokenizer: Tokenizer, context: int, chat_template: str) -> PreTrainedTokenizerFast:
    """Nothing added around a text: the chat template writes its own start."""
    wrapped = _wrapped(tokenizer, context)
    wrapped.chat_template = chat_template
    return wrapped


def save(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """tokenizer.json and its configuration."""
    tokenizer.save_pretrained(folder)


def _wrapped(tokenizer: Tokenizer, window: int) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=window,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        clean_up_tokenization_spaces=False,
        extra_special_tokens={"image_token": IMAGE},
    )


def _spaced(rng: np.random.Generator, corpus: int) -> Iterator[str]:
    # In a sentence a value follows a space; as a title it does not.
    for i, value in enumerate(value_corpus(rng, corpus)):
        yield value if i % 4 == 0 else f" {value}"


def _merges(model: str) -> list[list[str]]:
    found: list[list[str]] = json.loads(model)["model"]["merges"]
    return found
