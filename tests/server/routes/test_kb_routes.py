import io
import threading
from urllib.parse import quote

import pytest
from PIL import Image
from served import chat, client, data_url, picture, with_exif

from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.storage import lock

STRANGE = ["a/b", "../../etc/passwd", "100%", "%2e%2e", "a image", "a/image", "ü?#&", "<script>",
           "/", "%", "C:\\x", "a\nb"]  # fmt: skip


def add(asking, *documents):
    return asking.post("/v1/documents", json={"documents": list(documents)})


def test_documents_are_added_found_and_deleted(make) -> None:
    wren = {
        "id": "wren",
        "title": "Wren",
        "text": "wrens nest in hedges",
        "metadata": {"lang": "en"},
    }
    with client(make()) as asking:
        assert add(asking, wren).json() == {"added": 1, "unchanged": 0, "rejected": []}
        assert add(asking, wren).json() == {"added": 0, "unchanged": 1, "rejected": []}
        assert asking.get("/v1/info").json()["documents"] == 4
        hits = asking.post("/v1/search", json={"text": "wrens hedges", "k": 1}).json()["hits"]
        assert hits[0]["document"] == asking.get("/v1/documents/wren").json()
        assert hits[0]["document"]["metadata"] == {"lang": "en"}
        assert asking.delete("/v1/documents/wren").json() == {"deleted": 1}
        assert asking.delete("/v1/documents/wren").json() == {"deleted": 0}
        assert asking.get("/v1/documents/wren").status_code == 404


def test_the_limits_of_the_models_are_told(make, encoder, monkeypatch) -> None:
    with client(make()) as asking:
        assert asking.get("/v1/info").json()["limits"] == ""
    monkeypatch.setattr(encoder, "source", "demo", raising=False)
    monkeypatch.setattr("rag_vqa.demo_limits.is_built_in", lambda *_: True)
    monkeypatch.setattr("rag_vqa.pipeline.warn_once", lambda _: None)
    with client(make()) as asking:
        limits = asking.get("/v1/info").json()["limits"]
        assert limits.startswith("The built-in models only know national flags.")
        assert "--preset laptop (6.3 GB download)" in limits


def test_what_is_refused_is_named_and_the_rest_is_added(make) -> None:
    bad = [{"id": " ", "text": "x"}, {"id": "nul", "text": "a\0b"},
           {"id": "picture", "images": [data_url(b"<html>")]},
           {"id": "address", "images": ["http://169.254.169.254/"]},
           {"id": "path", "images": ["/etc/passwd"]}]  # fmt: skip
    with client(make()) as asking:
        sent = add(asking, *bad, {"id": "good", "text": "wrens"}).json()
        assert sent["added"] == 1
        assert sorted(each["id"] for each in sent["rejected"]) == sorted(each["id"] for each in bad)
        assert all(each["reason"] for each in sent["rejected"])
        assert asking.get("/v1/info").json()["documents"] == 4


@pytest.mark.parametrize(
    "document",
    [{"id": "x", "path": "/etc/passwd"}, {"text": "x"}, {"id": 1}, {"id": "x", "images": "y"},
     {"id": "x", "metadata": {"a": {"b": 1}}}, {"id": "x", "text": "y" * (2**20 + 1)},
     {"id": "x", "images": [""] * 33}],
)  # fmt: skip
def test_a_document_of_another_shape_is_refused_whole(make, document) -> None:
    with client(make()) as asking:
        assert add(asking, {"id": "good", "text": "wrens"}, document).status_code == 400
        assert asking.get("/v1/info").json()["documents"] == 3


@pytest.mark.parametrize("identity", STRANGE)
def test_ids_of_any_kind_are_one_part_of_an_address(make, identity) -> None:
    with client(make()) as asking:
        sent = add(asking, {"id": identity, "text": "wrens", "images": [data_url(picture())]})
        assert sent.json()["added"] == 1
        address = f"/v1/documents/{quote(identity, safe='')}"
        document = asking.get(address).json()
        assert document["id"] == identity
        (shown,) = document["images"]
        assert shown == f"{address}/image?n=0"
        assert asking.get(shown).headers["content-type"] in ("image/png", "image/jpeg")
        assert asking.delete(address).json() == {"deleted": 1}


def test_an_address_that_is_no_id_is_refused(make) -> None:
    with client(make()) as asking:
        assert asking.get("/v1/documents/%ff").status_code == 400
        assert asking.get("/v1/documents/none/image").status_code == 404
        assert asking.get("/v1/documents/puffin/image").status_code == 404
        for n in ("-1", "320", "x", "1e3"):
            assert asking.get(f"/v1/documents/puffin/image?n={n}").status_code == 400


