"""The hub that the tests and the rehearsal use, against huggingface_hub as the judge."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors
from model_hub import Fault, Hub, running, use_hub, write_model

ID, WEIGHTS = "owner/model", bytes(range(256)) * 200
CONFIG = b'{"model_type": "ret"}' * 20


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = write_model(tmp_path / "served", ID, config__json=CONFIG, model__safetensors=WEIGHTS)
    (folder / "sub").mkdir()
    (folder / "sub" / "a b.txt").write_text("text")
    with running(
        tmp_path / "served", tokens={"hf_ok": frozenset({ID}), "hf_other": frozenset()}
    ) as hub:
        use_hub(monkeypatch, hub, tmp_path / "home")
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield hub


def download(**rest: Any) -> Path:
    return Path(huggingface_hub.snapshot_download(ID, **rest))


def test_a_whole_model_is_downloaded(hub: Hub) -> None:
    folder = download()
    assert (folder / "config.json").read_bytes() == CONFIG
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert (folder / "sub" / "a b.txt").read_text() == "text"
    assert folder.name == hub.models[ID].commit
    blobs = {each.name for each in (folder.parents[1] / "blobs").iterdir()}
    assert hashlib.sha256(WEIGHTS).hexdigest() in blobs
    assert hashlib.sha1(b"blob %d\0" % len(CONFIG) + CONFIG).hexdigest() in blobs
    before = len(hub.log)
    assert download() == folder
    again = hub.log[before:]
    assert not any("resolve" in each.path for each in again)


def test_what_the_hub_says_of_a_model(hub: Hub) -> None:
    api = huggingface_hub.HfApi()
    info = api.model_info(ID, files_metadata=True)
    assert info.sha == hub.models[ID].commit and info.siblings is not None
    sizes = {each.rfilename: each.size for each in info.siblings}
    assert sizes == {
        "config.json": len(CONFIG),
        "model.safetensors": len(WEIGHTS),
        "sub/a b.txt": 4,
    }
    top = {each.path for each in api.list_repo_tree(ID)}
    assert top == {"config.json", "model.safetensors", "sub"}
    (found,) = api.get_paths_info(ID, ["model.safetensors", "no"])
    assert isinstance(found, huggingface_hub.hf_api.RepoFile) and found.lfs is not None
    assert found.lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    url = huggingface_hub.hf_hub_url(ID, "model.safetensors", revision=info.sha)
    about = huggingface_hub.get_hf_file_metadata(url)
    assert (about.size, about.commit_hash) == (len(WEIGHTS), info.sha)
    assert api.whoami(token="hf_ok")["name"] == "visitor"
    with pytest.raises(errors.HfHubHTTPError):
        api.whoami(token="hf_bad")


def test_a_token_does_not_reach_the_cdn(hub: Hub) -> None:
    download(token="hf_ok")
    assert {each.token for each in hub.log if each.origin == "hub"} == {True}
    assert {each.token for each in hub.log if each.origin == "cdn"} == {False}


def test_private_gated_and_missing(hub: Hub) -> None:
    model = hub.models[ID]
    model.gated = True
    for token, status in ((None, 401), ("hf_other", 403)):
        with pytest.raises(errors.GatedRepoError) as gated:
            download(token=token or False)
        assert gated.value.response.status_code == status
    assert download(token="hf_ok").is_dir()
    model.gated, model.private = False, True
    for token, status in ((None, 401), ("hf_other", 404)):
        with pytest.raises(errors.RepositoryNotFoundError) as missing:
            huggingface_hub.model_info(ID, token=token or False)
        assert missing.value.response.status_code == status
    with pytest.raises(errors.RevisionNotFoundError):
        huggingface_hub.model_info(ID, revision="no", token="hf_ok")
    with pytest.raises(errors.RemoteEntryNotFoundError):
        huggingface_hub.hf_hub_download(ID, "no.json", token="hf_ok")


@pytest.mark.parametrize("kind", ["cut", "whole"])
def test_a_cut_is_resumed_by_a_range(hub: Hub, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 4096)
    hub.faults = [Fault("cut", "/cdn/*", times=1, after=20_000)]
    hub.faults += [Fault("whole", "/cdn/*", times=1)] if kind == "whole" else []
    folder = download()
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    large = [each for each in hub.log if each.origin == "cdn"]
    ranges = [(0, 20_000), (16_384, 34_816) if kind == "cut" else (0, 51_200)]
    assert [(each.start, each.sent) for each in large] == ranges


def test_faults(hub: Hub) -> None:
    hub.faults = [Fault("status", "/cdn/*", times=2, status=429, retry_after=1)]
    assert download().is_dir()
    assert [each.status for each in hub.log if each.origin == "cdn"] == [429, 429, 200]
    hub.faults = [Fault("page")]
    with pytest.raises((errors.HfHubHTTPError, ValueError)):
        huggingface_hub.model_info(ID)
    hub.faults = [Fault("corrupt", "*.safetensors", after=7)]
    folder = download(force_download=True)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS[:7] + b"\x06" + WEIGHTS[8:]


def test_a_hub_behind_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "served", ID, config__json=CONFIG, model__safetensors=WEIGHTS)
    with running(tmp_path / "served", prefix="/api/models-of-us", commits={ID: "c" * 40}) as hub:
        use_hub(monkeypatch, hub, tmp_path / "home")
        assert (download(revision="c" * 40) / "config.json").read_bytes() == CONFIG


def test_a_fault_in_words() -> None:
    given = Fault.parse("cut,path=*.safetensors,after=9,times=1,methods=GET+HEAD")
    assert given == Fault("cut", "*.safetensors", times=1, after=9, methods=("GET", "HEAD"))
    for wrong in ("no", "cut,no=1", "cut,kind=page"):
        with pytest.raises(ValueError, match="fault"):
            Fault.parse(wrong)
