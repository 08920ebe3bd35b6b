"""What the fault tests do to a knowledge base, and what must be there afterwards.

A tiny encoder whose tokens are a hash of the text, documents of numbered versions, and a check
that whatever is found is whole. It imports no torch, so that children start fast.
"""

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from rag_vqa.images import encode
from rag_vqa.retriever.index import rows as index_rows
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.store.segments import RowReader
from rag_vqa.types import Passage, Query

Versions = dict[str, int]  # id → version: what a knowledge base holds
Document = dict[str, object]
LONGER = " Word" + " word" * 59


class Encoder:
    source, revision, fingerprint, instruction = "fake", None, "f" * 64, ""
    options: Mapping[str, str | bool] = {}
    K, D, window = 4, 16, 20

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2

    def encode_passages(self, passages: Sequence[Passage]) -> np.ndarray:
        return np.array([tokens(p.text) for p in passages], np.float32).reshape(-1, self.K, self.D)

    def encode_queries(self, queries: Sequence[Query]) -> np.ndarray:
        return np.array([tokens(query.text) for query in queries], np.float32)


@cache
def tokens(text: str) -> np.ndarray:
    """(K, D) out of 64 bytes of hash; fp16 holds such numbers exactly."""
    numbers = np.frombuffer(hashlib.sha512(text.encode()).digest(), np.int8)
    return numbers.reshape(Encoder.K, Encoder.D).astype(np.float16) / 128


@cache
def picture(number: int) -> bytes:
    return encode(Image.new("RGB", (2, 2), (number, 0, 0)))


def document(number: int, version: int) -> Document:
    """Every fifth is long enough for five passages; every third has a picture."""
    made: Document = {
        "id": f"d{number}",
        "text": f"Document {number}, version {version}." + LONGER * (number % 5 == 0),
        "metadata": {"version": version, "quarter": number % 4},
    }
    return made | ({"image": picture((number + version) % 6)} if number % 3 == 0 else {})


def open_or_create(path: Path) -> KnowledgeBase:
    return KnowledgeBase.create(path, Encoder(), exist_ok=True)


def held(kb: KnowledgeBase) -> Versions:
    """What is there, after a look at every byte of it."""
    damage = kb.verify()
    assert damage == (), damage
    found: Versions = {}
    for shown in map(kb.show, [d.id for d in kb.documents()]):
        version = shown.document.metadata["version"]
        due = document(int(shown.document.id[1:]), version)
        assert shown.document.text == due["text"]
        assert len(shown.document.images) == ("image" in due)
        assert len(shown.passages) == (1 if len(due["text"]) < 60 else 5)
        assert " ".join(p.text for p in shown.passages) == due["text"]
        found[shown.document.id] = version
    with kb.store.db.snapshot():
        rows = kb.store.db.rows("SELECT key, text FROM passages ORDER BY key")
        if rows:
            stored, packed = RowReader(kb.store.db, kb.store.segments).rows(
                np.array([key for key, _ in rows])
            )
            due_tokens = np.array([tokens(text) for _, text in rows])
            assert np.array_equal(stored, due_tokens)
            assert np.array_equal(packed, index_rows.quantize(due_tokens))
    return found


def unnamed(kb: KnowledgeBase, *, pictures: bool = False) -> list[str]:
    """Files of a knowledge base that its last commit does not name."""
    named = {"kb.sqlite", "kb.sqlite-wal", "kb.sqlite-shm", "kb.sqlite-journal", "writer.lock"}
    for (number,) in kb.store.db.rows("SELECT number FROM segments"):
        named |= {f"{number:06}.tokens", f"{number:06}.codes"}
    images = {Path(str(i)).name for d in kb.documents() for i in d.images}
    files = [file for file in kb.path.rglob("*") if file.is_file()]
    return [
        file.name
        for file in files
        if file.name not in named
        and (file.parent.name != "images" or file.suffix or (pictures and file.name not in images))
    ]


class Plan:
    """An endless, seeded series of operations; each knows the states that it may leave."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._version = 0

    def steps(self) -> Iterator[tuple[str, list[Document]]]:
        while True:
            kind = self._random.choice(["add", "add", "add", "delete", "compact"])
            self._version += 1
            numbers = self._random.sample(range(120), {"add": 30, "delete": 12, "compact": 0}[kind])
            yield kind, [document(number, self._version) for number in numbers]


def do(
    kb: KnowledgeBase, kind: str, documents: list[Document], told: Callable[[int], None]
) -> None:
    if kind == "add":
        kb.add(documents, batch_size=8, on_progress=told)
    elif kind == "delete":
        kb.delete([str(d["id"]) for d in documents])
    else:
        kb.compact()


def after(state: Versions, kind: str, documents: list[Document], done: int) -> list[Versions]:
    """What may exist once `done` added documents were reported as safe: they, and maybe more."""
    if kind == "compact":
        return [state]
    ids = {d["id"] for d in documents}
    if kind == "delete":
        return [state, {name: v for name, v in state.items() if name not in ids}]
    new = [(str(d["id"]), d["metadata"]["version"]) for d in documents]  # type: ignore[index]
    return [state | dict(new[:size]) for size in range(done, len(new) + 1)]
