"""Rows as hands and tools write them: what is taken, refused with its line, counted."""

import gzip
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from question_files import ASKED, NUMBER, evqa, infoseek, lines, picture

from rag_vqa.errors import BadInput, Missing
from rag_vqa.eval.benchmarks.evqa import inaturalist_file_names
from rag_vqa.formats.question_set import check_questions, open_questions

GOOD = {"id": "a", "question": "Who?"}


def test_what_is_skipped_is_counted_anew_each_time(tmp_path: Path) -> None:
    rows = [{"id": str(n), "question": "Who?", "image": f"{n}.jpg"} for n in range(3)]
    asked = open_questions("own", lines(tmp_path / "test.jsonl", *rows), missing="skip")
    picture(tmp_path / "1.jpg")
    for _ in range(2):
        assert [example.id for example in asked.examples()] == ["1"]
        assert asked.skipped_count == 2


@pytest.mark.parametrize(
    "change",
    [
        {"question_type": "2_hop", "wikipedia_url": "https://w/a|https://w/b"},
        {"evidence_section_id": "0|2"},
        {"evidence_section_id": "two"},
    ],
)
def test_an_evqa_row_of_odd_sections_is_taken_without_them(
    tmp_path: Path, change: dict[str, str]
) -> None:
    evqa(tmp_path, {}, change)
    plain, odd = open_questions("evqa", tmp_path, missing="text-only").examples()
    assert plain.oracle == ("https://w/a#2", "https://w/a")
    assert (
        odd.oracle == odd.relevant == tuple(change.get("wikipedia_url", "https://w/a").split("|"))
    )
    found = check_questions("evqa", tmp_path, missing="text-only")
    assert (found.found.questions, found.refused) == (2, ())
    ((remark, count),) = found.remarks.items()
    assert "without sections" in remark and count == 1


def test_a_check_lists_all_that_is_refused(tmp_path: Path) -> None:
    evqa(tmp_path, {}, {"question_type": "riddle"}, {"answer": ""}, {})
    found = check_questions("evqa", tmp_path, missing="text-only")
    assert found.found.questions == 2
    assert [reason.partition("test.csv, ")[2][:7] for reason in found.refused] == [
        "line 3:", "line 4:"]  # fmt: skip
    with pytest.raises(BadInput, match=r"line 3: question_type 'riddle'.*rag-vqa data check evqa"):
        list(open_questions("evqa", tmp_path, missing="text-only").examples())


