"""Files of benchmarks as sources of pairs: what is right, what is wrong, where pictures lie."""

import json
from pathlib import Path

import question_files
from pair_files import lines, opened, pairs_of, picture

from rag_vqa.retriever.training.training_pairs import Item


def test_m2kr_in_the_form_of_the_release(tmp_path: Path) -> None:
    picture(tmp_path / "q" / "a.png")
    picture(tmp_path / "p" / "b.png")
    lines(
        tmp_path / "oven_train.jsonl",
        {"data_id": "o1", "instruction": "Name it.", "question": "What is it?",
         "image_path": "a.png", "passage_id": ["p1", "p2"], "passage_text": "gold"},
        {"data_id": 2, "instruction": "Describe.", "question": None, "image_path": "a.png",
         "passage_id": "p2"},
    )  # fmt: skip
    lines(
        tmp_path / "passages.jsonl",
        {"passage_id": "p1", "passage_text": "one", "passage_image_path": None},
        {"passage_id": "p2", "passage_text": None, "passage_image_path": "b.png"},
        {"passage_id": "p3", "passage_text": "asked for by nobody", "passage_image_path": None},
    )
    source = opened(
        tmp_path, format="m2kr", questions=tmp_path, task="oven", images=tmp_path / "q",
        documents=tmp_path / "passages.jsonl", document_images=tmp_path / "p",
    )  # fmt: skip
    assert (source.counts["rows"], source.counts["documents"]) == (2, 2)
    second, first = pairs_of(source)
    assert first.query == Item("Name it. What is it?", str(tmp_path / "q" / "a.png"))
    assert set(first.positives) == {"p1", "p2"}
    assert second.query.text == "Describe."
    assert second.passage == Item("", str(tmp_path / "p" / "b.png"), "p2")


def test_m2kr_in_the_form_of_its_authors(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [{"question_id": "k1", "question": "Who?", "img_path": None, "instruction": "Say.",
             "pos_item_ids": ["w1"], "answers": ["x"]}]  # fmt: skip
    (tmp_path / "KVQA_data").mkdir()
    parquet.write_table(
        pyarrow.Table.from_pylist(rows), tmp_path / "KVQA_data" / "train-00000.parquet"
    )
    passages = [{"passage_id": "w1", "passage_content": "text of w1"}]
    parquet.write_table(pyarrow.Table.from_pylist(passages), tmp_path / "passages.parquet")
    source = opened(
        tmp_path, format="m2kr", questions=tmp_path, task="kvqa",
        documents=tmp_path / "passages.parquet",
    )  # fmt: skip
    (pair,) = source.draw(0, [0])
    assert (pair.query, pair.passage) == (Item("Say. Who?"), Item("text of w1", None, "w1"))


def test_mbeir_with_its_negatives(tmp_path: Path) -> None:
    picture(tmp_path / "mbeir_images" / "a.jpg")
    lines(
        tmp_path / "query" / "train" / "mbeir_cirr_task7_train.jsonl",
        {"qid": "7:1", "query_txt": "in red", "query_img_path": "mbeir_images/a.jpg",
         "query_modality": "image,text", "query_src_content": None,
         "pos_cand_list": ["7:2"], "neg_cand_list": ["7:3", "7:2"]},
    )  # fmt: skip
    pool = lines(
        tmp_path / "cand_pool" / "local" / "mbeir_cirr_task7_cand_pool.jsonl",
        *({"did": did, "txt": None, "img_path": "mbeir_images/a.jpg", "modality": "image",
           "src_content": None} for did in ("7:2", "7:3")),
    )  # fmt: skip
    source = opened(
        tmp_path, format="mbeir", questions=tmp_path, task="cirr_task7", documents=pool,
        images=tmp_path, document_images=tmp_path, hard=1,
    )  # fmt: skip
    (pair,) = source.draw(0, [0])
    image = str(tmp_path / "mbeir_images" / "a.jpg")
    assert pair.query == Item("in red", image)
    assert (pair.passage.id, [item.id for item in pair.negatives]) == ("7:2", ["7:3"])
    assert source.counts["negatives that are right"] == 1


def test_infoseek_by_the_entity(tmp_path: Path) -> None:
    question_files.infoseek(tmp_path, question_files.ASKED)
    picture(tmp_path / "oven_images" / "04" / "oven_04990048.png")
    pages = lines(
        tmp_path / "wiki.jsonl",
        {"wikidata_id": "Q0", "wikipedia_title": "Engine", "wikipedia_content": "It burns."},
    )
    source = opened(tmp_path, format="infoseek", questions=tmp_path, split="val", documents=pages)
    (pair,) = source.draw(0, [0])
    assert pair.query.text == "Who invented it?" and pair.query.image is not None
    assert pair.passage == Item("Engine\nIt burns.", None, "Q0")


def test_evqa_by_the_page(tmp_path: Path) -> None:
    question_files.evqa(
        tmp_path,
        {},
        {
            "wikipedia_url": "https://w/a|https://w/b",
            "evidence_section_id": "1|0",
            "question_type": "2_hop",
        },
    )
    mark = question_files.LANDMARK
    picture(tmp_path / "landmarks" / "train" / "0" / "a" / "1" / f"{mark}.png").rename(
        tmp_path / "landmarks" / "train" / "0" / "a" / "1" / f"{mark}.jpg"
    )
    pages = {
        f"https://w/{name}": {
            "title": name, "section_titles": ["x"], "section_texts": [f"text of {name}"],
            "image_urls": [], "image_reference_descriptions": [], "image_section_indices": [],
            "url": f"https://w/{name}",
        }
        for name in "ab"
    }  # fmt: skip
    (tmp_path / "kb.json").write_text(json.dumps(pages))
    source = opened(
        tmp_path, format="evqa", questions=tmp_path, split="test", documents=tmp_path / "kb.json"
    )
    one, two = pairs_of(source)
    assert one.passage.id == "https://w/a" and "text of a" in one.passage.text
    assert {"https://w/a", "https://w/b"} <= set(two.positives)
