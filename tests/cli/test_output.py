"""What is printed cannot steer a terminal, lines up, and stays valid JSON."""

import json

from rag_vqa.cli import demo, output, progress
from rag_vqa.types import Document, Hit, Passage


def test_json_is_valid_and_free_of_what_a_terminal_obeys(capsys) -> None:
    value = {"text": "é \x1b \x9b \u202e \U000e0041 \ud800 日"}
    output.print_json(value)
    printed = capsys.readouterr().out
    assert json.loads(printed) == value
    assert not set("\x1b\x9b\u202e\U000e0041\ud800") & set(printed)
    assert "é" in printed


def test_evidence_has_the_prompts_numbers(capsys) -> None:
    first, second = (
        Hit(Document(name), Passage(name, 0, ""), rank, 2.0) for rank, name in enumerate("ab", 1)
    )
    output.print_hits([first, second], kept=[second])
    assert capsys.readouterr().out == "    a    2.00  not read\n[1] b    2.00\n"
    output.print_hits([first, second])
    assert capsys.readouterr().out == "[1] a    2.00\n[2] b    2.00\n"


def test_shown_metadata_and_the_cited_page_stand_below_a_hit(capsys) -> None:
    manual = Document(
        "m", title="Pump", url="pump.pdf#page=12", metadata={"page": 12, "file": "pump.pdf"}
    )
    shown = (("artist", "\x1b[2J Li"), ("note", "word " * 30), ("year", "1650"))
    output.print_hits([Hit(manual, Passage("m", 0, ""), 1, 2.0, shown=shown)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["[1] Pump    2.00", "    page 12 of pump.pdf"]
    assert lines[2].startswith("    artist: \\x1b[2J Li · note: word")
    assert lines[-1].endswith("· year: 1650")
    assert all(line.startswith("    ") and len(line) <= 80 for line in lines[1:])


def test_a_page_is_cited_by_its_address_if_the_web_has_it() -> None:
    def cite(url: str = "", **metadata) -> str:
        return output.cite_page(Document("d", url=url, metadata=metadata))

    assert cite("https://a.example/p.pdf#page=3", page=3, file="p.pdf") == (
        "page 3 of https://a.example/p.pdf#page=3"
    )
    assert cite("javascript:alert(1)", page=3, file="p.pdf") == "page 3 of p.pdf"
    assert cite(page=3) == "page 3"
    assert cite(page=True, file="p.pdf") == cite(file="p.pdf") == cite(page="3") == ""


def test_plain_progress_says_rate_and_time_left(capsys) -> None:
    with progress.progress("encode", 10) as advance:
        advance(10)
    err = capsys.readouterr().err
    assert err.startswith("encode  10/10  ")
    assert "\x1b" not in err
    with progress.progress("encode", 10, quiet=True) as advance:
        advance(10)
    assert capsys.readouterr().err == ""


def test_the_evaluation_becomes_tables() -> None:
    result = {
        "retrieval": {"both": {"recall@1": 0.9, "recall@5": 1.0, "n": 1200, "ci95": [0.85, 0.95]}},
        "answers": {"nf4": {"k=0": {"accuracy": 0.05, "n": 10, "ci95": [0.0, 0.1]}}},
        "unknown": {"no flag": {"rate": 0.97, "n": 30}},
    }
    text = demo.evaluation_tables(result)
    for cell in ("0.900", "1.000", "0.850 – 0.950", "1,200", "nf4", "k=0", "0.050", "no flag"):
        assert cell in text
