"""The program around the verbs: help, version, hoisting, errors in one line, settings, doctor."""

import subprocess
import sys

import pytest
import yaml

from rag_vqa.cli import app as program
from rag_vqa.jobs.diagnosis import Finding


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"], ["kb"], ["kb", "build", "-h"]])
def test_help(cli, args) -> None:
    done = cli(*args)
    assert done.code == 0
    assert "Usage: rag-vqa" in done.out


@pytest.mark.parametrize("verb", [["ask"], ["kb"], ["kb", "build"], ["eval", "run"], ["train"]])
def test_the_help_of_a_verb_points_to_the_options_of_all(cli, verb) -> None:
    told = " ".join(cli(*verb, "--help").out.split())
    assert "--json, --quiet" in told and told.endswith("rag-vqa --help")


def test_version(cli) -> None:
    import rag_vqa

    for args in (["--version"], ["ask", "--version"]):
        assert cli(*args).out == f"rag-vqa {rag_vqa.__version__}\n"


def test_an_unknown_verb_is_a_usage_error(cli) -> None:
    done = cli("aks")
    assert (done.code, len(done.err.splitlines())) == (2, 1)


def test_hoisting_stops_at_two_dashes_and_leaves_other_options() -> None:
    args = ["ask", "kb", "-k", "3", "--set", "a=b", "--", "--json"]
    hoisted = program.hoist_options(args, {"--json"}, {"--set"})
    assert hoisted == ["--set", "a=b", "ask", "kb", "-k", "3", "--", "--json"]


def test_python_dash_m_ends_with_the_exit_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rag_vqa", "ask", "none.kb", "why?", "-k", "-1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: k = ")


@pytest.fixture
def broken(monkeypatch) -> None:
    """A verb that fails as nobody foresaw."""

    def findings():
        raise ValueError("two\nlines")

    monkeypatch.setattr("rag_vqa.jobs.diagnosis.check_machine", findings)


def test_an_unexpected_error_is_one_line(cli, broken) -> None:
    done = cli("doctor")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines() == [
        "error: unexpected ValueError: two lines For the traceback: --debug"
    ]


def test_debug_shows_where_an_error_came_from(cli, broken, monkeypatch) -> None:
    told = [cli("doctor", "--debug")]
    monkeypatch.setenv("RAG_VQA_DEBUG", "1")
    told.append(cli("doctor"))
    for done in told:
        assert done.code == 1
        assert "in findings" in done.err
        assert done.err.splitlines()[-1].startswith("error: unexpected ValueError")


def test_an_interrupt_says_so_once(cli, monkeypatch) -> None:
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr("rag_vqa.jobs.diagnosis.check_machine", interrupt)
    done = cli("doctor")
    assert (done.code, done.err) == (130, "^C stopped.\n")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)  # which has written ^C already
    assert cli("doctor").err == "\nStopped.\n"


def test_config_show_reads_back(cli, tmp_path) -> None:
    shown = cli("config", "show", "--preset", "24gb", "--set", "k=7")
    (tmp_path / "run.yaml").write_text(shown.out)
    again = cli("--config", tmp_path / "run.yaml", "config", "show")
    assert again.out == shown.out
    assert yaml.safe_load(shown.out) == {"preset": "24gb", "k": 7}
    assert "config show --json" in shown.out
    assert cli("config", "show", "--json").json["preset"] is None


@pytest.mark.parametrize(
    "given", [[], ["--preset", "24gb"], ["--preset", "demo"], ["--json"]], ids=" ".join
)
def test_a_preset_wins_over_what_config_show_wrote(cli, tmp_path, given) -> None:
    (tmp_path / "run.yaml").write_text(cli("config", "show", *given).out)
    asked = cli("--config", tmp_path / "run.yaml", "--preset", "laptop", "config", "show", "--json")
    assert asked.json["reader"]["model"] == "Qwen/Qwen3-VL-2B-Instruct"
    assert asked.json["retriever"]["model"] == "aimagelab/ReT-CLIP-ViT-L-14"


