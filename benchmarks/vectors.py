"""Vectors that the index benchmark searches: the demo retriever's, and invented ones.

It knows three sources: documents of invented countries encoded by the bundled retriever, their
expansion by a perturbation, and a synthetic set of several aspects a document. All are seeded. It
does not know engines or clocks.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rag_vqa.demo.countries import Country, invent_countries
from rag_vqa.demo.questions import questions
from rag_vqa.demo.texts import documents
from rag_vqa.retriever.encoder import Encoder
from rag_vqa.retriever.passages import split
from rag_vqa.types import Passage, Query

Half = NDArray[np.float16]
GROUP = 12  # countries encoded at once: the sections of one share its picture


@dataclass(frozen=True)
class Vectors:
    """Tokens (N, K, D) and queries (Q, K, D) of one source."""

    name: str
    tokens: Half
    queries: Half


def real(documents: int, queries: int, cache: Path, seed: int = 0) -> Vectors:
    """The demo retriever's tokens of invented documents, made once and kept under `cache`."""
    encoder = Encoder.load("demo", device="cpu", batch_size=64)
    stem = f"real-{documents}-{queries}-{seed}-{encoder.fingerprint[:12]}"
    files = cache / f"{stem}-tokens.npy", cache / f"{stem}-queries.npy"
    if not all(file.exists() for file in files):
        cache.mkdir(parents=True, exist_ok=True)
        for file, rows in zip(files, _encode(encoder, documents, queries, seed), strict=True):
            np.save(file, rows, allow_pickle=False)
    tokens, asked = (np.load(file, mmap_mode="r", allow_pickle=False) for file in files)
    return Vectors("demo retriever", tokens, np.asarray(asked))


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
        for passage in split(document, encoder.count_tokens, encoder.window)
    ]


def _query(country: Country, rng: np.random.Generator) -> Query:
    every = questions(country.entity, rng)
    asked = every[int(rng.integers(len(every)))]
    return Query(asked.text, Image.fromarray(country.photo(rng)))
