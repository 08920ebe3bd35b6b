"""Question files written out by hand, field for field as the benchmarks publish them.

InfoSeek: README of open-vision-language/infoseek. E-VQA: google-research, encyclopedic_vqa. M-BEIR,
M2KR, ReT-M2KR: cards of the data sets and aimagelab/ReT. Texts are invented.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from question_files import ASKED, LANDMARK, NUMBER, evqa, infoseek, lines, picture

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.formats.question_set import check_questions, open_questions


def test_infoseek_is_joined_by_id(tmp_path: Path) -> None:
    infoseek(tmp_path, ASKED, NUMBER)
    first = picture(tmp_path / "oven_images/04/oven_04990048.jpg")
    second = picture(tmp_path / "oven_images/05/oven_05020405.JPEG")
    asked = open_questions("infoseek", tmp_path)
    text, number = asked.examples()
    assert (asked.name, asked.split, asked.scorer) == ("infoseek", "val", "infoseek")
    assert (text.id, text.kind, text.split, text.relevant) == (
        "infoseek_val_00000000", "String", "unseen_question", ("Q0",))  # fmt: skip
    assert (text.query.text, text.query.image) == ("Who invented it?", first)
    assert (text.answers, text.references) == (("Carnot",), ("Carnot", "Sadi Carnot"))
    assert (number.kind, number.split, number.query.image) == ("Numerical", "unseen_entity", second)
    assert number.references == ({"wikidata": 90.0, "range": [81.0, 99.0]},)
    assert list(asked.examples()) == [text, number]


def test_infoseek_scores_with_the_references_given(tmp_path: Path) -> None:
    from rag_vqa.eval.infoseek import score_answer

    infoseek(tmp_path, ASKED, NUMBER)
    text, number = open_questions("infoseek", tmp_path, missing="text-only").examples()
    assert score_answer("the Sadi Carnot", list(text.references), text.kind) == 1
    assert [score_answer(p, list(number.references), number.kind) for p in ("82 km", "100")] == [
        1, 0]  # fmt: skip
    assert text.missing == "04/oven_04990048.jpg" and text.query.image is None


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([ASKED, ASKED], "line 2: the id 'infoseek_val_00000000' came before"),
        ([{**ASKED, "data_id": "other"}], "line 1: infoseek_val_qtype.jsonl has no line for"),
        ([{**ASKED, "image_id": "../x"}], "line 1: image_id '../x' is not an id of OVEN"),
        ([{**ASKED, "answer_eval": "Carnot"}], "line 1: answer_eval is 'Carnot'"),
        ([{**ASKED, "question": None}], "line 1: question is missing"),
        ([], "contains no questions"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, rows: list[dict[str, Any]], said: str) -> None:
    infoseek(tmp_path, *rows)
    with pytest.raises(BadInput, match=r"infoseek_val\.jsonl") as error:
        list(open_questions("infoseek", tmp_path, missing="skip").examples())
    assert said in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    infoseek(tmp_path, ASKED)
    (tmp_path / "infoseek_val_qtype.jsonl").unlink()
    with pytest.raises(Missing, match=r"infoseek_val_qtype\.jsonl is not there"):
        open_questions("infoseek", tmp_path)


def test_policies_for_a_missing_picture(tmp_path: Path) -> None:
    infoseek(tmp_path, ASKED, NUMBER)
    picture(tmp_path / "oven_images/05/oven_05020405.jpg")
    with pytest.raises(Missing, match=r"04/oven_04990048\.jpg is not there"):
        list(open_questions("infoseek", tmp_path).examples())
    kept = open_questions("infoseek", tmp_path, missing="skip").examples()
    assert [e.id for e in kept] == [NUMBER["data_id"]]
    with pytest.raises(UsageError, match="text-only"):
        open_questions("infoseek", tmp_path, missing="quietly")  # type: ignore[arg-type]


def test_evqa_pictures_sections_and_answers(tmp_path: Path) -> None:
    hops = {"question_type": "2_hop", "wikipedia_url": "https://w/a|https://w/b",
            "evidence_section_id": "0|3"}  # fmt: skip
    several = {"question_type": "multi_answer", "answer": "red&&blue|red",
               "dataset_name": "inaturalist", "dataset_image_ids": "17|18"}  # fmt: skip
    evqa(tmp_path, {}, hops, several, {"evidence_section_id": ""})
    landmark = picture(tmp_path / f"landmarks/train/0/a/1/{LANDMARK}.jpg")
    insect = picture(tmp_path / "inaturalist/val/00001_Animalia/x.jpg")
    known = [{"id": 9, "file_name": "val/y.jpg", "latitude": float("nan")},
             {"id": 17, "file_name": "val/00001_Animalia/x.jpg", "rights_holder": "{"}]  # fmt: skip
    (tmp_path / "inaturalist/val.json").write_text(json.dumps({"info": {}, "images": known}))
    plain, two, listed, bare = open_questions("evqa", tmp_path).examples()
    assert (plain.id, plain.query.text, plain.query.image) == (
        "evqa-test-000000", "Who built it?", landmark)  # fmt: skip
    assert (plain.references, plain.level) == (("Ann", "Ann Lee"), "parent")
    assert plain.oracle == ("https://w/a#2", "https://w/a")
    assert two.relevant == ("https://w/a", "https://w/b")
    assert two.oracle == ("https://w/a#0", "https://w/b#3", "https://w/a", "https://w/b")
    assert (listed.query.image, listed.references) == (insect, ("red&&blue", "red"))
    assert listed.answers == ("red", "blue")
    assert bare.oracle == ("https://w/a",)


def test_check_names_the_wrong_download(tmp_path: Path) -> None:
    evqa(tmp_path, {}, {"dataset_name": "inaturalist", "dataset_image_ids": "17"})
    picture(tmp_path / f"landmarks/index/0/a/1/{LANDMARK}.jpg")
    found = check_questions("evqa", tmp_path)
    assert (found.found.questions, found.found.with_picture) == (2, 0)
    assert f"landmarks/train/0/a/1/{LANDMARK}.jpg" in found.found.missing
    said = "\n".join(found.causes)
    assert "landmarks/index" in said and "train.json and val.json not there" in said


def test_a_run_uses_what_was_checked(tmp_path: Path) -> None:
    infoseek(tmp_path, ASKED, NUMBER)
    there = picture(tmp_path / "oven_images/05/oven_05020405.jpg")
    found = check_questions("infoseek", tmp_path, missing="skip")
    assert found.path == tmp_path / "rag-vqa.json" and "04 (1)" in found.causes[0]
    asked = open_questions("infoseek", tmp_path)
    assert asked.missing_policy == "skip" and len(list(asked.examples())) == 1
    there.unlink()
    with pytest.raises(BadInput, match="vanished since the data were checked"):
        list(asked.examples())
    infoseek(tmp_path, ASKED)
    with pytest.raises(BadInput, match=r"not the file that was checked.*rag-vqa data check"):
        open_questions("infoseek", tmp_path)


def test_ret_m2kr_and_m2kr(tmp_path: Path) -> None:
    row = {"data_id": "OVEN_1", "instruction": "Find it.", "question": "What is it?",
           "image_path": "a/b.jpg", "passage_id": ["7", "8"], "passage_text": "gold",
           "answer": ["Vase", {"wikidata": 3.0}]}  # fmt: skip
    alone = {**row, "data_id": "OVEN_2", "question": None, "passage_id": 9, "answer": None}
    lines(tmp_path / "oven_test.jsonl", row, alone)
    image = picture(tmp_path / "a/b.jpg")
    both, one = open_questions("m2kr", tmp_path, task="oven").examples()
    assert (both.query.instruction, both.query.text, both.query.image) == (
        "Find it.", "What is it?", image)  # fmt: skip
    assert (both.relevant, both.answers) == (("7", "8"), ("Vase",))
    assert (one.query.text, one.relevant, one.answers) == ("", ("9",), ())

    table = {"question_id": ["EVQA_1"], "question": ["Who?"], "img_path": ["a/b.jpg"],
             "image_id": ["b"], "instruction": ["Find it."], "pos_item_ids": [["7"]],
             "pos_item_contents": [["gold"]], "answers": [["Ann"]]}  # fmt: skip
    (tmp_path / "EVQA_data").mkdir()
    parquet.write_table(pa.table(table), tmp_path / "EVQA_data/test-00000-of-00001.parquet")
    asked = open_questions("m2kr", tmp_path, task="evqa")
    (only,) = asked.examples()
    assert (asked.name, only.id, only.relevant) == ("m2kr/evqa", "EVQA_1", ("7",))


def test_mbeir(tmp_path: Path) -> None:
    row = {"qid": "6:12", "query_txt": "What is it?", "query_img_path": "mbeir_images/v.jpg",
           "query_modality": "image,text", "query_src_content": None,
           "pos_cand_list": ["6:1"], "neg_cand_list": []}  # fmt: skip
    lines(tmp_path / "query/test/mbeir_oven_task6_test.jsonl", row)
    with pytest.raises(UsageError, match="Did you mean 'oven_task6'"):
        open_questions("mbeir", tmp_path, task="oven_task66")
    (only,) = open_questions("mbeir", tmp_path, task="oven_task6", missing="text-only").examples()
    assert (only.id, only.relevant, only.missing) == ("6:12", ("6:1",), "mbeir_images/v.jpg")


def test_own_sets_are_strict(tmp_path: Path) -> None:
    good = {"id": "a", "question": "Who?", "image": None, "answers": ["Ann"],
            "document_ids": ["d/1"]}  # fmt: skip
    path = lines(tmp_path / "mine.jsonl", good, {"id": "b", "question": "x", "unanswerable": True})
    first, second = open_questions("own", path).examples()
    assert (first.answers, first.relevant, second.unanswerable) == (("Ann",), ("d/1",), True)
    for bad, said in (({**good, "anwers": []}, "Did you mean 'answers'"),
                      ({**good, "unanswerable": True}, "unanswerable and has answers"),
                      ({"id": "a"}, "nothing to ask"),
                      ({**good, "image": "../x.jpg"}, "leads out")):  # fmt: skip
        with pytest.raises(BadInput, match=said):
            list(open_questions("own", lines(path, bad)).examples())