def test_the_settings_file_may_be_named_in_the_environment(cli, tmp_path, monkeypatch) -> None:
    (tmp_path / "run.yaml").write_text("k: 9\n")
    monkeypatch.setenv("RAG_VQA_CONFIG", str(tmp_path / "run.yaml"))
    assert cli("config", "show", "--json").json["k"] == 9


def test_presets_name_licence_revision_size_and_memory(cli) -> None:
    out = cli("config", "presets").out
    for text in ("12gb", "apache-2.0", "0c351dd01ed8", "17.5 GB", "demo", "80gb"):
        assert text in out
    listed = cli("config", "presets", "--json").json
    known = ["demo", "laptop", "12gb", "24gb", "80gb"]
    today = ["8gb-2026", "12gb-2026", "24gb-2026", "80gb-2026"]
    assert [preset["name"] for preset in listed] == [*known, *today]
    assert listed[1]["models"][0]["instructions"]["question"].endswith(":")


def test_doctor_shows_what_mends_and_ends_with_1(cli, monkeypatch) -> None:
    found = [Finding("good", True, "fine"), Finding("faiss", False, "both", "pip uninstall it")]
    monkeypatch.setattr("rag_vqa.jobs.diagnosis.check_machine", lambda: found)
    done = cli("doctor")
    assert done.code == 1
    assert "BAD  faiss" in done.out
    assert "→ pip uninstall it" in done.out
    assert [finding["good"] for finding in cli("doctor", "--json").json] == [True, False]
    monkeypatch.setattr("rag_vqa.jobs.diagnosis.check_machine", lambda: found[:1])
    assert cli("doctor").code == 0


def test_doctor_sees_two_faiss_and_a_broken_torchvision(monkeypatch) -> None:
    from rag_vqa.jobs import diagnosis

    installed = {"faiss-cpu": "1.15", "faiss-gpu": "1.15", "torchvision": "0.1"}
    monkeypatch.setattr(diagnosis, "_installed_version", installed.get)
    assert "uninstall -y faiss-cpu faiss-gpu" in diagnosis._check_faiss().mend
    monkeypatch.setattr(diagnosis.sys, "executable", "/bin/false")
    assert "uninstall -y torchvision" in diagnosis._check_torchvision().mend
    monkeypatch.setattr(diagnosis, "_installed_version", {"faiss-cpu": "1.15"}.get)
    assert diagnosis._check_faiss().good
    assert diagnosis._check_torchvision().good


def test_doctor_notes_a_disk_that_is_low_and_refuses_one_that_is_full(monkeypatch) -> None:
    from rag_vqa.jobs import diagnosis

    found = []
    for free in (6e9, 3e9, 5e8):
        usage = type("Usage", (), {"free": free})
        monkeypatch.setattr(diagnosis.shutil, "disk_usage", lambda path, usage=usage: usage)
        found.append(diagnosis._check_disk())
    assert [finding.good for finding in found] == [True, True, False]
    assert [bool(finding.mend) for finding in found] == [False, True, True]


def test_doctor_on_little_memory_says_what_mends(monkeypatch) -> None:
    from rag_vqa.jobs import diagnosis

    monkeypatch.setattr(diagnosis.os, "sysconf", lambda name: 1000)
    assert not diagnosis._check_memory().good
    assert "rag-vqa" in diagnosis._check_memory().mend


def test_doctor_says_make_in_a_checkout_only(monkeypatch, tmp_path) -> None:
    from rag_vqa.jobs import diagnosis

    installed = tmp_path / "site-packages" / "rag_vqa" / "cli" / "checks.py"
    monkeypatch.setattr(diagnosis, "__file__", str(installed))
    assert "pip install" in diagnosis._reinstall_command()
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "Makefile").touch()
    assert diagnosis._reinstall_command() == "make demo-models"
