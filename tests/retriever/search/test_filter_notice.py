"""What is said if no document passes a filter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder


def notice(tmp_path: Path, encoder: TokenEncoder, values: list[Any], where: Any) -> str:
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as kb:
        documents = ({"m": value, "kind": f"k{n % 2}"} for n, value in enumerate(values))
        kb.add([{"id": f"{n}", "text": "T.", "metadata": m} for n, m in enumerate(documents)])
        return kb.describe_no_match(where)


@pytest.mark.parametrize(
    ("values", "where", "due"),
    [
        (["boat", "plate", "boat"], "m=bowl", "Values of m: boat (2), plate (1)."),
        ([True, False, True], "m=maybe", "Values of m: true (2), false (1)."),
        ([1, 0, 1], "m=maybe", "Values of m: 1 (2), 0 (1)."),
        ([["a", "b"], "a"], "m=c", "Values of m: a (2), b (1)."),
        (["Family, Given"], "m=x", "Values of m: 'Family, Given' (1)."),
        ([*range(1650, 1802)], "m>=2000", "Values of m: 1650 to 1801 (152 values)."),
        ([f"{n}.50" for n in range(5, 17)], "m=1", "Values of m: 5.5 to 16.5 (12 values)."),
        ([f"1998-05-{n:02}" for n in range(1, 32)], "m<1998",
         "Values of m: 1998-05-01 to 1998-05-31 (31 values)."),
        ([f"name {n}" for n in range(50)], "m=nam 17", "Values of m: name 17, "),
        (["\x1b[2J", "x" * 500], "m=y", "Values of m: \\x1b[2J (1), xxx"),
        (["boat"], ["m=boat", "kind=k1", "kind=k0", "m=boat"], ""),
        (["boat"], {"m": "boat"}, ""), (["boat"], None, ""), (["boat"], {}, ""),
    ],
)  # fmt: skip
def test_a_notice(
    tmp_path: Path, encoder: TokenEncoder, values: list[Any], where: Any, due: str
) -> None:
    said = notice(tmp_path, encoder, values, where)
    assert (due in said) if due else not said
    assert said.isprintable() and len(said) < 1000


def test_conditions_that_match_only_alone(tmp_path: Path, encoder: TokenEncoder) -> None:
    said = notice(tmp_path, encoder, ["boat", "cup", "boat"], ["m=cup", "kind=k0"])
    assert said.startswith("No document has m=cup (in 1) together with kind=k0 (in 2).")
    assert "Values of m: boat (2), cup (1). Values of kind: k0 (2), k1 (1)." in said


def test_only_the_name_that_fails_is_described(tmp_path: Path, encoder: TokenEncoder) -> None:
    said = notice(tmp_path, encoder, ["boat", "cup"], ["m=bowl", "kind=k0"])
    assert said == "No document has m=bowl. Values of m: boat (1), cup (1)."
