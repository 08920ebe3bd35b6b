"""What of an answer is put to a scorer."""

from pathlib import Path
from typing import Literal

import pytest

from rag_vqa.eval.results.judgement import score_answers
from rag_vqa.eval.run.ledger import Ledger, canonical_json
from rag_vqa.eval.scorers import make_scorer
from rag_vqa.types import Example, Query

NUMBER = Example(
    "n", Query("How high?"), references=({"wikidata": 1944.0, "range": [1900, 2000]},),
    kind="Numerical", split="val_unseen_entity",
)  # fmt: skip
WORDS = Example("w", Query("Which city?"), references=("Dubai",), kind="templated")


@pytest.mark.parametrize(
    ("kind", "example", "said", "score"),
    [
        ("infoseek", NUMBER, "[1] 1,944 m [2].", 1.0),
        ("infoseek", NUMBER, "[1] 2,944 m", 0.0),
        ("evqa", WORDS, "Dubai [1].", 1.0),
        ("evqa", WORDS, "[3] Dubai", 1.0),
        ("evqa", WORDS, "3 Dubai", 0.0),
        ("infoseek", NUMBER, "[1944]", 1.0),  # no document has that number
        ("infoseek", NUMBER, "[3] [1944]", 1.0),
    ],
)
def test_a_citation_is_no_part_of_an_answer(
    tmp_path: Path, kind: Literal["infoseek", "evqa"], example: Example, said: str, score: float
) -> None:
    Ledger.create(tmp_path, {}, [example])
    with Ledger(tmp_path) as ledger:
        ledger.write(
            "INSERT INTO answers VALUES ('none', 0, 'k', ?)",
            [[canonical_json({"prediction": said, "citations": [1, 2, 3]})]],
        )
        score_answers(ledger, make_scorer(kind))
        assert list(ledger.rows("SELECT score FROM scores")) == [(score,)]
