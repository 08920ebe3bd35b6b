"""States: two are kept, damage falls back, and a crash at any file operation loses nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rag_vqa.errors import RagVqaError
from rag_vqa.retriever.training.training_state import (
    TrainingState,
    completed_steps,
    load_newest_state,
    save_state,
)
from rag_vqa.storage import atomic


def saved(step: int) -> TrainingState:
    return TrainingState(
        step, {"model.a": torch.full((3,), float(step))}, {"best": {"recall@1": 0.1}}
    )


def test_the_two_newest_are_kept_and_come_back_whole(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        save_state(tmp_path, saved(step))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["step-000000010.safetensors", "step-000000015.safetensors"]
    found = load_newest_state(tmp_path, pytest.fail)
    assert found is not None and found.step == completed_steps(tmp_path) == 15
    assert found.record == {"best": {"recall@1": 0.1}}
    assert torch.equal(found.tensors["model.a"], torch.full((3,), 15.0))


def test_none_is_none(tmp_path: Path) -> None:
    assert (
        load_newest_state(tmp_path / "nowhere", pytest.fail) is None
        and completed_steps(tmp_path) == 0
    )


@pytest.mark.parametrize("left", [0, 1, 7, 8, 60, -1])
def test_a_cut_file_falls_back_to_the_one_before_with_a_line(tmp_path: Path, left: int) -> None:
    save_state(tmp_path, saved(5))
    save_state(tmp_path, saved(10))
    path = tmp_path / "step-000000010.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    notes: list[str] = []
    found = load_newest_state(tmp_path, notes.append)
    assert found is not None and found.step == 5
    assert len(notes) == 1 and str(path) in notes[0] and "damaged" in notes[0]


@pytest.mark.parametrize("at", [-1, -9, 0.5])
def test_a_flipped_bit_falls_back_too(tmp_path: Path, at: float) -> None:
    save_state(tmp_path, saved(5))
    save_state(tmp_path, saved(10))
    path = tmp_path / "step-000000010.safetensors"
    written = bytearray(path.read_bytes())
    written[int(at) if at < 0 else int(at * len(written))] ^= 1
    path.write_bytes(written)
    notes: list[str] = []
    found = load_newest_state(tmp_path, notes.append)
    assert found is not None and found.step == 5
    assert len(notes) == 1 and str(path) in notes[0] and "damaged" in notes[0]


def test_where_none_is_whole_it_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    save_state(tmp_path, saved(5))
    (tmp_path / "step-000000005.safetensors").write_bytes(b"\0" * 500)
    with pytest.raises(RagVqaError, match=r"all states .* are damaged"):
        load_newest_state(tmp_path, lambda message: None)


@pytest.mark.parametrize("at", range(1, 7))
@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_file_operation_leaves_the_old_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, after: bool
) -> None:
    save_state(tmp_path, saved(5))
    save_state(tmp_path, saved(10))
    calls = 0

    class Crash(BaseException):
        pass

    def crashing(name: str) -> None:
        real = getattr(atomic, name)

        def call(*args: Any, **options: Any) -> None:
            nonlocal calls
            calls += 1
            own = calls  # a replacement syncs its folder, too
            if own == at and not after:
                raise Crash
            real(*args, **options)
            if own == at:
                raise Crash

        monkeypatch.setattr(atomic, name, call)

    for name in ("make_folder", "sync_file", "replace_file", "sync_folder", "remove_file"):
        crashing(name)
    with pytest.raises(Crash):
        save_state(tmp_path, saved(15))
    found = load_newest_state(tmp_path, pytest.fail)
    assert found is not None and found.step in (10, 15)
    assert torch.equal(found.tensors["model.a"], torch.full((3,), float(found.step)))
