"""Batches are the same whatever the number of processes, ranks, or the step of a restart."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from pair_files import birds
from torch import Tensor

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.retriever.modeling.configuration import RetrieverConfig
from rag_vqa.retriever.modeling.processor import RetProcessor
from rag_vqa.retriever.training.batch_loader import load_batches
from rag_vqa.retriever.training.source_mixture import Mixture, open_mixture
from rag_vqa.retriever.training.training_pairs import Batch
from rag_vqa.retriever.training.training_settings import OnBad, SourceSettings


@pytest.fixture
def processor(checkpoint: Path) -> RetProcessor:
    return RetProcessor.load(checkpoint, RetrieverConfig.from_pretrained(checkpoint).query)


def mixture(folder: Path, on_bad: OnBad = "stop", rows: int = 12) -> Mixture:
    said = SourceSettings(
        format="pairs",
        questions=birds(folder, rows),
        documents=folder / "documents.jsonl",
        hard=1,
        on_bad=on_bad,
    )
    return open_mixture([said], folder=folder / "packed")


def same(one: Batch, other: Batch) -> bool:
    def tensors(batch: Batch) -> Mapping[str, Tensor]:
        query = {f"query.{name}": value for name, value in batch.query.items()}
        passage = {f"passage.{name}": value for name, value in batch.passage.items()}
        more = {"ids": batch.passage_ids, "right": batch.positives}
        return {**query, **passage, **more}

    a, b = tensors(one), tensors(other)
    return (
        one.names == other.names
        and a.keys() == b.keys()
        and all(a[name].equal(b[name]) for name in a)
    )


def test_workers_and_a_restart_change_nothing(tmp_path: Path, processor: RetProcessor) -> None:
    mixed = mixture(tmp_path)
    before = torch.random.get_rng_state()
    straight = list(load_batches(mixed, processor, seed=1, first_step=0, steps=7, batch=4))
    assert len(straight) == 7
    resumed = list(
        load_batches(mixed, processor, seed=1, first_step=5, steps=7, batch=4, workers=2)
    )
    assert all(same(*both) for both in zip(straight[5:], resumed, strict=True))
    assert torch.random.get_rng_state().equal(before)  # dropout's numbers are not touched
    other = next(load_batches(mixed, processor, seed=2, first_step=0, steps=7, batch=4))
    assert not same(straight[0], other)


@pytest.mark.slow
def test_any_number_of_workers_changes_nothing(tmp_path: Path, processor: RetProcessor) -> None:
    mixed = mixture(tmp_path)
    made = [
        list(
            load_batches(mixed, processor, seed=1, first_step=2, steps=9, batch=4, workers=workers)
        )
        for workers in (0, 1, 2, 3)
    ]
    for others in made[1:]:
        assert all(same(*both) for both in zip(made[0], others, strict=True))


def test_ranks_join_to_the_batch_of_one_process(tmp_path: Path, processor: RetProcessor) -> None:
    mixed = mixture(tmp_path)

    def made(rank: int, world: int) -> list[Batch]:
        return list(
            load_batches(
                mixed, processor, seed=1, first_step=0, steps=3, batch=6, rank=rank, world=world
            )
        )

    for whole, first, second in zip(made(0, 1), made(0, 2), made(1, 2), strict=True):
        assert first.names + second.names == whole.names
        assert torch.cat([first.positives, second.positives]).equal(whole.positives)
        own = [batch.passage_ids[: len(batch.names)] for batch in (first, second)]
        hard = [batch.passage_ids[len(batch.names) :] for batch in (first, second)]
        assert torch.cat([*own, *hard]).equal(whole.passage_ids)
    with pytest.raises(UsageError, match="5 does not split evenly over 2"):
        next(
            load_batches(mixed, processor, seed=1, first_step=0, steps=3, batch=5, rank=0, world=2)
        )


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_picture_that_went_bad_stops_with_the_row_s_name(
    tmp_path: Path, processor: RetProcessor, workers: int
) -> None:
    mixed = mixture(tmp_path)
    (tmp_path / "3.png").write_bytes(b"<html>")
    with pytest.raises(BadInput, match=r"^pairs\.jsonl:q\d+: .*3\.png") as error:
        list(
            load_batches(mixed, processor, seed=1, first_step=0, steps=9, batch=4, workers=workers)
        )
    assert "Traceback" not in str(error.value)


def test_or_is_left_out_and_the_next_good_row_stands_in(
    tmp_path: Path, processor: RetProcessor
) -> None:
    mixed = mixture(tmp_path, on_bad="skip")
    drawn = [pair for step in range(10) for pair in mixed.share(1, step, 4)]
    bad = str(tmp_path / "3.png")

    def good(place: int) -> bool:
        pair = drawn[place]
        items = (pair.query, pair.passage, *pair.negatives)
        return bad not in {item.image for item in items}

    expected = [
        next(drawn[at].name for at in range(place, len(drawn)) if good(at)) for place in range(24)
    ]
    (tmp_path / "3.png").write_bytes(b"<html>")
    made = list(load_batches(mixed, processor, seed=1, first_step=0, steps=6, batch=4))
    assert [name for batch in made for name in batch.names] == expected
    reasons = [reason for batch in made for reason in batch.skipped]
    assert len(reasons) >= sum(not good(place) for place in range(24)) > 0
    assert all("3.png" in reason for reason in reasons)


def test_where_all_are_bad_it_ends(tmp_path: Path, processor: RetProcessor) -> None:
    mixed = mixture(tmp_path, on_bad="skip")
    for path in tmp_path.glob("*.png"):
        path.write_bytes(b"<html>")
    with pytest.raises(BadInput, match="20 rows in a row cannot be used"):
        next(load_batches(mixed, processor, seed=1, first_step=0, steps=6, batch=4))
