"""LlamaIndex nodes: text, picture, score and source."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.schema import ImageNode, MetadataMode, QueryBundle, TextNode
from PIL import Image

from rag_vqa.errors import UsageError
from rag_vqa.integrations.llamaindex import ReTRetriever
from rag_vqa.retriever.knowledge_base import KnowledgeBase


@pytest.fixture
def kb(birds: Path, encoder: Any) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(birds, encoder) as kb:
        kb.add([{"id": "red", "text": "a robin", "image": Image.new("RGB", (4, 4), "red")}])
        yield kb


def test_nodes_are_the_hits(kb) -> None:
    found = ReTRetriever(kb, k=2).retrieve("Where do puffins nest?")
    hits = kb.search([_query("Where do puffins nest?")], 2)[0]
    assert [node.node.node_id for node in found] == [hit.document.id for hit in hits]
    assert [node.score for node in found] == [hit.score for hit in hits]
    first = found[0].node
    assert type(first) is TextNode and first.text == "puffins nest in burrows on sea cliffs"
    assert first.metadata["url"] == "" and first.metadata["metadata"] == {"lang": "en"}
    assert first.get_content(MetadataMode.LLM) == (
        "title: Atlantic puffin\nsection: Breeding\n\npuffins nest in burrows on sea cliffs"
    )


def test_a_model_that_reads_nodes_sees_shown_metadata(kb) -> None:
    kb.show_names = ["lang", "url"]
    first = ReTRetriever(kb, k=1).retrieve("puffins nest in burrows")[0].node
    assert first.get_content(MetadataMode.LLM).startswith(
        "title: Atlantic puffin\nsection: Breeding\nlang: en\n\n"
    )
    assert "lang" not in first.get_content(MetadataMode.EMBED)


def test_no_documents_are_no_search(kb) -> None:
    with pytest.raises(UsageError, match="k = 0"):
        ReTRetriever(kb, k=0).retrieve("nest")


def test_a_picture_makes_an_image_node(kb) -> None:
    [found] = ReTRetriever(kb, k=1).retrieve("a robin")
    assert isinstance(found.node, ImageNode) and found.node.text == "a robin"
    assert found.node.resolve_image() == str(kb.get("red").images[0])


def test_the_query_s_picture_and_the_filter_are_taken(kb, monkeypatch) -> None:
    asked: list[Any] = []
    encode = kb.encoder.encode_queries
    monkeypatch.setattr(
        kb.encoder, "encode_queries", lambda queries: asked.extend(queries) or encode(queries)
    )
    found = ReTRetriever(kb, where={"lang": "de"}).retrieve(QueryBundle("nest", image_path="a.jpg"))
    assert [node.node.node_id for node in found] == ["swift"]
    assert (asked[0].text, asked[0].image) == ("nest", "a.jpg")


async def test_it_retrieves_beside_the_loop(kb, monkeypatch) -> None:
    threads: list[threading.Thread] = []
    search = kb.search
    monkeypatch.setattr(
        kb, "search", lambda *given: threads.append(threading.current_thread()) or search(*given)
    )
    assert len(await ReTRetriever(kb, k=3).aretrieve("nest")) == 3
    assert len(threads) == 1 and threads[0] is not threading.current_thread()


def _query(text: str) -> Any:
    from rag_vqa.types import Query

    return Query(text)
