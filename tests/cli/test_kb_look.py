"""kb list, show, stats, verify, delete, compact, snapshot: what they print and how they end."""

import pytest
from PIL import Image

from rag_vqa.checkpoints import model_source
from rag_vqa.cli import kb_show
from rag_vqa.errors import UsageError
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import token_counter
from rag_vqa.retriever.modeling.configuration import RetConfig
from rag_vqa.retriever.modeling.processor import RetProcessor
from rag_vqa.retriever.modeling.token_counter import find_token_counter


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


def test_tokens_are_counted_as_the_retriever_counts_them() -> None:
    count = find_token_counter("demo", None, {})
    processor = RetProcessor.load(
        model_source("demo", "retriever"),
        RetConfig.from_pretrained(model_source("demo", "retriever")),
    )
    assert count is not None
    for text in ("", "White stork · Breeding\nIt nests.", "naïve 日本 👩‍🚀", "word " * 500):
        assert count(text) == processor.count_tokens(text)
    assert find_token_counter("no/such-model", None, {}) is None
    assert find_token_counter("/no/such/folder", None, {"tokenizer": "/none"}) is None


def test_show_counts_tokens(cli, birds, monkeypatch) -> None:
    monkeypatch.setattr(
        token_counter, "find_token_counter", lambda *made: lambda text: len(text.split())
    )
    [passage] = cli("kb", "show", birds, "stork", "--json").json["passages"]
    assert passage["tokens"] == 10
    assert (
        "1 passage · 10 tokens\n\npassage 0 · 10 tokens\n" in cli("kb", "show", birds, "stork").out
    )


def test_show_without_the_tokenizer_counts_none(cli, birds) -> None:
    assert [p["tokens"] for p in cli("kb", "show", birds, "stork", "--json").json["passages"]] == [
        None
    ]
    assert "passage 0\n" in cli("kb", "show", birds, "stork").out


def test_show_names_the_picture_of_a_passage(cli, birds, encoder, tmp_path) -> None:
    Image.new("RGB", (8, 6), "red").save(tmp_path / "p.png")
    with KnowledgeBase.open(birds, encoder) as kb:
        kb.add([{"id": "pictured", "text": "x", "image": str(tmp_path / "p.png")}])
        [kept] = kb.get("pictured").images
    out = cli("kb", "show", birds, "pictured").out
    assert f"passage 0 · picture {kept.name[:8]}, 8 × 6, 0 kB" in out
    kept.write_bytes(b"no picture")
    assert "a picture that cannot be read" in cli("kb", "show", birds, "pictured").out


@pytest.fixture
def manual(birds, encoder):
    section = {"parent": "pump", "title": "Pump", "text": "Switch it off."}
    with KnowledgeBase.open(birds, encoder) as kb:
        kb.add([
            {"id": "pump#safety", "section": "Safety", "metadata": {"page": 2}, **section},
            {"id": "pump#care/oil", "section": "Care · Oil", **section},
            {"id": "pumpkin", "text": "A fruit."},
        ])  # fmt: skip
    return birds


def test_show_lists_the_sections_of_a_document(cli, manual, encoder) -> None:
    out = cli("kb", "show", manual, "pump").out.splitlines()
    assert out == [
        "id: pump (a document of 2 sections)", "", "2 sections",
        "pump#safety", "  Safety · page 2 · 1 passage",
        "pump#care/oil", "  Care · Oil · 1 passage",
    ]  # fmt: skip
    parts = cli("kb", "show", manual, "pump", "--json").json["documents"]
    assert [part["id"] for part in parts] == ["pump#safety", "pump#care/oil"]
    assert parts[0]["passages"][0]["text"] == "Pump · Safety\nSwitch it off."
    with KnowledgeBase.open(manual, encoder) as kb:
        kb.add([{"id": "pump", "title": "Pump", "text": "Read this first."}])
    own = cli("kb", "show", manual, "pump", "--json").json
    assert own["text"] == "Read this first."
    assert own["sections"] == ["pump#safety", "pump#care/oil"]
    assert "2 sections" in cli("kb", "show", manual, "pump").out


def test_show_suggests_an_id(cli, manual) -> None:
    assert "Did you mean 'pump#safety'?" in cli("kb", "show", manual, "pump#safty").err


def test_show_is_bounded_on_a_terminal(cli, manual, encoder, monkeypatch) -> None:
    long = " ".join(f"Sentence number {n} is about pumps." for n in range(900))
    with KnowledgeBase.open(manual, encoder) as kb:
        kb.add([{"id": "long", "title": "Long", "text": long}])
    assert "Sentence number 899" in cli("kb", "show", manual, "long").out
    monkeypatch.setattr(kb_show, "_is_terminal", lambda: True)
    lines = cli("kb", "show", manual, "long").out.splitlines()
    assert len(lines) <= 45 and max(map(len, lines)) <= 80
    assert lines[-1].startswith("… and ") and lines[-1].endswith("more passages: --json shows all")


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
