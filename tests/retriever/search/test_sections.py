"""Pages first: each page by its best document, against all scores written out."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.types import Document, Hit, Query


@pytest.fixture
def kb(tmp_path: Path, encoder: TokenEncoder) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as base:
        base.sections = True
        yield base


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.document.id for hit in hits]


def due(everything: Sequence[Hit]) -> list[tuple[str, float]]:
    """The best document of each page, best page first, of all documents best first."""
    pages: dict[tuple[bool, str], tuple[str, float]] = {}
    for hit in everything:
        document = hit.document
        page = (bool(document.parent), document.parent or document.id)
        pages.setdefault(page, (document.id, hit.score))
    return list(pages.values())


def test_pages_and_sections_are_those_of_all_scores(kb: KnowledgeBase) -> None:
    rng = np.random.default_rng(0)
    documents = [
        Document(
            f"d{n:03}",
            " ".join(f"w{w}" for w in rng.integers(0, 9, 4)),
            parent=f"p{rng.integers(12)}" if n % 4 else "",
            metadata={"half": n % 2},
        )
        for n in range(120)
    ]
    kb.add(documents)
    for text in ("w1 w2 w3", "w4 w4", "w8 w0 w5 w6"):
        for k in (1, 3, 12, 60):
            for where in (None, {"half": 1}):
                kb.sections = False
                wanted = due(kb.search([Query(text)], 120, where)[0])[:k]
                kb.sections = True
                (hits,) = kb.search([Query(text)], k, where)
                assert [(hit.document.id, hit.score) for hit in hits] == wanted
                assert [hit.rank for hit in hits] == list(range(1, len(wanted) + 1))


def test_a_page_of_many_sections_does_not_crowd_out_the_others(kb: KnowledgeBase) -> None:
    kb.add([{"id": f"loud{n:03}", "text": "Puffin sea.", "parent": "loud"} for n in range(300)])
    kb.add([{"id": f"d{n}", "text": f"Word{n}.", "parent": f"p{n}"} for n in range(5)])
    (hits,) = kb.search([Query("puffin sea")], 4)
    assert len(hits) == 4 and ids(hits)[0] == "loud000"
    assert len({hit.document.parent for hit in hits}) == 4


def test_an_id_that_is_another_s_parent_is_a_page_of_its_own(kb: KnowledgeBase) -> None:
    kb.add([{"id": "a", "text": "Sea."}, {"id": "b", "text": "Sea.", "parent": "a"}])
    assert ids(kb.search([Query("sea")], 9)[0]) == ["a", "b"]


def test_a_new_parent_alone_is_followed(kb: KnowledgeBase) -> None:
    kb.add([{"id": n, "text": "Sea.", "parent": "p"} for n in "abc"])
    assert ids(kb.search([Query("sea")], 9)[0]) == ["a"]
    report = kb.add([{"id": "b", "text": "Sea.", "parent": "q"}])
    assert report.encoded == 0
    assert ids(kb.search([Query("sea")], 9)[0]) == ["a", "b"]
    kb.sections = False
    assert ids(kb.search([Query("sea")], 9)[0]) == ["a", "b", "c"]
