"""Builds stop before a mistake: pictures that lie elsewhere, and another source than before."""

import json
from pathlib import Path

import pytest
from PIL import Image

from rag_vqa.retriever.knowledge_base import KnowledgeBase


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of two pictures, and a folder beside it that contains them."""
    path = tmp_path / "in.csv"
    path.write_text("id,text,image\na,One.,a.png\nb,Two.,Bé.png\n", "utf-8")
    make_pictures(tmp_path / "photos 1" / "raw")
    return path


def make_pictures(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True)
    for name in names or ("a.png", "Bé.png"):
        Image.new("RGB", (8, 8), (200, 0, 0)).save(folder / name)


def stopped(cli, *words: object, out: Path) -> str:
    done = cli("kb", "build", *words, "--out", out)
    assert done.code == 2 and not (out / "kb.sqlite").exists()
    return done.err.splitlines()[-1]


def test_a_build_stops_if_no_picture_is_there(cli, table, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = stopped(cli, table, out=tmp_path / "o.kb")
    assert "in.csv names pictures ('a.png'), but none of 2 is in" in said
    assert said.endswith("They are in photos 1/raw: add --images 'photos 1/raw'")
    images = tmp_path / "photos 1" / "raw"
    done = cli("kb", "build", table, "--out", tmp_path / "o.kb", "--images", images, "--json")
    assert done.code == 0 and done.json["images"] == 2
    done = cli("kb", "build", table, "--out", tmp_path / "p.kb", "--map", "images=", "--json")
    assert done.code == 0 and (done.json["images"], done.json["added"]) == (0, 2)


def test_one_picture_that_is_there_is_enough(cli, table, tmp_path) -> None:
    (tmp_path / "a.png").write_bytes((tmp_path / "photos 1/raw/a.png").read_bytes())
    done = cli("kb", "build", table, "--out", tmp_path / "o.kb", "--json")
    assert done.code == 0 and (done.json["images"], done.json["missing_images"]) == (1, 1)


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        (("A.PNG", "x.jpg"), "They are in"),  # names match regardless of capitals
        (("elsewhere/a.png", "elsewhere/b.png"), "contains 'a.png', but the source names it 'else"),
        (("a", "b"), "contains 'a.png', but the source names it 'a'"),
        (("raw\\a.png", "raw\\b.png"), "They are in"),
        (("none.png", "nowhere.png"), "Give their folder: --images FOLDER"),
    ],
)
def test_what_is_advised(cli, table, tmp_path, names, advice) -> None:
    rows = [{"id": f"d{n}", "text": "x", "image": name} for n, name in enumerate(names)]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert advice in stopped(cli, source, out=tmp_path / "o.kb")


def test_the_folder_may_lie_beside_that_of_the_source(cli, table, tmp_path, monkeypatch) -> None:
    (tmp_path / "lists").mkdir()
    moved = table.rename(tmp_path / "lists" / "in.csv")
    monkeypatch.chdir(tmp_path / "lists")
    said = stopped(cli, moved, out=tmp_path / "o.kb")
    assert f"They are in {tmp_path.resolve()}/photos 1/raw" in said


def test_a_table_in_a_folder(cli, table, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path.parent)
    assert "add --images" in stopped(cli, tmp_path, out=tmp_path.parent / "o.kb")


def test_one_picture_of_many_documents(cli, tmp_path) -> None:
    source = tmp_path / "in.jsonl"
    rows = [{"id": "d", "text": "x", "image": "none.png"}, {"id": "e", "text": "y"}]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "none of 1 is in" in stopped(cli, source, out=tmp_path / "o.kb")


def test_what_is_no_mistake(cli, tmp_path) -> None:
    web = [{"id": f"d{n}", "text": "x", "image": f"https://a.org/{n}.png"} for n in range(2)]
    single = [{"id": "d", "text": "x", "images": ["none.png", "no.png"]}]
    for number, rows in enumerate((web, single)):
        source = tmp_path / f"{number}.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        out = tmp_path / f"{number}.kb"
        done = cli("kb", "build", source, "--out", out)
        assert done.code == 0
        assert len((out / "missing.csv").read_text().splitlines()) == 3


def test_kb_add_stops_too_and_sync_holds(cli, table, tmp_path) -> None:
    out = tmp_path / "o.kb"
    images = tmp_path / "photos 1" / "raw"
    assert cli("kb", "build", table, "--out", out, "--images", images).code == 0
    more = tmp_path / "more.csv"
    more.write_text("id,text,image\nc,Three.,c.png\nd,Four.,d.png\n")
    assert cli("kb", "add", more, "--out", out).code == 2
    done = cli("kb", "sync", table, "--out", out, "--json")
    assert done.code == 0 and done.json["held"] == 2
    with KnowledgeBase.open(out) as kb:
        assert [document.id for document in kb.documents()] == ["a", "b"]


def test_another_source_says_what_it_lacks(cli, tmp_path) -> None:
    out, first, second = tmp_path / "o.kb", tmp_path / "a.csv", tmp_path / "b.jsonl"
    first.write_text("id,text\n" + "".join(f"d{n},Text {n}.\n" for n in range(5)))
    second.write_text('{"id": "d0", "text": "Text 0."}\n{"id": "new", "text": "x"}\nno json\n')
    assert "kb sync" not in cli("kb", "build", first, "--out", out).err
    assert "kb sync" not in cli("kb", "build", first, "--out", out).err  # the same again
    done = cli("kb", "build", second, "--out", out)
    assert done.code == 4
    assert "contains 4 documents that are not in this source and will stay" in done.err
    assert f"rag-vqa kb sync {second} --out {out}" in done.err
    subset = tmp_path / "ids"
    subset.write_text("d0\n")
    assert "kb sync" not in cli("kb", "build", first, "--out", out, "--subset", subset).err
    assert "kb sync" not in cli("kb", "add", second, "--out", out).err


def test_a_refused_row_is_in_the_source(cli, tmp_path) -> None:
    out, source = tmp_path / "o.kb", tmp_path / "a.jsonl"
    source.write_text('{"id": "a", "text": "x"}\n{"id": "b", "text": "y"}\n')
    cli("kb", "build", source, "--out", out)
    source.write_text('{"id": "a", "text": "x"}\n{"id": "b", "text": {"no": "text"}}\n')
    done = cli("kb", "build", source, "--out", out)
    assert done.code == 4 and "kb sync" not in done.err