def test_a_picture_goes_out_as_a_new_file(make) -> None:
    secret = "taken-at-home"
    data = with_exif(secret) + b"<script>alert(1)</script>"
    assert secret.encode() in data
    with client(make()) as asking:
        add(asking, {"id": "photo", "images": [data_url(data, "jpeg"), data_url(picture())]})
        for n in (0, 1):
            sent = asking.get(f"/v1/documents/photo/image?n={n}")
            assert secret.encode() not in sent.content and b"script" not in sent.content
            assert sent.content not in (data, picture())
            opened = Image.open(io.BytesIO(sent.content))
            assert opened.size == (40, 30) and not opened.getexif()
            assert sent.headers["content-type"] == f"image/{opened.format.lower()}"
            tag = {"If-None-Match": sent.headers["etag"]}
            assert asking.get(f"/v1/documents/photo/image?n={n}", headers=tag).status_code == 304
        hits = asking.post("/v1/search", json={"text": "x", "k": 4}).json()["hits"]
        found = next(hit for hit in hits if hit["document"]["id"] == "photo")
        assert found["passage"]["image"] in found["document"]["images"]
        assert "kb" not in "".join(found["document"]["images"])


def test_a_large_picture_is_shown_at_the_size_of_a_page(make) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (3000, 2000), "teal").save(buffer, "PNG")
    with client(make()) as asking:
        add(asking, {"id": "large", "images": [data_url(buffer.getvalue())]})
        sent = asking.get("/v1/documents/large/image")
        width, height = Image.open(io.BytesIO(sent.content)).size
        assert width * height <= 2**20 and width / height == pytest.approx(1.5, abs=0.01)


def test_what_another_process_adds_is_found(make, birds, encoder) -> None:
    with client(make()) as asking:
        body = {"text": "wrens hedges", "k": 1}
        assert asking.post("/v1/search", json=body).json()["hits"][0]["document"]["id"] != "wren"
        with KnowledgeBase.open(birds, encoder) as other:
            other.add([{"id": "wren", "text": "wrens nest in hedges"}])
        assert asking.post("/v1/search", json=body).json()["hits"][0]["document"]["id"] == "wren"
        hits = asking.post("/v1/chat/completions", json=chat("wrens hedges")).json()["rag_vqa"][
            "hits"
        ]
        assert hits[0]["document"]["id"] == "wren"
        with KnowledgeBase.open(birds, encoder) as other:
            other.delete("wren")
        assert asking.post("/v1/search", json=body).json()["hits"][0]["document"]["id"] != "wren"


def test_while_another_writes_a_client_is_told_to_wait(make, birds) -> None:
    held, done = threading.Event(), threading.Event()

    def write() -> None:
        with lock.hold_lock(birds):
            held.set()
            done.wait(20)

    other = threading.Thread(target=write)
    with client(make()) as asking:
        other.start()
        held.wait(20)
        try:
            for sent in (
                add(asking, {"id": "wren", "text": "x"}),
                asking.delete("/v1/documents/swift"),
            ):
                assert sent.status_code == 409 and sent.headers["retry-after"] == "2"
                assert str(birds) not in sent.text
        finally:
            done.set()
            other.join()
        assert add(asking, {"id": "wren", "text": "x"}).json()["added"] == 1


def test_a_search_says_what_is_wrong_with_it(make) -> None:
    with client(make()) as asking:
        for body in ({}, {"text": " "}, {"k": 0, "text": "x"}, {"text": "x", "where": {"no": 1}}):
            sent = asking.post("/v1/search", json=body)
            assert sent.status_code == 400 and sent.json()["error"]["message"]
        assert asking.post("/v1/search", json={"image": data_url(picture())}).is_success


def test_why_something_was_found(make, checkpoint, tmp_path) -> None:
    from rag_vqa.pipeline import RagVqa
    from rag_vqa.retriever.modeling.encoder import Encoder
    from rag_vqa.server.engine.engine import Engine
    from rag_vqa.server.service import Service

    encoder = Encoder.load(str(checkpoint), device="cpu")
    with KnowledgeBase.create(tmp_path / "kb", encoder) as kb:
        kb.add([{"id": "a/b", "text": "a red bird", "image": picture()}])
        rag = RagVqa(kb, make().engine.rag.reader, k=1)
        with client(Service(Engine(rag))) as asking:
            body = {"text": "where does it nest", "image": data_url(picture()), "document": "a/b"}
            told = asking.post("/v1/explain", json=body).json()
            assert told["approximate"] is True and told["pairs"]
            pair = told["pairs"][0]
            assert {"query_token", "score", "query_words", "query_patches"} <= set(pair)
            assert set(pair["document_words"][0]) == {"text", "start", "end", "weight"}
            assert all(
                0 <= edge <= 1 for patch in pair["document_patches"] for edge in patch["box"]
            )
            for wrong in ({"document": "none"}, {"document": "a/b", "position": 9}):
                assert asking.post("/v1/explain", json={**body, **wrong}).status_code == 404
