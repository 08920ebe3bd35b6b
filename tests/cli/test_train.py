"""`rag-vqa train`: a file of settings, signals, and the query side; what a person reads."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_training import checkpoint, digest, pairs, settings

from rag_vqa.jobs.signals import JobStopped, defer_signals
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.retriever.modeling.processor import RetProcessor
from rag_vqa.retriever.training.dual_encoder import DualEncoder
from rag_vqa.types import Query

Cli = Callable[..., Any]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    checkpoint(tmp_path / "start")
    pairs(tmp_path, 40)
    return tmp_path


def file(home: Path, **more: Any) -> str:
    tree = settings(home, home / "out", **more).model_dump(mode="json", exclude_unset=True)
    path = home / "train.yaml"
    path.write_text(yaml.safe_dump(tree), "utf-8")
    return str(path)


def test_it_trains_by_a_file_and_says_where(home: Path, cli: Cli) -> None:
    done = cli("train", "--config", file(home, steps=4, validate_every=2))
    assert done.code == 0, done.err
    assert done.out.startswith("Best at step ") and str(home / "out" / "best") in done.out
    assert "validation, step 2: recall@1 " in done.err and "train  4/4" in done.err
    encoder = Encoder.load(home / "out" / "best", device="cpu")
    assert (encoder.K, encoder.D) == (4, 16)
    assert Encoder.load(home / "out" / "last", device="cpu").model.config.logit_scale != 1
    again = cli("train", "--config", file(home, steps=4, validate_every=2), "--json", "--quiet")
    assert again.code == 0 and again.json["steps"] == 4 and "held out" not in again.err
    other = cli("train", "--config", file(home, steps=4, validate_every=2), "--set", "rate=0.5")
    assert other.code == 2 and "rate was 0.001, is 0.5" in other.err


def test_the_checkpoint_has_a_card_without_paths_of_this_machine(home: Path, cli: Cli) -> None:
    config = file(home, steps=2, validate_every=2, licence="cc0-1.0")
    done = cli("train", "--config", config, "--json")
    card = (home / "out" / "best" / "README.md").read_text("utf-8")
    recall = done.json["best"]["recall@1"]
    for line in (f"| recall@1 | {recall:.3f} |", "- pairs.jsonl: 40 pairs", "license: cc0-1.0",
                 "Trained from: start", "Measured on the first", "at step 2"):  # fmt: skip
        assert line in card
    assert str(home) not in card
    assert "Not stated." in (home / "out" / "last" / "README.md").read_text("utf-8")
    # No weight depends on the licence: the same run goes on with another one.
    assert cli("train", "--config", file(home, steps=2, validate_every=2)).code == 0


def test_a_checkpoint_is_read_by_whom_its_folder_is_and_missed_where_it_is_gone(
    home: Path, cli: Cli
) -> None:
    told = ("train", "--config", file(home, steps=2, validate_every=2))
    assert cli(*told).code == 0
    best = home / "out" / "best"
    assert {one.stat().st_mode for one in best.iterdir()} == {(home / "train.yaml").stat().st_mode}
    shutil.rmtree(best)
    gone = cli(*told)
    assert gone.code == 1 and f"{best}, the best checkpoint, of step 2, was removed." in gone.err


@pytest.mark.parametrize("own", [None, "Name it:"])
def test_questions_are_trained_and_validated_as_use_encodes_them(
    home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, own: str | None
) -> None:
    """The exported instruction, before the questions of files that bring none."""
    given = [json.loads(line) for line in (home / "pairs.jsonl").read_text("utf-8").splitlines()]
    rows = [{**row, **({} if own is None else {"instruction": own})} for row in given]
    (home / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    seen: set[str] = set()
    called = RetProcessor.__call__

    def told(self: RetProcessor, texts: Any, *rest: Any, **more: Any) -> Any:
        seen.update(texts)
        return called(self, texts, *rest, **more)

    monkeypatch.setattr(RetProcessor, "__call__", told)
    config = file(home, steps=8, validate_every=8, instruction="Find the document:")
    assert cli("train", "--config", config).code == 0
    encoder = Encoder.load(home / "out" / "best", device="cpu")
    used = {encoder.query_text(Query(row["question"], instruction=own)) for row in rows}
    passages = {row["document"]["text"] for row in rows}
    assert seen - passages <= used and len(seen & used) > 24


def test_sigterm_saves_and_the_same_command_goes_on_to_the_same_bytes(
    home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = DualEncoder.forward, 0

    def interrupted(self: DualEncoder, *inputs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return forward(self, *inputs)

    given = ("train", "--config", file(home, steps=5, save_every=100))
    straight = cli(*given, "--out", str(home / "straight"))
    assert straight.code == 0
    monkeypatch.setattr(DualEncoder, "forward", interrupted)
    stopped = cli(*given)
    assert stopped.code == 4 and "Stopped after 3 steps, saved." in stopped.err
    assert cli(*given).code == 0 and calls == 5
    assert digest(home / "out") == digest(home / "straight")


@pytest.mark.parametrize(
    "number, raised", [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, JobStopped)]
)
def test_before_the_first_step_a_signal_ends_it_at_once(
    number: int, raised: type[BaseException]
) -> None:
    with defer_signals(), pytest.raises(raised):
        os.kill(os.getpid(), number)


def test_the_checkpoint_s_scale_goes_on(home: Path, cli: Cli) -> None:
    config = home / "start" / "config.json"
    told = json.loads(config.read_text("utf-8"))
    config.write_text(json.dumps(told | {"logit_scale": 1.25}), "utf-8")
    given = file(home, steps=1, loss={"learn_scale": False})
    assert cli("train", "--config", given).code == 0
    assert json.loads((home / "out" / "last" / "config.json").read_text())["logit_scale"] == 1.25


def test_a_second_ctrl_c_ends_it_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    with defer_signals() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop() and "Stopping after this step" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_query_side_and_what_is_kept(
    home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("train", "--from", str(home / "start"), "--pairs", str(home / "pairs.jsonl"),
             "--side", "query", "--out", str(home / "tuned"))  # fmt: skip
    monkeypatch.setattr("rag_vqa.jobs.tune.has_gain", lambda tuned: False)
    none = cli(*given)
    assert none.code == 0, none.err
    assert f"No gain that 8 held-out pairs can show: keep {home / 'start'}." in none.out
    assert "among" in none.out and not (home / "tuned" / "best").exists()
    monkeypatch.setattr("rag_vqa.jobs.tune.has_gain", lambda tuned: True)
    some = cli(*given, "--json")
    assert some.json["gain"] and some.json["kept"] == str(home / "tuned" / "best")
    assert [row["recall"] for row in some.json["recall"]] == ["@1", "@5"]
    before = Encoder.load(home / "start", device="cpu").fingerprint
    assert Encoder.load(home / "tuned" / "best", device="cpu").fingerprint == before


@pytest.mark.parametrize(
    "given, said",
    [
        ([], "train needs its settings: rag-vqa train --config train.yaml"),
        (["--pairs", "p.jsonl"], "add --from MODEL --side query --out DIR"),
        (
            ["--config", "nowhere.yaml"],
            "nowhere.yaml: no such settings file. See: docs/training.md",
        ),
        (["--preset", "demo", "--config", "t.yaml"], "train has no presets"),
        (["--config", "t.yaml", "--documents", "d"], "--documents belongs to --pairs"),
    ],
)
def test_options_that_do_not_go_together(cli: Cli, given: list[str], said: str) -> None:
    done = cli("train", *given)
    assert done.code == 2 and said in done.err


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("batchs", 3, "There is no setting batchs. Did you mean batch?"),
        ("data.wrokers", 1, "There is no setting data.wrokers. Did you mean data.workers?"),
        ("towers.text", "melted", "towers.text = 'melted'"),
        ("data.train.0.hard", 4, "data.train is a list, which --set cannot change"),
        ("seed", 1_000_003, "seed = "),
        ("chunks", 9, "9 chunks of 5 pairs a process"),
    ],
)
def test_a_key_that_is_none_or_has_no_such_value(
    home: Path, cli: Cli, key: str, value: Any, said: str
) -> None:
    done = cli("train", "--config", file(home), "--set", f"{key}={value}")
    assert done.code == 2 and said in done.err
    assert not (home / "out").exists()  # before anything is read or written


def test_a_setting_that_is_missing(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "t.yaml").write_text("{out: a, start: demo, steps: 1}", "utf-8")
    done = cli("train", "--config", str(tmp_path / "t.yaml"))
    assert done.code == 2 and "data is missing. See: docs/training.md" in done.err


def test_another_checkpoint_and_another_s_best_are_noticed(home: Path, cli: Cli) -> None:
    given = ("train", "--config", file(home, steps=1))
    assert cli(*given).code == 0
    config = home / "start" / "config.json"
    told = json.loads(config.read_text("utf-8"))
    config.write_text(json.dumps(told | {"logit_scale": 1.25}), "utf-8")
    other = cli(*given)
    assert other.code == 2 and "begun with was " in other.err
    shutil.rmtree(home / "out" / "state")
    strange = cli(*given)
    assert strange.code == 2 and "best exists, but no training state" in strange.err
