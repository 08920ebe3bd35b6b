"""kb build: what it stores, refuses and writes down, and how it ends when it is stopped."""

import csv
import json
import os
import signal

import pytest
from PIL import Image

from rag_vqa.retriever.knowledge_base import KnowledgeBase


@pytest.fixture
def source(tmp_path):
    lines = [{"id": f"d{n}", "text": f"document number {n}"} for n in range(5)]
    path = tmp_path / "docs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_build_then_ask(cli, source, tmp_path) -> None:
    out = tmp_path / "new.kb"
    done = cli("kb", "build", source, "--out", out)
    assert (done.code, done.out) == (0, "")
    assert "5 documents" in done.err
    assert "5 added" in done.err
    assert f"rag-vqa ask {out}" in done.err
    found = cli("search", out, "document number 3", "-k", 1, "--json").json
    assert found[0]["id"] == "d3"


def test_the_same_command_goes_on(cli, source, tmp_path) -> None:
    out = tmp_path / "new.kb"
    cli("kb", "build", source, "--out", out)
    done = cli("kb", "build", source, "--out", out, "--json")
    assert done.json["unchanged"] == 5
    assert done.json["added"] == 0


def test_bad_lines_and_missing_pictures_are_written_down(cli, source, tmp_path) -> None:
    with source.open("a") as file:
        file.write(
            'not json\n{"id": [7], "text": "x"}\n{"id": "p", "text": "x", "image": "no.jpg"}\n'
            '{"id": "q", "text": "x", "image": "q.png"}\n'
        )
    Image.new("RGB", (8, 8)).save(source.parent / "q.png")
    out = tmp_path / "new.kb"
    done = cli("kb", "build", source, "--out", out)
    assert done.code == 4
    rejects = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert [reject["line"] for reject in rejects] == [6, 7]
    assert all(reject["reason"] for reject in rejects)
    assert "2 refused" in done.err
    [_, row] = (out / "missing.csv").read_text().splitlines()
    document, picture, reason = next(csv.reader([row]))
    assert (document, picture) == ("p", "no.jpg") and "no such file" in reason
    assert "pictures: 1 kept · 1 unusable" in done.err


def test_what_is_written_down_goes_through_no_link(cli, source, tmp_path) -> None:
    out, victim = tmp_path / "new.kb", tmp_path / "victim"
    cli("kb", "build", source, "--out", out)
    victim.write_text("precious")
    for name in ("rejects.jsonl", "missing.csv"):
        (out / name).unlink()
        (out / name).symlink_to(victim)
    assert cli("kb", "build", source, "--out", out).code == 0
    assert victim.read_text() == "precious"
    assert (
        out / "missing.csv"
    ).read_bytes() == b"document,image,reason\r\n"  # as RFC 4180 ends a line


def test_what_has_nothing_to_encode_is_counted_before_and_after(cli, tmp_path) -> None:
    source, out = tmp_path / "five.jsonl", tmp_path / "new.kb"
    source.write_text(
        '{"id": "a"}\n{"id": "b", "text": " "}\nnot json\n{"id": [3]}\n{"id": "t", "text": "x"}\n'
    )
    done = cli("kb", "build", source, "--out", out)
    assert done.code == 4
    assert f"1 documents (jsonl) · 4 refused → {out}" in done.err  # before …
    assert "1 added · 4 refused" in done.err  # … and after
    shown = cli("kb", "build", source, "--out", out, "--dry-run").out
    assert shown.count("refused: it has neither text nor image") == 2


def test_a_build_that_keeps_nothing_fails_and_can_be_mended(cli, tmp_path) -> None:
    source, out = tmp_path / "one.jsonl", tmp_path / "new.kb"
    (tmp_path / "bad.png").write_text("<html>")
    source.write_text('{"id": "only"}\n{"id": "p", "image": "bad.png"}\n')
    done = cli("kb", "build", source, "--out", out)
    assert done.code == 1
    assert "Ask it" not in done.err
    assert (
        "Every document was refused" in done.err
        and f"rag-vqa kb add SOURCE --out {out}" in done.err
    )
    assert len((out / "rejects.jsonl").read_text().splitlines()) == 2
    assert cli("kb", "add", source, "--out", out).code == 1  # nor does adding
    source.write_text('{"id": "only", "text": "mended"}\n')
    assert cli("kb", "build", source, "--out", out).code == 0
    source.write_text('{"id": "bad"}\n{"id": "only", "text": "mended"}\n')
    assert cli("kb", "build", source, "--out", out).code == 4  # what is unchanged is kept


def test_strict_stops_at_the_first_bad_line(cli, source, tmp_path) -> None:
    source.write_text("not json\n" + source.read_text())
    done = cli("kb", "build", source, "--out", tmp_path / "new.kb", "--strict")
    assert done.code == 1
    assert "line 1" in done.err
    assert not (tmp_path / "new.kb").exists()


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [
        (signal.SIGTERM, 4, "Stopped"),
        (signal.SIGUSR1, 4, "Stopped"),
        (signal.SIGINT, 130, "^C stopped"),
    ],
)
def test_stopped_what_was_committed_is_safe(
    cli, source, tmp_path, encoder, monkeypatch, number, code, says
) -> None:
    monkeypatch.setattr("rag_vqa.jobs.build.COMMIT_BATCHES", 1)
    encode, calls = encoder.encode_passages, []

    def stop_at_the_third(passages, on_progress=None):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), number)
        return encode(passages, on_progress)

    monkeypatch.setattr(encoder, "encode_passages", stop_at_the_third)
    before = signal.getsignal(number)
    out = tmp_path / "new.kb"
    done = cli("kb", "build", source, "--out", out, "--batch-size", 1)
    assert done.code == code
    assert f"{says}: 2 documents are safe. The same command goes on from here." in done.err
    assert signal.getsignal(number) is before
    monkeypatch.setattr(encoder, "encode_passages", encode)
    assert cli("kb", "build", source, "--out", out).code == 0
    with KnowledgeBase.open(out, encoder) as kb:
        assert len(kb) == 5


@pytest.mark.parametrize(
    "args",
    [
        ["none.jsonl", "--out", "new.kb"],
        ["{source}", "--out", "{source}"],
        ["{source}", "--out", "{source}/below"],
        ["{source}", "--out", "new.kb", "--images", "none"],
        ["{source}", "--out", "new.kb", "--images", "{source}"],
        ["{source}", "--out", "."],  # where other files are
        ["{source}", "--out", "new.kb", "--set", "retriever.revision=c0ffee"],
        ["{source}", "--out", "new.kb", "--batch-size", "0"],
        ["{source}"],
    ],
)
def test_flags_are_checked_before_any_model_loads(
    cli, source, tmp_path, monkeypatch, loads, args
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("kb", "build", *[arg.format(source=source) for arg in args])
    assert (done.code, loads) == (2, []), done.err
    assert len(done.err.splitlines()) == 1


def test_another_retriever_is_refused_before_it_loads(cli, source, birds, loads) -> None:
    done = cli("kb", "build", source, "--out", birds, "--retriever", "aimagelab/ReT-CLIP-ViT-L-14")
    assert (done.code, loads) == (2, [])
    assert "was built with fake" in done.err


def test_unwritable_output(cli, source, tmp_path, monkeypatch, loads) -> None:
    # The tests may run as root, whom no permission stops.
    monkeypatch.setattr("rag_vqa.jobs.build.os.access", lambda path, mode: mode != os.W_OK)
    done = cli("kb", "build", source, "--out", tmp_path / "new.kb")
    assert (done.code, loads) == (2, [])
    assert "cannot be written" in done.err
