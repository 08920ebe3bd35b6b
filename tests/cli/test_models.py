"""`rag-vqa models`: one list, one question, and what is here afterwards."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from model_hub import Fault, Hub, running, use_hub, write_model

from rag_vqa.hub.model_cache import is_available

ID, RET = "owner/model", "aimagelab/ReT-CLIP-ViT-L-14"
CLIP, QWEN = "openai/clip-vit-large-patch14", "Qwen/Qwen3-VL-2B-Instruct"
QWEN_COMMIT = "89644892e4d85e24eaac8bacfd4f463576704203"  # of the preset


@pytest.fixture
def hub(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    # The real one again, instead of the fixture's.
    monkeypatch.setattr("rag_vqa.jobs.download_consent.is_available", is_available)
    for id in (ID, RET, CLIP, QWEN):
        write_model(
            tmp_path / "served", id, config__json=b"{}", model__safetensors=id.encode() * 90_000,
            tokenizer_config__json=b"{}", preprocessor_config__json=b"{}",
        )  # fmt: skip
    with running(tmp_path / "served", commits={QWEN: QWEN_COMMIT}) as hub:
        use_hub(monkeypatch, hub, tmp_path / "home")
        yield hub


def test_a_preset_is_pulled_with_one_list_and_one_total(cli, hub: Hub) -> None:
    done = cli("models", "pull", "laptop")
    assert done.code == 3  # nobody to ask
    assert "apache-2.0" in done.err
    assert "Together 5 MB" in done.err
    assert "--yes" in done.err
    done = cli("models", "pull", "laptop", "--yes")
    assert done.code == 0, done.err
    assert QWEN_COMMIT[:12] in done.out
    before = len(hub.log)
    assert cli("models", "pull", "laptop", "--offline").code == 0
    assert len(hub.log) == before
    assert "preset laptop: complete" in cli("models", "list").out


def test_list_path_and_rm_in_json(cli, hub: Hub) -> None:
    assert cli("models", "pull", ID, "--yes", "--quiet").err == ""
    listed = json.loads(cli("models", "list", "--json").out)
    (only,) = listed["models"]
    assert (only["model"], only["state"], only["refs"]) == (ID, "complete", ["main"])
    assert date.fromisoformat(only["last_used"]) >= date.today() - timedelta(1)
    assert "demo (reader)" in cli("models", "list").out
    (folder,) = json.loads(cli("models", "path", ID, "--json").out)
    assert folder == only["folder"]
    assert (Path(folder) / "config.json").is_file()
    refused = cli("models", "rm", ID)
    assert refused.code == 3
    assert "--yes" in refused.err
    assert Path(folder).is_dir()
    assert list(json.loads(cli("models", "rm", ID, "--yes", "--json").out)) == [ID]
    assert not Path(folder).parents[1].exists()
    missing = cli("models", "path", ID)
    assert missing.code == 3
    assert f"rag-vqa models pull {ID}" in missing.err


def test_rm_touches_no_folder_and_no_embedded_model(cli, hub: Hub, tmp_path: Path) -> None:
    mine = write_model(tmp_path, "mine", config__json=b"{}")
    assert "a folder of yours" in cli("models", "rm", str(mine), "--yes").err
    assert "part of the package" in cli("models", "rm", "demo", "--yes").err
    assert (mine / "config.json").is_file()


def test_rm_leaves_a_neighbour_whose_name_begins_alike(cli, hub: Hub, tmp_path: Path) -> None:
    hub.add("owner/model-2", tmp_path / "served" / ID)
    cli("models", "pull", ID, "owner/model-2", "--yes")
    assert cli("models", "rm", ID, "--yes").code == 0
    assert cli("models", "path", "owner/model-2").code == 0


def test_dry_run_downloads_nothing(cli, hub: Hub) -> None:
    plan = json.loads(cli("models", "pull", "laptop", "--dry-run", "--json").out)
    assert [each["model"] for each in plan["models"]] == [RET, CLIP, QWEN]
    assert plan["missing"] == sum(each["missing"] for each in plan["models"])
    assert hub.sent("/cdn/*") == 0


def test_the_embedded_models_need_no_download(cli, hub: Hub) -> None:
    assert "nothing to download" in cli("models", "pull", "demo").out
    assert len(cli("models", "path", "demo").out.splitlines()) == 2
    assert hub.log == []


def test_a_folder_for_a_machine_without_network(cli, hub: Hub, tmp_path: Path) -> None:
    done = cli("models", "pull", ID, "--yes", "--to", tmp_path / "stick")
    assert done.code == 0, done.err
    assert f"rag-vqa models pull --from {tmp_path / 'stick'}" in done.err
    cli("models", "rm", ID, "--yes")
    (copied,) = json.loads(cli("models", "pull", "--from", tmp_path / "stick", "--json").out)
    assert copied["model"] == ID
    assert cli("models", "path", ID).code == 0
    assert cli("models", "pull", "--from", tmp_path / "stick", "--dry-run").code == 2
    assert cli("models", "pull").code == 2


def test_a_hub_that_is_gone_is_a_warning_where_everything_is_here(cli, hub: Hub) -> None:
    cli("models", "pull", ID, "--yes")
    hub.faults.append(Fault("status", status=429))
    done = cli("models", "pull", ID)
    assert (done.code, "Every model is on this machine already" in done.err) == (0, True)


def test_check_says_what_can_be_read_and_exits_by_it(cli, hub: Hub) -> None:
    checks = json.loads(cli("models", "check", "demo", "--json").out)
    assert [(each["role"], each["good"]) for each in checks] == [
        ("retriever", True),
        ("reader", True),
    ]
    done = cli("models", "check", ID)  # its weights are no weights
    assert done.code == 1
    assert "no safetensors file" in done.err
