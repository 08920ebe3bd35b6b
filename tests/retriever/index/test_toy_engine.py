"""An index engine is one file and one entry: this file adds one, and the command line uses it."""

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from rag_vqa.cli.app import run
from rag_vqa.errors import UsageError
from rag_vqa.retriever.index import ENGINES, NO_KEY, Codes, Engine, Keys, Scores, Tokens, make_index
from rag_vqa.retriever.index.rows import dequantize


class ToyIndex:
    """Every score by one einsum, over a dictionary of rows."""

    searches = 0

    def __init__(self) -> None:
        self.rows: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, tokens: Tokens | None, keys: Keys, codes: Codes | None = None) -> None:
        if tokens is None:
            assert codes is not None
            tokens = dequantize(codes)
        self.rows.update(zip(keys.tolist(), np.asarray(tokens), strict=True))

    def delete(self, keys: Keys) -> None:
        for key in keys.tolist():
            self.rows.pop(key, None)

    def search(self, queries: Tokens, k: int, among: Keys | None = None) -> tuple[Keys, Scores]:
        ToyIndex.searches += 1
        chosen = sorted(self.rows if among is None else self.rows.keys() & set(among.tolist()))
        keys = np.full((len(queries), k), NO_KEY, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        if chosen:
            rows = np.stack([self.rows[key] for key in chosen]).astype(np.float32)
            every = np.einsum("qid,njd->qnij", queries, rows).max(-1).sum(-1)
            order = np.argsort(-every, axis=1, kind="stable")[:, :k]
            keys[:, : order.shape[1]] = np.array(chosen)[order]
            scores[:, : order.shape[1]] = np.take_along_axis(every, order, 1)
        return keys, scores

    def save(self, path: Path) -> None:
        np.savez(path, keys=list(self.rows), tokens=np.stack(list(self.rows.values())))

    @classmethod
    def open(cls, path: Path) -> Self:
        index, saved = cls(), np.load(path)
        index.add(saved["tokens"], saved["keys"])
        return index


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    with ENGINES.temporary_entry(Engine("toy", ToyIndex)):
        ToyIndex.searches = 0
        yield


def test_a_knowledge_base_is_built_and_searched_with_it(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    texts = ["a red bird", "where does it nest", "find a nest"]
    lines = [json.dumps({"id": f"d{n}", "text": text}) for n, text in enumerate(texts)]
    (tmp_path / "birds.jsonl").write_text("\n".join(lines))
    kb = str(tmp_path / "birds.kb")
    models = ["--retriever", str(checkpoint), "--device", "cpu"]
    assert run(["kb", "build", str(tmp_path / "birds.jsonl"), "--out", kb, *models]) == 0

    def search(engine: str) -> list[tuple[str, float]]:
        capsys.readouterr()
        assert run(["search", kb, "red bird", "--index", engine, "--json"]) == 0
        hits = json.loads(capsys.readouterr().out)
        return [(hit["id"], round(hit["score"], 4)) for hit in hits]

    assert search("toy") == search("exact") and ToyIndex.searches == 1
    assert run(["search", kb, "red bird", "--index", "tyo"]) == 2
    assert "Did you mean 'toy'? Known: exact, faiss, " in capsys.readouterr().err
    assert run(["search", kb, "red bird", "--index", "qdrant"]) == 2
    assert "make_index('qdrant', …)" in capsys.readouterr().err


def test_its_entry_is_found_and_a_second_one_refused() -> None:
    assert isinstance(make_index("toy"), ToyIndex)
    with pytest.raises(UsageError, match="no_such_option"):
        make_index("toy", no_such_option=1)
    with pytest.raises(UsageError, match="two index engines called 'toy'"):
        ENGINES.register(Engine("toy", ToyIndex))
