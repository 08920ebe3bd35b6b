"""Makes the vectors that the index benchmark searches: the demo retriever's, and synthetic ones.

Knows three sources: documents of invented countries encoded by the bundled retriever, noisy copies
of these, and a synthetic set of several aspects a document. All are seeded. Does not know engines
or clocks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rag_vqa.demo.questions import questions
from rag_vqa.demo.training.invented_countries import Country, invent_countries
from rag_vqa.demo.world.texts import documents
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.retriever.passages import split_document
from rag_vqa.types import Passage, Query

Half = NDArray[np.float16]
K, D, ASPECTS = 32, 128, 4  # of the synthetic set
BLOCK = 2**15
SPREAD = 0.5
GROUP = 12  # countries encoded at once: the sections of one share its picture


@dataclass(frozen=True)
class Vectors:
    """Tokens (N, K, D) and queries (Q, K, D)."""

    tokens: Half
    queries: Half


def demo_vectors(documents: int, queries: int, cache: Path, seed: int = 0) -> Vectors:
    """The demo retriever's tokens of invented documents, cached in the folder `cache`."""
    encoder = Encoder.load("demo", device="cpu", batch_size=64)
    stem = f"real-{documents}-{queries}-{seed}-{encoder.fingerprint[:12]}"
    files = cache / f"{stem}-tokens.npy", cache / f"{stem}-queries.npy"
    if not all(file.exists() for file in files):
        cache.mkdir(parents=True, exist_ok=True)
        for file, rows in zip(files, _encode(encoder, documents, queries, seed), strict=True):
            np.save(file, rows, allow_pickle=False)
    tokens, asked = (np.load(file, mmap_mode="r", allow_pickle=False) for file in files)
    return Vectors(tokens, np.asarray(asked))


def _encode(encoder: Encoder, wanted: int, queries: int, seed: int) -> tuple[Half, Half]:
    rng = np.random.default_rng(seed)
    tokens: list[Half] = []
    asked: list[Query] = []
    while sum(map(len, tokens)) < wanted:
        countries = invent_countries(rng, GROUP, kin=2)
        batch = [passage for country in countries for passage in _passages(encoder, country, rng)]
        tokens.append(encoder.encode_passages(batch).astype(np.float16))
        asked += [_query(country, rng) for country in countries]
    chosen = rng.permutation(len(asked))[:queries]
    encoded = encoder.encode_queries([asked[i] for i in chosen]).astype(np.float16)
    return np.concatenate(tokens)[:wanted], encoded


def _passages(encoder: Encoder, country: Country, rng: np.random.Generator) -> list[Passage]:
    image = Image.fromarray(country.drawing(rng))
    return [
        passage
        for document in documents(country.entity, image, rng)
        for passage in split_document(document, encoder.count_tokens, encoder.window)
    ]


def _query(country: Country, rng: np.random.Generator) -> Query:
    every = questions(country.entity, rng)
    asked = every[int(rng.integers(len(every)))]
    return Query(asked.text, Image.fromarray(country.photo(rng)))


def expand_vectors(vectors: Vectors, documents: int, seed: int = 1) -> Iterator[Half]:
    """Yields blocks of tokens: the vectors themselves, then noisy copies, `documents` in all.

    A copy of a document takes each of its tokens, adds Gaussian noise of SPREAD times the standard
    deviation that tokens of the same place have over all documents, and is brought to unit length.
    """
    rng = np.random.default_rng(seed)
    rows = vectors.tokens
    # Memory stays that of a block whatever the number of documents.
    deviation = np.asarray(rows[:: max(1, len(rows) // 2000)], np.float32).std(axis=0)
    for start in range(0, documents, BLOCK):
        places = np.arange(start, min(start + BLOCK, documents))
        block = np.asarray(rows[places % len(rows)], np.float32)
        noise = rng.standard_normal(block.shape, np.float32)
        block += noise * (SPREAD * deviation) * (places >= len(rows))[:, None, None]
        yield (block / np.linalg.norm(block, axis=-1, keepdims=True)).astype(np.float16)


def aspect_vectors(documents: int, queries: int, seed: int = 7) -> tuple[Iterator[Half], Half]:
    """Synthetic documents of four meanings each, eight tokens a meaning, and their queries.

    A query is about one or two meanings of a document. A meaning is one of documents / 4 topics. A
    topic lies near one of 64 areas, so that documents may resemble a query by the areas of their
    other meanings. Nothing was tuned on this.
    """
    rng = np.random.default_rng(seed)
    areas = _unit(rng.standard_normal((64, D), np.float32))
    own = _unit(rng.standard_normal((max(1, documents // 4), D), np.float32))
    topics = _unit(0.8 * areas[rng.integers(len(areas), size=len(own))] + 0.6 * own)
    places = _unit(rng.standard_normal((K, D), np.float32))  # what all tokens of one place share
    chosen = rng.integers(len(topics), size=(documents, ASPECTS))

    def near(meanings: NDArray[np.float32]) -> Half:
        noise = rng.standard_normal(meanings.shape, np.float32) / np.float32(np.sqrt(D))
        return _unit(meanings + 0.7 * places + 0.8 * noise).astype(np.float16)

    asked = np.empty((queries, K, D), np.float16)
    for row, document in enumerate(rng.integers(documents, size=queries)):
        wanted = rng.choice(ASPECTS, size=int(rng.integers(1, 3)), replace=False)
        about = topics[chosen[document, rng.choice(wanted, size=K)]]
        asked[row] = near(about)

    def blocks() -> Iterator[Half]:
        for start in range(0, documents, BLOCK):
            yield near(topics[chosen[start : start + BLOCK]].repeat(K // ASPECTS, axis=1))

    return blocks(), asked


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return found
