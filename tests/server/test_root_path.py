"""A server below a proxy's path, whether the proxy strips the path or not."""

import io
import urllib.request
from urllib.parse import quote

import pytest
from PIL import Image
from served import running

from rag_vqa.retriever.knowledge_base import KnowledgeBase


@pytest.mark.parametrize("sent", ["", "/rag"], ids=["taken off", "handed on"])
def test_an_id_with_a_slash_is_found(make, birds, encoder, sent) -> None:
    with KnowledgeBase.open(birds, encoder) as kb:
        kb.add([{"id": "a/b", "text": "wren", "image": Image.new("RGB", (20, 10), "teal")}])
    with running(make(), root_path="/rag") as address:
        for path in ("/", "/v1/info", f"/v1/documents/{quote('a/b', safe='')}"):
            assert urllib.request.urlopen(f"{address}{sent}{path}").status == 200
        shown = urllib.request.urlopen(f"{address}{sent}/v1/documents/a%2Fb/image").read()
    assert Image.open(io.BytesIO(shown)).size == (20, 10)
