"""kb list, show, stats, verify, delete, compact, snapshot: what they print and how they end."""

import pytest
from PIL import Image

from rag_vqa.errors import UsageError
from rag_vqa.retriever.knowledge_base import KnowledgeBase


def test_list(cli, birds) -> None:
    assert cli("kb", "list", birds).out.splitlines() == [
        "puffin  Atlantic puffin · Breeding",
        "stork  White stork · Breeding",
        "swift  Common swift · Flight",
    ]
    first = cli("kb", "list", birds, "--limit", 2)
    assert len(first.out.splitlines()) == 2 and "--after stork" in first.err
    assert [d["id"] for d in cli("kb", "list", birds, "--after", "stork", "--json").json] == [
        "swift"
    ]
    assert [d["id"] for d in cli("kb", "list", birds, "--where", "lang=de", "--json").json] == [
        "swift"
    ]


@pytest.mark.parametrize(
    "args",
    [
        ("list", "{kb}", "--limit", "0"),
        ("list", "{kb}", "--after", "nobody"),
        ("list", "{kb}", "--where", "colour=red"),
        ("show", "{kb}", "nobody"),
        ("stats", "none.kb"),
        ("snapshot", "{kb}", "{kb}"),
    ],
)
def test_what_cannot_be_meant(cli, birds, args) -> None:
    done = cli("kb", *[arg.format(kb=birds) for arg in args])
    assert done.code == 2 and len(done.err.splitlines()) == 1, done.err


def test_show(cli, birds) -> None:
    done = cli("kb", "show", birds, "stork")
    assert "title: White stork" in done.out and "storks nest on roofs" in done.out
    assert "passage 0" in done.out
    shown = cli("kb", "show", birds, "stork", "--json").json
    assert shown["metadata"] == {"lang": "en"}
    assert [p["text"] for p in shown["passages"]] == [
        "White stork · Breeding\nstorks nest on roofs and chimneys"
    ]


def test_show_prints_values_as_they_are_written(cli, birds, encoder, tmp_path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "p.png")
    metadata = {"lang": "en", "year": 1990, "old": True, "by": None}
    with KnowledgeBase.open(birds, encoder) as kb:
        kb.add([{"id": "pictured", "text": "x", "image": str(tmp_path / "p.png"),
                 "metadata": metadata}])  # fmt: skip
        [kept] = [image for document in kb.list() for image in document.images]
    lines = cli("kb", "show", birds, "pictured").out.splitlines()
    told = [line.removeprefix("metadata: ") for line in lines if line.startswith("metadata")]
    assert told == ["lang=en", "old=true", "year=1990"]  # as --where takes them
    assert f"images: {kept}" in lines
    assert cli("kb", "list", birds, "--where", "old=true").out.startswith("pictured")


def test_text_of_documents_cannot_steer_the_terminal(cli, birds, encoder) -> None:
    with KnowledgeBase.open(birds, encoder) as kb:
        kb.add([{"id": "evil", "title": "\x1b[2J", "text": "\x1b]0;x\x07"}])
    for verb in (("list", birds), ("show", birds, "evil")):
        assert "\x1b" not in cli("kb", *verb).out


def test_stats(cli, birds) -> None:
    stats = cli("kb", "stats", birds, "--json").json
    assert (stats["documents"], stats["passages"], stats["K"], stats["D"]) == (3, 3, 4, 64)
    assert "documents    3" in cli("kb", "stats", birds).out


def test_delete_is_idempotent(cli, birds) -> None:
    done = cli("kb", "delete", birds, "stork", "nobody")
    assert done.code == 0 and "1 deleted, 2 documents left · 1 of these ids" in done.err
    again = cli("kb", "delete", birds, "stork", "--json").json
    assert (again["deleted"], again["documents"]) == (0, 2)