def test_the_advice_to_check_again_has_all_options_quoted(tmp_path: Path) -> None:
    home, photos = tmp_path / "my set", tmp_path / "the photos"
    photos.mkdir()
    lines(home / "odd name.jsonl", {"data_id": "1", "question": "Who?", "image_path": "no.jpg",
                                    "passage_id": ["7"]})  # fmt: skip
    path = home / "odd name.jsonl"
    with pytest.raises(Missing) as error:
        list(open_questions("m2kr", path, task="oven", images=photos).examples())
    said = shlex.split(str(error.value).partition("List all that is missing: ")[2])
    assert said == ["rag-vqa", "data", "check", "m2kr", str(path), "--images", str(photos),
                    "--split", "test", "--task", "oven", "--missing", "fail"]  # fmt: skip
    check_questions("m2kr", path, task="oven", images=photos, missing="skip")
    picture(photos / "no.jpg")
    with pytest.raises(BadInput, match="appeared since") as changed:
        list(open_questions("m2kr", path, task="oven").examples())
    assert f"--images '{photos}'" in str(changed.value)
    assert str(changed.value).endswith("--missing skip")
    lines(path, {"data_id": "2", "question": "Who?", "passage_id": ["7"]})
    with pytest.raises(BadInput, match="not the file that was checked") as other:
        open_questions("m2kr", path, task="oven")
    assert f"--images '{photos}'" in str(other.value)
    assert str(other.value).endswith("--missing skip")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**GOOD, "unanswerable": 1}, "unanswerable is 1, not true or false"),
        ({**GOOD, "unanswerable": 0}, "unanswerable is 0, not true or false"),
        ({**GOOD, "answers": ["half \ud800"]}, "half a character"),
        ({**GOOD, "document_ids": ["half \ud800"]}, "half a character"),
        ({**GOOD, "group": "half \ud800"}, "half a character"),
        ({"id": "a", "image": "a.jpg", "answers": ["x"]}, "an answer without a question"),
        ({"id": "a", "image": "a.jpg", "unanswerable": True}, "an answer without a question"),
    ],
)
def test_a_contradictory_own_row_is_refused(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    path = lines(tmp_path / "mine.jsonl", {**GOOD, "id": "first"}, row)
    with pytest.raises(BadInput, match=f"line 2: .*{said}"):
        list(open_questions("own", path, missing="text-only").examples())


@pytest.mark.parametrize("depth", [100, 900, 100_000])
def test_deep_nesting_is_refused_with_its_line(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(f'{{"id": {"[" * depth}{"]" * depth}, "question": "Who?"}}\n')
    (reason,) = check_questions("own", path).refused
    assert "mine.jsonl, line 1: " in reason and len(reason) < 300 + len(str(path))


def test_an_own_group_is_what_questions_share(tmp_path: Path) -> None:
    path = lines(tmp_path / "mine.jsonl", {**GOOD, "group": "FR", "image": "x.jpg"},
                 {**GOOD, "id": "b", "image": "x.jpg"}, {**GOOD, "id": "c"})  # fmt: skip
    found = open_questions("own", path, missing="text-only").examples()
    assert [example.group for example in found] == ["FR", "x.jpg", "c"]


@pytest.mark.parametrize("identity", [["a", "b"], [], None, ""])
def test_an_m2kr_query_has_one_id(tmp_path: Path, identity: object) -> None:
    row = {"data_id": identity, "question": "Who?", "passage_id": ["7"]}
    lines(tmp_path / "oven_test.jsonl", row)
    with pytest.raises(BadInput, match=r"oven_test\.jsonl, line 1: data_id is .*not one id"):
        list(open_questions("m2kr", tmp_path, task="oven").examples())


@pytest.mark.parametrize(
    ("asked", "accepted"),
    [
        (NUMBER, '[{"wikidata": 1, "range": [1, 1e999]}]'),
        (NUMBER, '[{"wikidata": 1, "range": [1, ' + "9" * 400 + "]}]"),
        (NUMBER, '[{"range": [[1], 2]}]'),
        (NUMBER, '["ninety"]'),
        (NUMBER, "[]"),
        (ASKED, '[{"wikidata": 1, "range": [1, 2]}]'),
    ],
)
def test_an_infoseek_row_that_could_not_be_scored_is_refused_before_a_run(
    tmp_path: Path, asked: dict[str, Any], accepted: str
) -> None:
    infoseek(tmp_path, asked)
    row = json.dumps({**asked, "answer_eval": None}).replace(
        '"answer_eval": null', f'"answer_eval": {accepted}'
    )
    (tmp_path / "infoseek_val.jsonl").write_text(row + "\n")
    with pytest.raises(BadInput, match=r"line 1: answer_eval is"):
        list(open_questions("infoseek", tmp_path, missing="text-only").examples())


def test_gzipped_questions_are_the_same(tmp_path: Path) -> None:
    plain = lines(tmp_path / "mine.jsonl", GOOD, {**GOOD, "id": "b", "answers": ["Ann"]})
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    asked = open_questions("own", packed)
    assert asked.split == "packed"
    assert list(asked.examples()) == list(open_questions("own", plain).examples())
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(BadInput, match=r"packed\.jsonl\.gz, line"):
        list(open_questions("own", packed).examples())


def test_a_list_of_inaturalist_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = json.dumps({"info": {}, "images": [{"id": n, "file_name": f"val/{n}.jpg"}
                                               for n in range(3)]})  # fmt: skip
    path = tmp_path / "val.json"
    path.write_text(whole)
    assert inaturalist_file_names(path, {"2"}) == {"2": "val/2.jpg"}
    end = whole.rindex("]")
    for cut in range(end + 1):
        path.write_text(whole[:cut])
        with pytest.raises(BadInput, match=r"val\.json"):
            inaturalist_file_names(path, {"2"})
