"""A packed folder: the same bytes after a kill, and none too many."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pair_files import birds

from rag_vqa.errors import RagVqaError
from rag_vqa.retriever.training.source_packing import SCRATCH_PREFIX, pack_source
from rag_vqa.retriever.training.training_settings import SourceSettings
from rag_vqa.storage.lock import hold_lock

# Dies where the given table is written whole, and is not yet known to be.
KILLED = """
import os, signal, sys
from pathlib import Path
from rag_vqa.retriever.training.source_packing import pack_source
from rag_vqa.retriever.training.training_settings import SourceSettings
left = [int(sys.argv[1])]
def fsync(file):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = fsync
pack_source(SourceSettings.model_validate_json(sys.argv[2]), Path(sys.argv[3]))
"""


def source(folder: Path) -> SourceSettings:
    return SourceSettings(
        format="pairs",
        questions=folder / "pairs.jsonl",
        documents=folder / "documents.jsonl",
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"writer.lock"}


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("tables", [1, 2], ids=["documents", "rows"])
def test_killed_in_the_middle_it_is_packed_to_the_same_bytes(tmp_path: Path, tables: int) -> None:
    birds(tmp_path)
    out, said = tmp_path / "out", source(tmp_path)
    command = [sys.executable, "-c", KILLED, str(tables), said.model_dump_json(), str(out)]
    killed = subprocess.run(command, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (left,) = names(out)
    assert left.startswith(SCRATCH_PREFIX)
    packed = pack_source(said, out)
    assert names(out) == {packed.name}
    assert held(packed) == held(pack_source(said, tmp_path / "straight"))


def test_a_file_that_changed_leaves_no_old_folder_and_touches_no_other(tmp_path: Path) -> None:
    path = birds(tmp_path)
    birds(tmp_path / "others")
    out = tmp_path / "out"
    (out / "notes").mkdir(parents=True)
    old, other = pack_source(source(tmp_path), out), pack_source(source(tmp_path / "others"), out)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:5]))
    new = pack_source(source(tmp_path), out)
    assert new != old and names(out) == {new.name, other.name, "notes"}
    assert pack_source(source(tmp_path), out) == new


def test_one_process_packs_at_a_time(tmp_path: Path) -> None:
    birds(tmp_path)
    (tmp_path / "out").mkdir()
    with (
        hold_lock(tmp_path / "out"),
        pytest.raises(RagVqaError, match="Another process is writing"),
    ):
        pack_source(source(tmp_path), tmp_path / "out")
