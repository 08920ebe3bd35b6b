"""kb build, add and sync over sources: the survey, the preview, the result."""

import json

import pytest
from PIL import Image

from rag_vqa.errors import UsageError
from rag_vqa.jobs.document_source import Shard
from rag_vqa.retriever.knowledge_base import KnowledgeBase


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "museum.csv"
    path.write_text(
        "inv_no,title,description,year\n"
        'A1,Vase,"A blue vase, with cranes.",1780\n'
        "A2,Bowl,A bowl of jade.,1650\n"
        "A3,Cup,A silver cup.,1901\n"
        "A4,Plate,A plate.,1902\n"
    )
    return path


MAPPED = ("--map", "id=inv_no", "--map", "text=description")


def test_csv_by_columns(cli, table, tmp_path) -> None:
    out = tmp_path / "m.kb"
    done = cli("kb", "build", table, "--out", out, *MAPPED)
    assert (done.code, done.out) == (0, "")
    assert "4 documents (csv)" in done.err and "metadata: year" in done.err
    found = cli("search", out, "Vase A blue vase, with cranes.", "-k", 1, "--json").json[0]
    assert (found["id"], found["title"], found["metadata"]) == ("A1", "Vase", {"year": 1780})


def test_a_dry_run_shows_the_first_documents_and_builds_nothing(cli, table, tmp_path) -> None:
    out = tmp_path / "m.kb"
    done = cli("kb", "build", table, "--out", out, *MAPPED, "--dry-run")
    assert done.code == 0 and not out.exists()
    assert done.out.splitlines()[:5] == [
        "fields: id ← inv_no · text ← description · title",
        "A1 · Vase",
        "  text: A blue vase, with cranes.",
        "  metadata: year=1780",
        "  passage 0 · 8 tokens: Vase A blue vase, with cranes.",
    ]


def test_a_dry_run_prints_at_most_40_lines(cli, tmp_path) -> None:
    wide = {f"column {n}": [{"nested": n}, "word", 7][n % 3] for n in range(90)}
    rows = [
        {
            "id": f"d{n}",
            "title": "T" * 300,
            "text": "слово и ещё " * 900,
            "image": f"none{n}.png",
            **wide,
        }
        for n in range(20)
    ]
    source = jsonl(tmp_path / "docs.jsonl", [*rows, rows[0], {}, {"id": 7.5, "text": ["x", {}]}])
    (tmp_path / "none19.png").write_bytes(b"one of the pictures is there")
    out = tmp_path / "m.kb"
    done = cli("kb", "build", source, "--out", out, "--text", "{title} {text}", "--dry-run")
    lines = done.out.splitlines()
    assert done.code == 0 and not out.exists()
    assert 15 <= len(lines) + len(done.err.splitlines()) <= 40
    assert max(map(len, lines)) < 80 and max(map(len, done.err.splitlines())) <= 240
    for named in (
        "refused: line 22: the id is missing",
        "missing picture: ",
        "text ← {title} {text}",
        "d0 · TTT",
        "a picture that cannot be read (none0.png: ",
        "more passages",
    ):
        assert named in done.out
    assert "20 documents repeat" not in done.err and "shown to readers: column 1" in done.err


def test_a_dry_run_as_json(cli, table, tmp_path) -> None:
    done = cli("kb", "build", table, "--out", tmp_path / "m.kb", *MAPPED, "--dry-run", "--json")
    assert done.json["preview"][1] == "A1 · Vase"


def test_a_dry_run_describes_pictures_and_what_would_be_refused(cli, tmp_path) -> None:
    Image.new("RGB", (8, 6), "red").save(tmp_path / "p.png")
    rows = [{"id": "a", "text": "Alpha.", "image": "p.png"}, {"id": "b", "title": "Nothing"}]
    source = jsonl(tmp_path / "docs.jsonl", rows)
    done = cli("kb", "build", source, "--out", tmp_path / "m.kb", "--dry-run")
    assert "passage 0 · 3 tokens · picture " in done.out and ", 8 × 6, 0 kB: Alpha." in done.out
    assert "b · Nothing\n  no text\n  refused: it has neither text nor image" in done.out
    assert "\x1b" not in done.out


def test_a_column_that_is_not_there(cli, table, tmp_path, loads) -> None:
    done = cli("kb", "build", table, "--out", tmp_path / "m.kb", "--map", "id=inv_nr")
    assert (done.code, loads) == (2, [])
    assert "inv_no" in done.err and len(done.err.splitlines()) == 1


