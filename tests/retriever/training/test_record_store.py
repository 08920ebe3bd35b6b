import pickle
from pathlib import Path

import numpy as np
import pytest

from rag_vqa.errors import BadInput, RagVqaError
from rag_vqa.retriever.training.record_store import RecordStore, write_records
from rag_vqa.retriever.training.training_pairs import id_number

RECORDS = [{"id": name, "text": f"Ü {name}"} for name in ("b", "a", "Zürich", "")]


def test_what_was_written_is_found_by_place_and_by_id(tmp_path: Path) -> None:
    write_records(tmp_path / "records.jsonl", iter(RECORDS))
    shelf = pickle.loads(pickle.dumps(RecordStore(tmp_path / "records.jsonl")))  # noqa: S301  our own
    assert [shelf.read_at(place) for place in range(len(shelf))] == RECORDS
    assert [shelf.find(record["id"]) for record in RECORDS] == RECORDS
    assert shelf.find("c") is None
    numbers = np.array([id_number("a"), id_number("c")], np.int64)
    assert shelf.contains(numbers).tolist() == [True, False]


def test_one_record_twice_is_one_and_two_of_one_id_are_refused(tmp_path: Path) -> None:
    shelf = write_records(tmp_path / "records.jsonl", [*RECORDS, RECORDS[0]])
    assert shelf.find("b") == RECORDS[0]
    with pytest.raises(BadInput, match="two different records have the id 'a'"):
        write_records(tmp_path / "others.jsonl", [*RECORDS, {"id": "a", "text": "another"}])


def test_nothing_is_in_an_empty_one(tmp_path: Path) -> None:
    shelf = write_records(tmp_path / "records.jsonl", [])
    assert len(shelf) == 0
    assert shelf.find("a") is None
    assert not shelf.contains(np.array([1], np.int64)).any()


@pytest.mark.parametrize("left", [0, 1, -1])
@pytest.mark.parametrize("name", ["records.jsonl", "records.ends.npy", "records.numbers.npy"])
def test_a_cut_file_is_told(tmp_path: Path, name: str, left: int) -> None:
    write_records(tmp_path / "records.jsonl", RECORDS)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:left])
    with pytest.raises(RagVqaError, match=r"records\.jsonl is damaged"):
        RecordStore(tmp_path / "records.jsonl")
