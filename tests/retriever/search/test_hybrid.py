"""Words beside late interaction: fused by the formula, and following every commit."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.retriever.search import FUSION_DEPTH
from rag_vqa.retriever.store.schema import Commit
from rag_vqa.types import Hit, Query


@pytest.fixture
def kb(tmp_path: Path, encoder: TokenEncoder) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as base:
        base.hybrid = True
        yield base


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.document.id for hit in hits]


def documents(count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "id": f"d{n:03}",
            "text": " ".join(f"w{w}" for w in rng.integers(0, 60, int(rng.integers(2, 12)))),
            "title": f"Title w{n % 7}",
            "metadata": {"half": n % 2},
            "parent": f"p{n % 9}" if n % 3 else "",
        }
        for n in range(count)
    ]


def reciprocal(*rankings: Sequence[str]) -> list[tuple[str, float]]:
    """Σ 1 / (60 + rank), best first, ties by name."""
    names = {name for ranking in rankings for name in ranking}
    scores = {name: sum(1 / (61 + r.index(name)) for r in rankings if name in r) for name in names}
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


def test_it_is_the_fusion_of_both_rankings(kb: KnowledgeBase) -> None:
    made = documents(80)
    kb.add(made)
    texts = {d["id"]: f"{d['title']}\n{d['text']}".lower().split() for d in made}
    for text in ("w1 w2 w3", "w40", "Title w5 w6 w7 w8"):
        for where in (None, {"half": 1}):
            kb.hybrid = False
            by_tokens = {h.document.id: h.score for h in kb.search([Query(text)], 80, where)[0]}
            kb.hybrid = True
            (hits,) = kb.search([Query(text)], 80, where)
            by_words = {h.document.id: h.scores["lexical"] for h in hits if "lexical" in h.scores}
            shared = [n for n in by_tokens if set(text.lower().split()) & set(texts[n])]
            assert sorted(by_words) == sorted(shared)
            order = sorted(by_words, key=lambda name: (-by_words[name], name))
            for k in (80, FUSION_DEPTH + 5, 3):
                depth = max(k, FUSION_DEPTH)
                (hits,) = kb.search([Query(text)], k, where)
                wanted = reciprocal(list(by_tokens)[:depth], order[:depth])[:k]
                assert ids(hits) == [name for name, _ in wanted]
                np.testing.assert_allclose([h.score for h in hits], [score for _, score in wanted])
                for hit in hits:
                    assert hit.scores["fused"] == hit.score
                    name = hit.document.id
                    assert hit.scores.get("retrieve", by_tokens[name]) == by_tokens[name]
                    assert ("retrieve" in hit.scores) == (name in list(by_tokens)[:depth])
                    assert ("lexical" in hit.scores) == (name in order[:depth])


def test_words_find_what_late_interaction_does_not(kb: KnowledgeBase) -> None:
    texts = {
        "wien": "Wien ist die Hauptstadt von Österreich.",
        "bern": "Bern ist die Bundesstadt der Schweiz.",
        "tokyo": "日本の首都は東京都です。",
        **{f"x{n:03}": f"北 ist {n}" for n in range(2 * FUSION_DEPTH)},
    }
    kb.add({"id": name, "text": text} for name, text in texts.items())
    for text, name in (
        ("Österreichs Nachbar? osterreich, HAUPTSTADT!", "wien"),
        ("東京都", "tokyo"),
    ):
        query = Query(text)
        kb.hybrid = False
        assert ids(kb.search([query], 1)[0]) != [name]
        kb.hybrid = True
        (hits,) = kb.search([query], 2)
        assert name in ids(hits) and hits[ids(hits).index(name)].scores["lexical"] > 0


def test_an_image_alone_has_no_words(kb: KnowledgeBase) -> None:
    kb.add(documents(20))
    queries = [Query("", image="a.jpg"), Query("w1 w2")]
    alone, both = kb.search(queries, 20)
    kb.hybrid = False
    assert ids(alone) == ids(kb.search(queries, 20)[0])
    assert all(set(hit.scores) == {"retrieve", "fused"} for hit in alone)
    assert any("lexical" in hit.scores for hit in both)


def test_pages_of_both_rankings(kb: KnowledgeBase) -> None:
    kb.add(documents(60))
    page = {d.id: d.parent or d.id for d in kb.documents()}
    kb.hybrid, kb.sections = False, True
    by_tokens = ids(kb.search([Query("w1 w2 w3")], 60)[0])
    kb.hybrid, kb.sections = True, False
    (hits,) = kb.search([Query("w1 w2 w3")], 60)
    words = {hit.document.id: hit.scores["lexical"] for hit in hits if "lexical" in hit.scores}
    ranked = list(dict.fromkeys(page[n] for n in sorted(words, key=lambda n: (-words[n], n))))
    kb.sections = True
    (hits,) = kb.search([Query("w1 w2 w3")], 60)
    wanted = dict(reciprocal([page[name] for name in by_tokens], ranked))
    assert {page[hit.document.id]: hit.score for hit in hits} == pytest.approx(wanted)
    assert sorted(ids(hits)) == sorted(by_tokens)  # every page's section is late interaction's


def everything(kb: KnowledgeBase) -> Any:
    rows = kb.search([Query("w1 w2 w3"), Query("Title w4")], 30)
    return [[(h.document.id, h.passage.text, dict(h.scores)) for h in row] for row in rows]


def test_it_follows_all_that_is_committed(
    kb: KnowledgeBase, encoder: TokenEncoder, tmp_path: Path
) -> None:
    """After each change an open reader finds what a knowledge base built at once finds."""
    first, second = documents(30), documents(30, seed=1)
    longer = documents(40, seed=2)
    steps = [
        lambda: kb.add(first),
        lambda: kb.delete(["d003", "d004"]),
        lambda: kb.add(second[:7]),
        lambda: kb.sync(longer, force=True),
        lambda: kb.compact(),
        lambda: kb.add([longer[0] | {"metadata": {"half": 9}}]),
    ]
    with KnowledgeBase.open(kb.path, encoder) as reader:
        reader.hybrid = True
        for number, step in enumerate(steps):
            step()
            with KnowledgeBase.create(tmp_path / f"{number}.kb", encoder) as fresh:
                fresh.add(kb.documents())
                fresh.hybrid = True
                assert everything(reader) == everything(kb) == everything(fresh)


def test_merged_parts_have_the_words_of_both(
    kb: KnowledgeBase, encoder: TokenEncoder, tmp_path: Path
) -> None:
    made = documents(30)
    parts = [tmp_path / f"part{n}" for n in range(2)]
    for n, part in enumerate(parts):
        with KnowledgeBase.create(part, encoder) as other:
            other.add(made[15 * n : 15 * (n + 1)])
    with KnowledgeBase.create(tmp_path / "whole", encoder) as whole:
        whole.add(made)
        whole.hybrid = True
        kb.search([Query("w1")], 1)
        kb.merge(parts)
        assert everything(kb) == everything(whole)


def test_a_commit_that_fails_changes_no_word(
    kb: KnowledgeBase, encoder: TokenEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    kb.add(documents(30))

    def fails(commit: Commit, digest: int) -> None:
        raise KeyboardInterrupt

    with KnowledgeBase.open(kb.path, encoder) as reader:
        reader.hybrid = True
        before = everything(reader)
        with monkeypatch.context() as patched:
            patched.setattr(Commit, "finish", fails)
            for change in (
                lambda: kb.add(documents(30, seed=1)),
                lambda: kb.delete("d001"),
                lambda: kb.sync(documents(31, seed=2)),
            ):
                with pytest.raises(KeyboardInterrupt):
                    change()
                assert everything(reader) == everything(kb) == before
        kb.delete("d001")
        assert everything(reader) == everything(kb) != before


def test_words_that_could_not_be_read_are_read_at_the_next_search(
    kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    kb.add(documents(30))

    def broken(keys: Sequence[int]) -> Iterator[tuple[int, str]]:
        yield keys[0], "half"
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(kb.store, "passage_texts", broken)
        with pytest.raises(KeyboardInterrupt):
            kb.search([Query("w1")], 1)
    assert "lexical" in kb.search([Query("w1 w2 w3")], 1)[0][0].scores


def test_nothing_is_written_into_its_folder(kb: KnowledgeBase, encoder: TokenEncoder) -> None:
    kb.add(documents(30))
    kb.close()

    def content() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in kb.path.rglob("*") if p.is_file()}

    before = content()
    with KnowledgeBase.open(kb.path, encoder) as reader:
        reader.hybrid = True
        assert reader.search([Query("w1 w2")], 1)[0]
        assert reader.verify() == ()
    assert content() == before


@pytest.mark.parametrize(
    ("hybrid", "sections", "name"),
    [
        (False, False, "ret"),
        (True, False, "ret+bm25"),
        (False, True, "ret, sections"),
        (True, True, "ret+bm25, sections"),
    ],
)
def test_its_name_for_records(kb: KnowledgeBase, hybrid: bool, sections: bool, name: str) -> None:
    kb.hybrid, kb.sections = hybrid, sections
    assert kb.method == name