def test_what_a_source_holds_is_said(cli, tmp_path) -> None:
    rows = [{"id": f"d{n}", "text": "слово и ещё несколько слов " * 5} for n in range(10)]
    rows += [rows[0], {"id": "p", "text": "x", "image": "none.png"}]
    source = jsonl(tmp_path / "docs.jsonl", rows)
    done = cli("kb", "build", source, "--out", tmp_path / "d.kb")
    assert "12 documents (jsonl) · 1 with image (1 missing → " in done.err
    assert "1 documents repeat an earlier id: the first one stays" in done.err
    assert "look non-English, for instance d0" in done.err


@pytest.mark.parametrize("shard", [None, "2/2"])
def test_a_bad_last_line_is_written_down(cli, tmp_path, shard) -> None:
    source = jsonl(tmp_path / "docs.jsonl", [{"id": f"d{n}", "text": "x"} for n in range(4)])
    with source.open("a") as file:
        file.write("broken\n")
    out = tmp_path / "d.kb"
    done = cli("kb", "build", source, "--out", out, *(("--shard", shard) if shard else ()))
    assert "1 refused" in done.err.splitlines()[-2]
    assert json.loads((out / "rejects.jsonl").read_text())["line"] == 5


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_each_part_tells_what_it_refuses_itself(cli, tmp_path, count) -> None:
    """Of bad lines before, between and behind documents, each is told once in all; a part's own
    lie among its documents."""
    good = [json.dumps({"id": f"d{n}", "text": "x"}) for n in range(6)]
    lines = ["broken"]
    for line in good:
        lines += [line, "broken"]
    source = tmp_path / "docs.jsonl"
    source.write_text("".join(line + "\n" for line in lines))
    told = []
    for number in range(1, count + 1):
        out = tmp_path / f"{number}.kb"
        cli("kb", "build", source, "--out", out, "--shard", f"{number}/{count}")
        told.append(
            [json.loads(row)["line"] for row in (out / "rejects.jsonl").read_text().splitlines()]
        )
        built = [row["id"] for row in cli("kb", "list", out, "--json").json]
        if number < count:  # line 2n + 2 is document n; the bad line before it is its own
            assert told[-1] == [2 * int(name[1:]) + 1 for name in built]
    assert [line for part in told for line in part] == [1, 3, 5, 7, 9, 11, 13]


@pytest.mark.parametrize(("total", "count"), [(10, 3), (3, 5), (0, 2), (7, 1)])
def test_shards_are_runs_that_together_are_all(total, count) -> None:
    parts = [Shard(number, count) for number in range(1, count + 1)]
    taken = [list(part.select(iter(range(total)), total)) for part in parts]
    assert [x for part in taken for x in part] == list(range(total))
    assert [len(part) for part in taken] == [part.size(total) for part in parts]


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_shards_that_cannot_be_meant(text) -> None:
    with pytest.raises(UsageError, match="--shard"):
        Shard.parse(text)