def test_compact_frees_what_was_deleted(cli, birds) -> None:
    cli("kb", "delete", birds, "stork")
    before = cli("kb", "stats", birds, "--json").json
    freed = cli("kb", "compact", birds, "--json").json
    after = cli("kb", "stats", birds, "--json").json
    assert (before["gone"], after["gone"], freed["rows"]) == (1, 0, 1)
    assert freed["bytes"] == before["token_bytes"] - after["token_bytes"] > 0
    assert cli("search", birds, "puffins", "-k", 1, "--json").json[0]["id"] == "puffin"


def test_snapshot(cli, birds, tmp_path) -> None:
    copy = tmp_path / "copy.kb"
    assert cli("kb", "snapshot", birds, copy, "--json").json["documents"] == 3
    assert cli("kb", "list", copy, "--json").json == cli("kb", "list", birds, "--json").json


def test_verify_tells_damage_by_file_and_ends_with_1(cli, birds) -> None:
    assert cli("kb", "verify", birds, "--json").json == {
        "sound": True, "documents": 3, "damage": [],
    }  # fmt: skip
    tokens = next(birds.rglob("*.tokens"))
    content = bytearray(tokens.read_bytes())
    content[-5] ^= 1  # a token; a flipped header does not even open
    tokens.write_bytes(content)
    done = cli("kb", "verify", birds)
    assert done.code == 1 and tokens.name in done.out and "damaged" in done.out
    assert "kb build" in done.err


def test_a_merge_that_cannot_be_leaves_nothing_behind(cli, birds, tmp_path) -> None:
    other = tmp_path / "other.kb"
    source = tmp_path / "d.jsonl"
    source.write_text('{"id": "a", "text": "x"}\n')
    cli("kb", "build", source, "--out", other, "--codes-only")
    done = cli("kb", "merge", birds, other, "--out", tmp_path / "all.kb")
    assert done.code == 2 and not (tmp_path / "all.kb").exists()
    assert cli("kb", "merge", birds, tmp_path, "--out", tmp_path / "all.kb").code == 2
    assert not (tmp_path / "all.kb").exists()


def test_a_merge_of_two_contents_under_one_id_is_in_part(cli, birds, tmp_path) -> None:
    source = tmp_path / "d.jsonl"
    source.write_text('{"id": "stork", "text": "another stork"}\n')
    cli("kb", "build", source, "--out", tmp_path / "b.kb")
    done = cli("kb", "merge", birds, tmp_path / "b.kb", "--out", tmp_path / "all.kb", "--json")
    assert (done.code, done.json["refused"], done.json["documents"]) == (4, ["stork"], 3)


def test_a_copy_within_the_knowledge_base_is_refused(cli, birds) -> None:
    done = cli("kb", "snapshot", birds, birds / "segments" / "copy")
    assert done.code == 2 and "outside" in done.err


def test_who_writes_is_told_before_the_source_is_read(cli, birds, tmp_path, loads) -> None:
    source = tmp_path / "d.jsonl"
    source.write_text('{"id": "a", "text": "x"}\n')
    with KnowledgeBase.open(birds) as kb, kb.store.hold_writer_lock():
        for verb in ("build", "add", "sync"):
            done = cli("kb", verb, source, "--out", birds)
            assert done.code == 1 and "writ" in done.err and loads == [], verb
            assert "1 documents" not in done.err
    mismatch = cli("kb", "build", source, "--out", birds, "--codes-only")
    assert mismatch.code == 2 and "1 documents" not in mismatch.err


@pytest.mark.parametrize(
    "wrong",
    [
        lambda kb: kb.search("puffins", 1),
        lambda kb: kb.add({"id": "a", "text": "x"}),
        lambda kb: kb.add("docs.jsonl"),
        lambda kb: kb.list(limit=-1),
    ],
)
def test_what_python_cannot_mean(birds, encoder, wrong) -> None:
    with KnowledgeBase.open(birds, encoder) as kb, pytest.raises(UsageError):
        wrong(kb)
