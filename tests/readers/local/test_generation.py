"""Batches of a local reader: lengths, out-of-memory errors, several threads."""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from reader_prompts import PROMPTS

from rag_vqa.errors import ReaderError
from rag_vqa.readers.local.reader import LocalReader
from rag_vqa.types import Prompt, TextPart


def test_small_batches_give_the_same(reader: LocalReader, monkeypatch: Any) -> None:
    together = reader.generate(PROMPTS)
    monkeypatch.setattr(reader.batcher, "size", 2)
    heard: dict[int, str] = defaultdict(str)

    def on_text(row: int, piece: str) -> None:
        heard[row] += piece

    assert reader.generate(PROMPTS, on_text) == together
    assert [heard[row] for row in range(3)] == [completion.text for completion in together]
    assert reader.generate([]) == []


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_out_of_memory_names_the_flags(
    reader: LocalReader, monkeypatch: Any, error: Exception
) -> None:
    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(reader.model, "generate", fail)
    for call in (reader.generate, lambda prompts: reader.choice_probability(prompts, ["a", "b"])):
        with pytest.raises(ReaderError, match=r"memory.*--max-pixels.*--quantization nf4"):
            call(PROMPTS)


def test_out_of_memory_names_only_flags_that_help(llava_folder: Path, monkeypatch: Any) -> None:
    least = {"quantization": "nf4", "max_pixels": 501760, "max_images": 1, "batch_size": 1}
    for given, more in [
        ({}, []),
        ({"batch_size": 2}, ["batch_size=1 (in Python)"]),
        ({"max_pixels": None}, ["--max-pixels 501760"]),
        ({"max_images": 2}, ["--max-images 1"]),
        ({"quantization": "none"}, ["--quantization nf4"]),
    ]:
        reader = LocalReader(llava_folder, device="cpu", **{**least, **given})  # type: ignore[arg-type]
        monkeypatch.setattr(reader.model, "generate", Scarce(reader.model, most=0))
        with pytest.raises(ReaderError) as caught:
            reader.generate([Prompt((TextPart("?"),))])
        assert str(caught.value).split("one or more of ")[1].split(", ") == ["a lower -k", *more]


class Scarce:
    """`generate` of a model with memory for `most` rows."""

    def __init__(self, model: Any, most: int, speaks: bool = False) -> None:
        self.generate = model.generate
        self.most, self.speaks = most, speaks
        self.sizes: list[int] = []

    def __call__(self, **given: Any) -> Any:
        self.sizes.append(len(given["input_ids"]))
        if self.sizes[-1] <= self.most:
            return self.generate(**given)
        if self.speaks:
            new = torch.full((self.sizes[-1], 1), 70)
            given["stopping_criteria"](torch.cat([given["input_ids"], new], dim=1), None)
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_out_of_memory_halves_the_batch_once(
    llava_folder: Path, monkeypatch: Any, caplog: Any
) -> None:
    reader = LocalReader(llava_folder, device="cpu", max_new_tokens=8, max_images=2)
    whole = reader.generate([*PROMPTS, *PROMPTS])
    scarce = Scarce(reader.model, most=3)
    monkeypatch.setattr(reader.model, "generate", scarce)
    assert reader.generate([*PROMPTS, *PROMPTS]) == whole
    assert reader.generate(PROMPTS) == whole[:3]
    assert scarce.sizes == [6, 3, 3, 3]
    assert [record.getMessage() for record in caplog.records] == [
        "Out of memory with 6 prompts: read 3 at once"
    ]
    scarce.most = 2
    with pytest.raises(ReaderError, match="out of memory while reading"):
        reader.generate(PROMPTS)


def test_streamed_pieces_are_not_streamed_again(llava_folder: Path, monkeypatch: Any) -> None:
    reader = LocalReader(llava_folder, device="cpu", max_new_tokens=8, max_images=2)
    heard: list[tuple[int, str]] = []
    scarce = Scarce(reader.model, most=2, speaks=True)
    monkeypatch.setattr(reader.model, "generate", scarce)
    with pytest.raises(ReaderError, match="out of memory while reading"):
        reader.generate(PROMPTS, lambda row, piece: heard.append((row, piece)))
    assert sorted(row for row, _ in heard) == [0, 1, 2]
    assert scarce.sizes == [3]


def test_batches_have_similar_lengths_and_results_keep_the_order(
    llava_folder: Path, monkeypatch: Any
) -> None:
    reader = LocalReader(llava_folder, device="cpu", max_new_tokens=4, batch_size=2)
    prompts = [Prompt((TextPart("word " * n),)) for n in (30, 1, 31, 2, 9)]
    shapes: list[tuple[int, ...]] = []
    generate = reader.model.generate

    def watched(**given: Any) -> Any:
        shapes.append(tuple(given["input_ids"].shape))
        return generate(**given)

    monkeypatch.setattr(reader.model, "generate", watched)
    heard: dict[int, str] = defaultdict(str)

    def on_text(row: int, piece: str) -> None:
        heard[row] += piece

    completions = reader.generate(prompts, on_text)
    counts = [reader.count(prompt) for prompt in prompts]
    assert [completion.tokens_in for completion in completions] == counts
    assert [completion.text for completion in completions] == [heard[n] for n in range(5)]
    assert shapes == [(2, counts[3]), (2, counts[0]), (1, counts[2])]


def test_other_errors_are_not_taken_for_out_of_memory(
    reader: LocalReader, monkeypatch: Any
) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(reader.model, "generate", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        reader.generate(PROMPTS)


def test_a_parallel_call_gets_its_own_modules_over_the_same_weights(
    reader: LocalReader,
) -> None:
    alone = reader.generate(PROMPTS)
    with reader.pool.acquire() as first:
        assert first is reader.model
        assert reader.generate(PROMPTS) == alone
        with reader.pool.acquire() as second:
            modules = {id(part) for part in first.modules()}
            assert not any(id(part) in modules for part in second.modules())
            ours = [tensor.data_ptr() for tensor in (*first.parameters(), *first.buffers())]
            assert ours == [t.data_ptr() for t in (*second.parameters(), *second.buffers())]
    assert len(reader.pool.idle) == 2  # the next ones are lent what there is
    with reader.pool.acquire() as again:
        assert again is reader.model


def test_parallel_threads_give_the_same_answers(reader: LocalReader) -> None:
    alone = [reader.generate([prompt])[0] for prompt in PROMPTS]
    cores = torch.get_num_threads()
    with ThreadPoolExecutor(3) as pool:
        batches = [PROMPTS[n % 3 : n % 3 + 1] for n in range(12)]
        found = list(pool.map(reader.generate, batches))
        counted = list(pool.map(reader.count, PROMPTS * 4))
    assert [completions[0] for completions in found] == alone * 4
    assert counted == [reader.count(prompt) for prompt in PROMPTS] * 4
    assert torch.get_num_threads() == cores  # this thread's are its own