def test_parts_merged_are_what_one_build_makes(cli, tmp_path, encoder) -> None:
    rows = [{"id": f"d{n}", "text": f"document number {n}"} for n in range(11)]
    source = jsonl(tmp_path / "docs.jsonl", rows)
    assert cli("kb", "build", source, "--out", tmp_path / "one.kb").code == 0
    parts = [tmp_path / f"part{n}.kb" for n in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        assert cli("kb", "build", source, "--out", part, "--shard", f"{number}/3").code == 0
    merged = cli("kb", "merge", *parts, "--out", tmp_path / "all.kb", "--json").json
    assert merged["documents"] == 11
    one, all_ = (cli("kb", "list", tmp_path / name, "--json").json for name in ("one.kb", "all.kb"))
    assert one == all_
    for question in ("document number 3", "number 10"):
        hits = [
            [
                (hit["id"], hit["score"])
                for hit in cli("search", tmp_path / name, question, "--json").json
            ]
            for name in ("one.kb", "all.kb")
        ]
        assert hits[0] == hits[1]
    again = cli("kb", "merge", *parts, "--out", tmp_path / "all.kb", "--json").json
    assert (again["added"], again["documents"]) == (0, 11)


def test_sync_says_and_does_what_changed(cli, tmp_path, encoder, loads) -> None:
    out = tmp_path / "d.kb"
    rows = [{"id": f"d{n}", "text": f"document number {n}"} for n in range(40)]
    source = jsonl(tmp_path / "docs.jsonl", rows)
    cli("kb", "build", source, "--out", out)
    loads.clear()
    rows[0]["metadata"] = {"lang": "en"}
    jsonl(source, rows)
    done = cli("kb", "sync", source, "--out", out, "--json").json
    assert (done["changed"], done["unchanged"], done["encoded"]) == (1, 39, 0)
    assert loads == []  # metadata alone encodes nothing
    rows[1]["text"] = "another text"
    changed = [*rows[:39], {"id": "new", "text": "a new one"}]
    jsonl(source, changed)
    dry = cli("kb", "sync", source, "--out", out, "--dry-run", "--json").json
    assert dry["dry_run"] and dry["documents"] == 40
    done = cli("kb", "sync", source, "--out", out, "--json").json
    assert [done[x] for x in ("added", "changed", "deleted", "unchanged", "encoded")] == [
        1, 1, 1, 38, 2,
    ]  # fmt: skip
    assert [dry[x] for x in ("added", "changed", "deleted", "unchanged")] == [1, 1, 1, 38]
    assert done["documents"] == 40
    with KnowledgeBase.open(out, encoder) as kb:
        assert kb.get("d39") is None and kb.get("new") is not None


def test_a_rash_sync_deletes_nothing_without_force(cli, tmp_path) -> None:
    out = tmp_path / "d.kb"
    rows = [{"id": f"d{n}", "text": f"document number {n}"} for n in range(40)]
    source = jsonl(tmp_path / "docs.jsonl", rows)
    cli("kb", "build", source, "--out", out)
    jsonl(source, rows[:30])
    done = cli("kb", "sync", source, "--out", out)
    assert done.code == 2 and "--force" in done.err and "10 of 40" in done.err
    assert cli("kb", "stats", out, "--json").json["documents"] == 40
    assert cli("kb", "sync", source, "--out", out, "--force", "--json").json["deleted"] == 10


def test_a_source_that_was_cut_deletes_nothing(cli, tmp_path) -> None:
    out = tmp_path / "d.kb"
    rows = [{"id": f"d{n}", "text": f"document number {n}"} for n in range(100)]
    source = jsonl(tmp_path / "docs.jsonl", rows)
    cli("kb", "build", source, "--out", out)
    jsonl(source, rows[:97])
    with source.open("a") as file:
        file.write('{"id": "d9')
    done = cli("kb", "sync", source, "--out", out)
    assert done.code == 4 and "3 documents are not in the source and were kept" in done.err
    assert cli("kb", "stats", out, "--json").json["documents"] == 100
    assert (out / "rejects.jsonl").read_text().count("\n") == 1


def test_a_filter_finds_what_the_table_said(cli, tmp_path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("id,text,code,flag,year\na,x,007,true,1990\nb,y,7,false,12.10\n")
    out = tmp_path / "t.kb"
    cli("kb", "build", table, "--out", out)
    for condition, found in {
        "code=007": "a", "code=7": "b", "flag=true": "a", "year=1990": "a", "year=12.10": "b",
    }.items():  # fmt: skip
        listed = cli("kb", "list", out, "--where", condition, "--json").json
        assert [document["id"] for document in listed] == [found], condition
    assert cli("kb", "list", out, "--where", "year='1990'", "--json").json == []


def test_add_goes_into_what_is_there(cli, birds, tmp_path) -> None:
    source = jsonl(tmp_path / "more.jsonl", [{"id": "auk", "text": "auks dive"}])
    done = cli("kb", "add", source, "--out", birds, "--json").json
    assert (done["added"], done["documents"]) == (1, 4)
    missing = cli("kb", "add", source, "--out", tmp_path / "none.kb")
    assert missing.code == 2 and "kb build" in missing.err


def test_codes_alone_and_unsplit(cli, table, tmp_path) -> None:
    out = tmp_path / "m.kb"
    done = cli("kb", "build", table, "--out", out, *MAPPED, "--codes-only", "--split", "none")
    assert done.code == 0
    stats = cli("kb", "stats", out, "--json").json
    assert (stats["keep_tokens"], stats["splitting"]) == (False, "none-1")
    assert cli("search", out, "Cup A silver cup.", "-k", 1, "--json").json[0]["id"] == "A3"
    wrong = cli("kb", "build", table, "--out", tmp_path / "n.kb", "--split", "page")
    assert wrong.code == 2
