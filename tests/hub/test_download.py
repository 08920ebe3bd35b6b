"""A cut download goes on where it stopped; whatever goes wrong is one line with its cause."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any

import huggingface_hub
import pytest
from model_hub import Fault, Hub, running, use_hub, write_model

from rag_vqa.errors import Locked, Missing, RagVqaError
from rag_vqa.hub import download as downloads
from rag_vqa.hub.download import download_files, missing_bytes
from rag_vqa.hub.model_cache import find_snapshot, is_available
from rag_vqa.hub.model_files import ensure_available
from rag_vqa.hub.repository import Repository, look_up, needed_files

ID = "owner/model"
WEIGHTS = os.urandom(3_000_000)
CONFIG = b'{"model_type": "x"}'
CHUNK = 1 << 20  # of the server: what it may have on its way when it is cut


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    write_model(
        tmp_path / "served", ID, config__json=CONFIG, model__safetensors=WEIGHTS,
        pytorch_model__bin=b"pickle", tokenizer_config__json=b"{}",
    )  # fmt: skip
    with running(tmp_path / "served", tokens={"hf_ok": frozenset({ID})}) as hub:
        use_hub(monkeypatch, hub, tmp_path / "home")
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield hub


def fetch(**rest: Any) -> Path:
    repository = look_up(ID)
    return download_files(repository, needed_files(repository, **rest))


def give_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "_TRIES", 1)


def test_the_files_that_are_needed_come_and_no_pickled_ones(hub: Hub) -> None:
    folder = fetch()
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer_config.json",
    ]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.sent("*pytorch_model.bin") == 0


def test_huggingface_hub_finds_what_was_downloaded(hub: Hub) -> None:
    folder = fetch()
    hub.faults.append(Fault("status", status=500))
    found = huggingface_hub.hf_hub_download(ID, "model.safetensors", local_files_only=True)
    assert Path(found) == folder / "model.safetensors"
    repository = next(iter(huggingface_hub.scan_cache_dir(os.environ["HF_HUB_CACHE"]).repos))
    assert repository.repo_id == ID
    assert {ref for revision in repository.revisions for ref in revision.refs} == {"main"}
    digest = sha256(WEIGHTS).hexdigest()
    assert (folder / "model.safetensors").resolve().name == digest


@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_a_cut_file_goes_on_where_it_stopped(hub: Hub, kind: str) -> None:
    hub.faults.append(Fault(kind, path="/cdn/*.safetensors", after=900_000, times=1))
    folder = fetch()
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    starts = [each.start for each in hub.log if each.path.startswith("/cdn")]
    assert starts[0] == 0
    assert starts[1] > 0


def test_another_process_goes_on_where_the_first_was_cut(hub: Hub, monkeypatch) -> None:
    give_up_at_once(monkeypatch)
    hub.faults.append(Fault("cut", path="/cdn/*.safetensors", after=900_000, times=1))
    with pytest.raises(Missing, match=r"900 kB of 3 MB of model.safetensors are kept"):
        fetch()
    (part,) = (find_snapshot(ID) or hub_cache()).parents[1].glob("blobs/*.incomplete")
    assert part.read_bytes() == WEIGHTS[:900_000]
    repository = look_up(ID)
    assert missing_bytes(repository, needed_files(repository)) == len(WEIGHTS) - 900_000
    fetch()
    starts = [each.start for each in hub.log if each.path.startswith("/cdn")]
    assert starts == [0, 900_000]
    assert hub.sent("/cdn/*") == len(WEIGHTS)  # not a byte twice


def test_a_killed_process_loses_no_more_than_a_chunk(hub: Hub, tmp_path: Path) -> None:
    hub.faults.append(Fault("slow", path="/cdn/*", rate=2e6))
    environment = {**os.environ, **hub.environment(tmp_path / "home")}
    command = [sys.executable, "-m", "rag_vqa", "models", "pull", ID, "--yes", "--quiet"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as pull:
        part = hub_cache().parents[1] / "blobs" / f"{sha256(WEIGHTS).hexdigest()}.incomplete"
        deadline = monotonic() + 60
        while not part.exists() or part.stat().st_size < 900_000:
            assert monotonic() < deadline
            assert pull.poll() is None
        pull.kill()
    kept = part.stat().st_size
    assert 900_000 <= kept < len(WEIGHTS)
    hub.faults.clear()
    assert (fetch() / "model.safetensors").read_bytes() == WEIGHTS
    starts = [each.start for each in hub.log if each.path.startswith("/cdn")]
    assert starts == [0, kept]


def hub_cache() -> Path:
    return Path(os.environ["HF_HUB_CACHE"]) / "models--owner--model" / "snapshots" / "none"


def test_a_server_that_ignores_ranges_sends_the_file_again(hub: Hub) -> None:
    hub.faults.append(Fault("cut", path="/cdn/*.safetensors", after=900_000, times=1))
    hub.faults.append(Fault("whole", path="/cdn/*.safetensors"))
    folder = fetch()
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_a_damaged_file_is_deleted_and_named(hub: Hub) -> None:
    hub.faults.append(Fault("corrupt", path="/cdn/*.safetensors", after=5, times=1))
    with pytest.raises(RagVqaError, match=r"model\.safetensors of owner/model came damaged"):
        fetch()
    assert not is_available(ID)
    fetch()
    assert is_available(ID)


def test_a_damaged_small_file_is_noticed_as_well(hub: Hub) -> None:
    hub.faults.append(Fault("corrupt", path="/api/resolve-cache/*/config.json", after=3, times=1))
    with pytest.raises(RagVqaError, match="came damaged"):
        fetch()


def test_a_part_that_was_damaged_on_the_disk_is_noticed(hub: Hub, monkeypatch) -> None:
    give_up_at_once(monkeypatch)
    hub.faults.append(Fault("cut", path="/cdn/*.safetensors", after=900_000, times=1))
    with pytest.raises(Missing):
        fetch()
    (part,) = hub_cache().parents[1].glob("blobs/*.incomplete")
    part.write_bytes(bytes(900_000))
    with pytest.raises(RagVqaError, match="came damaged"):
        fetch()
    assert (fetch() / "model.safetensors").read_bytes() == WEIGHTS


def test_what_another_revision_has_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    fetch()
    served = tmp_path / "served" / ID
    (served / "README.md").write_text("new")
    hub.add(ID, served, commit="b" * 40)
    before = hub.sent("/cdn/*")
    folder = fetch()
    assert folder.name == "b" * 40
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.sent("/cdn/*") == before


def test_too_many_requests_are_waited_for_but_not_for_long(hub: Hub) -> None:
    hub.faults.append(
        Fault("status", path="/cdn/*.safetensors", status=429, retry_after=2, times=2)
    )
    fetch()
    assert is_available(ID)


def test_a_long_wait_is_named_instead(hub: Hub) -> None:
    hub.faults.append(Fault("status", path="/cdn/*.safetensors", status=429, retry_after=900))
    with pytest.raises(Missing, match=r"too many requests from here \(429\)\. Wait 900 s"):
        fetch()


def test_a_full_disk_keeps_what_came(hub: Hub, monkeypatch) -> None:
    written = []

    def write(target: Any, piece: bytes) -> None:
        if sum(written) > 500_000:
            raise OSError(errno.ENOSPC, "No space left on device", "blob")
        written.append(target.write(piece))

    with monkeypatch.context() as patch:
        patch.setattr(downloads, "_write_piece", write)
        with pytest.raises(RagVqaError, match=r"The disk is full.*HF_HOME"):
            fetch()
    kept = sum(written) - len(CONFIG) - 2
    assert fetch().is_dir()
    assert [each.start for each in hub.log if each.path.startswith("/cdn")][-1] == kept


def test_two_downloads_of_one_file_do_not_mix(hub: Hub, tmp_path: Path) -> None:
    from filelock import FileLock

    digest = sha256(WEIGHTS).hexdigest()
    folder = Path(os.environ["HF_HUB_CACHE"]) / ".locks" / "models--owner--model"
    folder.mkdir(parents=True)
    with FileLock(folder / f"{digest}.lock"), pytest.raises(Locked, match="Another process"):
        fetch()


def test_shards_are_those_that_the_index_names(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "served" / ID
    (folder / "model.safetensors").unlink()
    names = ["model-00001-of-00002.safetensors", "odd.safetensors"]
    for name in names:
        (folder / name).write_bytes(name.encode())
    (folder / "consolidated.safetensors").write_bytes(b"again")
    index = {"weight_map": dict(zip("ab", names, strict=True))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    hub.add(ID, folder)
    found = sorted(path.name for path in fetch().glob("*.safetensors"))
    assert found == names


def test_a_reader_finds_its_model_without_asking_the_hub(hub: Hub) -> None:
    where = ensure_available(ID, None)
    assert where == {"revision": None, "local_files_only": True}
    asked = len(hub.log)
    ensure_available(ID, None)
    assert len(hub.log) == asked
    with pytest.raises(Missing, match="network is off"):
        ensure_available("owner/other", None, offline=True)


def test_a_file_outside_of_the_repository_is_refused(hub: Hub) -> None:
    found = look_up(ID)
    file = found.files[0]
    bad = type(file)("../../escape.json", file.size, file.digest, file.large)
    with pytest.raises(Missing, match="outside of itself"):
        download_files(Repository(ID, None, found.commit, (bad,)), [bad])
