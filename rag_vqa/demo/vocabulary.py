"""What the demo's tokenizer is made of: whole words of templates, and a corpus of open values.

Pieces learnt from template words never occur in invented names and yet break real ones ("renc" of
currency breaks "French"): so those words become whole tokens, to be added as `single_word`, and
the pieces are learnt on names and values alone. It does not know the tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

import numpy as np

from rag_vqa.demo import questions, texts
from rag_vqa.demo.entities import real_names
from rag_vqa.demo.facts import MONTHS, SECTIONS, SHARED_SUBUNITS
from rag_vqa.demo.names import Namer, frame_words
from rag_vqa.demo.nouns import noun_words
from rag_vqa.demo.values import BANK_WORDS, FORMS, LAYOUTS, PALETTE, REGIONS, invented_facts

_WORD = re.compile(r"km²|[^\W\d_]+")
_SLOT = re.compile(r"\{\w+\}")
_CLOSED = ("an languages are is s landlocked coastal none", "left right million billion people")
_UNITS = "tonnes km km² m"


def template_words() -> list[str]:
    """All words of sentences, questions and closed vocabularies, sorted; case counts.

    Words of held-out nouns are absent, unless a template has them: they stay pieces to a reader,
    as every word that it has not seen.
    """
    pieces = [_SLOT.sub(" ", text) for text in (*texts.templates(), *questions.templates())]
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
        facts = invented_facts(namer, name, ("red",), None)
        for text in (name, *(fact.value for fact in facts.values())):
            rest = " ".join(word for word in text.split() if word.strip(",") not in known)
            if rest and made < n:
                made += 1
                yield rest
