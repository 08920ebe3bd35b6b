"""Names, extras, and which engine suits what."""

import importlib.util

import pytest

from rag_vqa.errors import Missing, UsageError
from rag_vqa.retriever import index as engines
from rag_vqa.retriever.index import make_index, suggest_engine


def test_an_unknown_engine_is_named_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'exakt'\. Did you mean 'exact'\? Known: exact, faiss, "):
        make_index("exakt")
    with pytest.raises(UsageError, match="nprobe"):
        make_index("exact", nprobe=3)


@pytest.mark.parametrize(
    ("engine", "extra"), [("faiss", "[cpu]"), ("triton", "[triton]"), ("qdrant", "[qdrant]")]
)
def test_a_missing_extra_is_named(monkeypatch, engine: str, extra: str) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(Missing) as caught:
        make_index(engine)
    assert f"rag-vqa{extra}" in str(caught.value)


def choose(
    monkeypatch, rows: int, free: int | None, installed: tuple[str, ...]
) -> engines.EngineChoice:
    monkeypatch.setattr(engines, "_free_gpu_memory", lambda device: free)
    real = importlib.util.find_spec("numpy")
    monkeypatch.setattr(engines, "find_spec", lambda name: real if name in installed else None)
    return suggest_engine(rows, 32, 128)


def test_auto_takes_a_gpu_that_has_room(monkeypatch) -> None:
    both = ("faiss", "triton")
    # 32 · 128 · 2 bytes a row: a million takes 8.2 GB.
    assert choose(monkeypatch, 10**6, 80 * 10**9, both).engine == "triton"
    assert choose(monkeypatch, 10**6, 9 * 10**9, both).engine == "faiss"
    assert choose(monkeypatch, 10**4, 80 * 10**9, ("faiss",)).engine == "exact"
    assert suggest_engine(10**4, 32, 128, "cpu").engine == "exact"


def test_auto_says_why_and_what_would_be_quicker(monkeypatch) -> None:
    assert choose(monkeypatch, 10**5, None, ("faiss",)).engine == "exact"
    many = choose(monkeypatch, 10**5 + 1, None, ("faiss",))
    assert many.engine == "faiss" and "100,001" in many.reason
    without = choose(monkeypatch, 10**6, None, ())
    assert without.engine == "exact" and "pip install 'rag-vqa[cpu]'" in without.reason


def test_triton_without_a_card_names_what_to_take(monkeypatch) -> None:
    pytest.importorskip("triton")
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="--index exact"):
        make_index("triton")
