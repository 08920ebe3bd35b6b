"""Runs PLAID, ColBERT's own engine, on our tokens; index.py starts it with ColBERT's own Python.

Builds an index of the tokens in a file, then answers queries by number: a line in, a line of JSON
out. Imports nothing from this repository, because ColBERT pins other versions of everything.
(PLAID: Santhanam et al. 2022. Its searcher compiles C++ at its first start.)

    python benchmarks/plaid.py TOKENS N QUERIES FOLDER
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from colbert.indexing.collection_indexer import CollectionIndexer
from colbert.indexing.index_saver import IndexSaver
from colbert.infra import ColBERTConfig
from colbert.modeling.colbert import ColBERT
from colbert.search.index_storage import IndexScorer

K, D = 32, 128
BITS, CELLS, THRESHOLD, NDOCS = 8, 4, 0.4, 4096  # as the ReT release sets them


class KnownTokens:
    """Replaces ColBERT's encoder: a passage is a row number, and its tokens are known."""

    def __init__(self, tokens: Any) -> None:
        self.tokens = tokens

    def encode_passages(self, passages: list[int]) -> tuple[torch.Tensor, list[int]]:
        rows = np.asarray(self.tokens[np.asarray(passages)], np.float32)
        return torch.from_numpy(rows).view(-1, D), [K] * len(passages)


class RowNumbers:
    """Replaces ColBERT's collection: each passage is its own number."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def get_chunksize(self) -> int:
        return 25_000

    def enumerate(self, rank: int) -> Any:
        return ((number, number) for number in range(self.count))

    def enumerate_batches(self, rank: int) -> Any:
        for chunk, start in enumerate(range(0, self.count, self.get_chunksize())):
            yield chunk, start, list(range(start, min(start + self.get_chunksize(), self.count)))


def build(tokens: Any, config: ColBERTConfig) -> None:
    """ColBERT's own indexing, with embeddings from elsewhere."""
    indexer = CollectionIndexer.__new__(CollectionIndexer)
    indexer.verbose, indexer.config = 0, config
    indexer.rank, indexer.nranks, indexer.use_gpu = 0, 1, False
    indexer.collection, indexer.encoder = RowNumbers(len(tokens)), KnownTokens(tokens)
    indexer.saver = IndexSaver(config)
    indexer.run([[]])


def main() -> None:
    tokens_file, count, queries_file, folder = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")  # ColBERT and its C++ code print to stdout
    os.dup2(2, 1)
    torch.set_num_threads(1)
    tokens = np.memmap(tokens_file, np.float16, "r", shape=(int(count), K, D))
    queries = torch.from_numpy(np.load(queries_file, allow_pickle=False).astype(np.float32))
    config = ColBERTConfig(
        root=folder, experiment="plaid", index_name="index", nbits=BITS, kmeans_niters=4, dim=D,
        query_maxlen=K, doc_maxlen=K, ncells=CELLS, centroid_score_threshold=THRESHOLD,
        ndocs=NDOCS, rank=0, nranks=1, gpus=0,
    )  # fmt: skip
    Path(config.index_path_).mkdir(parents=True)
    start = time.perf_counter()
    build(tokens, config)
    built = time.perf_counter() - start
    scorer = IndexScorer(config.index_path_, use_gpu=False)
    ColBERT.try_load_torch_extensions(
        use_gpu=False
    )  # ColBERT's model would do this; there is none here
    print(json.dumps({"built": built, "torch": torch.__version__}), file=answers, flush=True)
    for line in sys.stdin:
        number, k = map(int, line.split())
        start = time.perf_counter()
        found, _ = scorer.rank(config, queries[number][None])
        ms = (time.perf_counter() - start) * 1e3
        print(json.dumps({"ms": ms, "found": found[:k]}), file=answers, flush=True)


if __name__ == "__main__":
    main()
