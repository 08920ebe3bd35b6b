"""--show: what a knowledge base shows beside title, section and text, from build to prompt."""

import json

import pytest
from source_files import WRITERS

from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.shown_metadata import read_record

MUSEUM = (
    "Inv,Title,Description,Artist,Year,Licence,Link\n"
    "A1,Vase,A blue vase.,Li Ming,1650,CC0,https://m.example/1\n"
    f"A2,Bowl,{'A bowl of jade. ' * 20},,1700,CC BY,https://m.example/2\n"
)
MAPPED = ("--map", "id=Inv", "--map", "text=Description")


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "museum.csv"
    path.write_text(MUSEUM)
    return path


@pytest.fixture
def museum(cli, table, tmp_path):
    """Builds a knowledge base with these options."""

    def build(*options, verb="build", source=table, out="m.kb"):
        done = cli("kb", verb, source, "--out", tmp_path / out, *options)
        assert done.code == 0, done.err
        return tmp_path / out, done.err

    return build


def shown(cli, kb, *options):
    """What the hits show, by id: as JSON, in the prompt, and on the terminal."""
    found = cli("search", kb, "vase", "--json", *options).json
    by_id = {hit["id"]: {pair["name"]: pair["value"] for pair in hit["shown"]} for hit in found}
    prompt = cli("prompt", "show", kb, "vase", *options).out
    terminal = cli("search", kb, "vase", *options).out
    for values in by_id.values():
        for name, value in values.items():
            assert f"{name}: {value}\n" in prompt and f"{name}: {value}" in terminal
    return by_id


def test_a_table_shows_its_short_texts_unless_others_are_named(cli, museum) -> None:
    kb, said = museum(*MAPPED)
    assert "shown to readers: Artist, Licence (short texts; choose with --show)" in said
    assert shown(cli, kb) == {
        "A1": {"Artist": "Li Ming", "Licence": "CC0"},
        "A2": {"Licence": "CC BY"},
    }
    assert cli("kb", "stats", kb, "--json").json["shown"] == ["Artist", "Licence"]
    assert "Artist, Licence" in cli("kb", "stats", kb).out
    assert shown(cli, kb, "--show", "YEAR,artist") == {
        "A1": {"Year": "1650", "Artist": "Li Ming"},
        "A2": {"Year": "1700"},
    }
    assert shown(cli, kb, "--show", "") == {"A1": {}, "A2": {}}
    assert shown(cli, kb, "--set", "metadata.show=Year")["A2"] == {"Year": "1700"}


def test_names_come_in_the_order_of_the_columns(cli, museum, table) -> None:
    first = "A0,Jar,A jar.,,,CC0,https://m.example/0\n"  # without an artist
    table.write_text(MUSEUM.replace("\n", f"\n{first}", 1))
    kb, _ = museum(*MAPPED)
    assert cli("kb", "stats", kb, "--json").json["shown"] == ["Artist", "Licence"]


def test_what_a_build_names_is_remembered(cli, museum, table, tmp_path) -> None:
    kb, said = museum(*MAPPED, "--show", "artist, year,colour,title")
    assert "shown to readers: Artist, Year, colour\n" in said
    assert "--show colour: no document has such metadata. Names: Artist, Year, Licence" in said
    assert shown(cli, kb)["A1"] == {"Artist": "Li Ming", "Year": "1650"}
    rows = [{"id": "B1", "text": "A red vase.", "colour": "red", "maker": "Ann"}]
    more = tmp_path / "more.jsonl"
    more.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, said = museum(verb="add", source=more)
    assert "shown to readers" not in said  # a person has chosen
    assert shown(cli, kb)["B1"] == {"colour": "red"}
    museum("--show", "maker", verb="add", source=more)
    assert shown(cli, kb)["B1"] == {"maker": "Ann"} and shown(cli, kb)["A1"] == {}


def test_names_that_a_build_chose_grow_with_what_is_added(cli, museum, tmp_path) -> None:
    kb, _ = museum(*MAPPED)
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps({"id": "B1", "text": "A red vase.", "maker": "Ann"}) + "\n")
    _, said = museum(verb="add", source=more)
    assert "shown to readers: Artist, Licence, maker (short" in said
    assert shown(cli, kb)["B1"] == {"maker": "Ann"}


def test_columns_of_the_text_are_not_shown_again(cli, museum) -> None:
    kb, said = museum("--map", "id=Inv", "--text", "{title}. {description} By {artist}.")
    assert "shown to readers: Licence (short" in said
    assert shown(cli, kb)["A1"] == {"Licence": "CC0"}
    found = cli("kb", "show", kb, "A1", "--json").json
    assert found["text"] == "Vase. A blue vase. By Li Ming."
    assert found["metadata"]["Artist"] == "Li Ming"  # it can still be filtered


def test_an_older_knowledge_base_and_a_benchmark_show_nothing(
    cli, museum, encoder, tmp_path
) -> None:
    with KnowledgeBase.create(tmp_path / "old.kb", encoder) as kb:
        kb.add([{"id": "o", "text": "An old vase.", "metadata": {"artist": "Li"}}])
    kb, said = museum(*MAPPED, out="old.kb")
    assert "shown to readers" not in said
    assert set(map(str, shown(cli, kb).values())) == {"{}"}
    for kind in ("evqa", "wiki6m", "m2kr", "mbeir"):
        source = WRITERS[kind](tmp_path, [("1", "A vase."), ("2", "A bowl.")])
        out = tmp_path / f"{kind}.kb"
        assert cli("kb", "build", source, "--out", out, "--kind", kind).code == 0, kind
        with KnowledgeBase.open(out) as made:
            assert read_record(made.store.db) is None, kind


def test_unknown_names_are_named_before_a_search(cli, museum) -> None:
    kb, _ = museum(*MAPPED)
    done = cli("search", kb, "vase", "--show", "artst,nothing,Link")
    assert done.code == 0
    assert "--show artst: no document has such metadata. Did you mean 'Artist'?" in done.err
    assert "--show nothing: no document has such metadata. Names: Artist, Licence" in done.err
    assert "Link: https://m.example/1" in done.out


def test_a_sync_follows_its_source(cli, museum, table) -> None:
    kb, _ = museum(*MAPPED)
    table.write_text(MUSEUM.replace("Licence", "Licence,Room").replace(",CC", ",3 West,CC"))
    done = cli("kb", "sync", table, "--out", kb, *MAPPED, "--dry-run")
    assert "Room" not in str(cli("kb", "stats", kb, "--json").json["shown"])
    done = cli("kb", "sync", table, "--out", kb, *MAPPED)
    assert done.code == 0
    assert cli("kb", "stats", kb, "--json").json["shown"] == ["Artist", "Licence", "Room"]


def test_a_document_does_not_show_the_author_of_its_file(cli, museum, tmp_path) -> None:
    docx = pytest.importorskip("docx")
    report = docx.Document()
    report.core_properties.author = "A. Writer"
    report.add_paragraph("Oak panel with a painted border.")
    report.save(tmp_path / "report.docx")
    kb, said = museum(source=tmp_path / "report.docx")
    assert "shown to readers" not in said
    assert shown(cli, kb, "--show", "author")["report"] == {"author": "A. Writer"}
