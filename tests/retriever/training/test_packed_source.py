"""What a source draws: each row once an epoch, what is right for it, and negatives that are not."""

import itertools
import json
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pair_files import birds, lines, opened, picture

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.retriever.training.source_mixture import open_mixture
from rag_vqa.retriever.training.training_pairs import Item
from rag_vqa.retriever.training.training_settings import SourceSettings


def test_an_epoch_holds_each_row_once_with_its_document(tmp_path: Path) -> None:
    birds(tmp_path)
    source = opened(tmp_path)
    epochs = [source.draw(5, range(12 * epoch, 12 * epoch + 12)) for epoch in range(3)]
    for pairs in epochs:
        assert sorted(pair.name for pair in pairs) == sorted(f"pairs.jsonl:q{n}" for n in range(12))
        for pair in pairs:
            row = int(pair.name.split("q")[1])
            image = str(tmp_path / f"{row % 6}.png")
            assert pair.query == Item(f"where {row}", image)
            assert pair.passage == Item(f"bird\na {row % 6}", image, f"d{row % 6}")
            assert pair.positives == (f"d{row % 6}",) and pair.negatives == ()
    orders = {tuple(pair.name for pair in pairs) for pairs in epochs}
    assert len(orders) == 3
    assert source.draw(5, [30, 2]) == [epochs[2][6], epochs[0][2]]


def test_of_several_right_ones_each_is_drawn_and_all_are_known(tmp_path: Path) -> None:
    birds(tmp_path)
    lines(tmp_path / "pairs.jsonl", {"question": "a", "document_ids": ["d1", "d4", "not there"]})
    drawn = opened(tmp_path).draw(0, range(200))
    count = Counter(pair.passage.id for pair in drawn)
    assert set(count) == {"d1", "d4"} and min(count.values()) > 70  # 100 ± 4.2 σ
    assert all(set(pair.positives) == {"d1", "d4", "not there"} for pair in drawn)
    assert all(pair.positives[0] == pair.passage.id for pair in drawn)


def test_a_passage_in_the_row_is_one_passage_whoever_brings_it(tmp_path: Path) -> None:
    picture(tmp_path / "p.png")
    lines(
        tmp_path / "pairs.jsonl",
        {"question": "a", "document": {"text": "red", "image": "p.png"}},
        {"question": "b", "document": {"image": "p.png", "text": "red"},
         "negatives": [{"id": "own", "text": "blue"}]},
    )  # fmt: skip
    pairs = opened(tmp_path, documents=None, hard=1).draw(0, [0, 1])
    (first, second), names = pairs, {pair.name: pair for pair in pairs}
    assert first.passage == second.passage
    assert first.passage.text == "red" and first.passage.image == str(tmp_path / "p.png")
    assert names["pairs.jsonl:row 2"].negatives == (Item("blue", None, "own"),)
    assert names["pairs.jsonl:row 1"].negatives[0].id == "own"  # there is no other one


def test_instructions_are_drawn_and_replace_the_row_s_own(tmp_path: Path) -> None:
    birds(tmp_path)
    lines(tmp_path / "pairs.jsonl", {"question": "bird", "instruction": "own", "document": "d1"})
    assert opened(tmp_path).draw(0, [0])[0].query.text == "own bird"
    drawn = opened(tmp_path, instructions=("find", "look for")).draw(0, range(300))
    count = Counter(pair.query.text for pair in drawn)
    assert set(count) == {"find bird", "look for bird"} and min(count.values()) > 110  # ± 4.6 σ


def test_negatives_are_the_row_s_then_any_and_never_right(tmp_path: Path) -> None:
    birds(tmp_path)
    lines(
        tmp_path / "pairs.jsonl",
        {"id": "q", "question": "a", "document": "d0", "document_ids": ["d1"],
         "negatives": ["d1", "d2", "gone"]},
    )  # fmt: skip
    lines(tmp_path / "mined.jsonl", {"id": "q", "negatives": ["d0", "d3"]})
    source = opened(tmp_path, negatives=tmp_path / "mined.jsonl", hard=1)
    seen = Counter(source.draw(0, [place])[0].negatives[0].id for place in range(300))
    assert set(seen) == {"d2", "d3"} and min(seen.values()) > 110  # 150 ± 4.6 σ
    assert source.counts["negatives that are right"] == 2
    assert source.counts["negatives that are not there"] == 1
    both = opened(tmp_path, negatives=tmp_path / "mined.jsonl", hard=2)
    assert {item.id for item in both.draw(0, [7])[0].negatives} == {"d2", "d3"}
    with pytest.raises(BadInput, match=r"q: hard is 3, but only 2 documents"):
        opened(tmp_path, negatives=tmp_path / "mined.jsonl", hard=3).draw(0, [0])


def test_where_a_row_has_too_few_negatives_other_documents_fill_up(tmp_path: Path) -> None:
    birds(tmp_path)
    drawn = opened(tmp_path, hard=3).draw(0, range(240))
    seen: Counter[tuple[str, str]] = Counter()
    for pair in drawn:
        ids = [item.id for item in pair.negatives]
        assert len(set(ids)) == 3 and pair.passage.id not in ids
        seen.update((pair.passage.id, one) for one in ids)
    assert len(seen) == 6 * 5  # each of the others, for each


def test_a_picture_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    birds(tmp_path)
    picture(tmp_path.parent / "secret.png")
    (tmp_path / "link.png").symlink_to(tmp_path.parent / "secret.png")
    lines(
        tmp_path / "pairs.jsonl",
        {"question": "a", "document": {"text": "x", "image": "link.png"}},
    )
    with pytest.raises(BadInput, match="lies outside"):
        opened(tmp_path)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"question": "a"}, "no document is right"),
    ({"document": "d1"}, "neither question nor image"),
    ({"question": "a", "document": "d9"}, "its right document 'd9' is not among the documents"),
    ({"question": "a", "document": "d1", "image": "no.png"}, "no.png does not exist"),
    ({"question": "a", "document": "d1", "image": "../no.png"}, "leads out of its folder"),
    ({"question": "a", "document": {"title": "x"}}, "neither text nor image"),
    ({"question": "a", "document": {"text": "x", "image": "../0.png"}}, "0.png does not exist"),
    ({"question": "a", "document": 1.5}, "document is 1.5"),
    ({"question": "a", "documents": "d1"}, "unknown field 'documents'. Did you mean 'document'"),
    ({"question": "a", "document": "d1", "negatives": "d2"}, "negatives is 'd2', not a list"),
    ({"question": "a", "document": "d1", "id": "q0"}, "the id 'q0' came before"),
]


@pytest.mark.parametrize(("row", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_a_bad_row_stops_or_is_left_out_with_its_reason(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    path = birds(tmp_path)
    path.write_text(path.read_text() + json.dumps(row) + "\n")
    with pytest.raises(BadInput, match=reason) as error:
        opened(tmp_path)
    assert str(path) in str(error.value)
    # Nothing half is left.
    assert [left.name for left in (tmp_path / "packed").iterdir()] == ["writer.lock"]
    source = opened(tmp_path, on_bad="skip")
    assert len(source) == 12 and source.counts["refused"] >= 1
    told = (source.folder / "rejects.jsonl").read_text()
    assert json.dumps(reason).strip('"') in told


def test_of_two_documents_of_one_id_that_differ_the_first_is_kept(tmp_path: Path) -> None:
    birds(tmp_path)
    path, others = tmp_path / "documents.jsonl", [{"id": "d1", "text": "x"}, {"id": "d9"}] * 2
    path.write_text(path.read_text() * 2 + "".join(json.dumps(one) + "\n" for one in others))
    with pytest.raises(BadInput) as error:
        opened(tmp_path)
    assert f"{path}, line 13, document 'd1': an earlier document has this id" in str(error.value)
    source = opened(tmp_path, on_bad="skip")
    assert source.counts["documents"] == 6  # what came twice and is the same is one
    told = [json.loads(line) for line in (source.folder / "rejects.jsonl").read_text().splitlines()]
    assert [one["where"] for one in told if "earlier document" in one["reason"]] == [
        f"{path}, line {line}, document 'd1'" for line in (13, 15)
    ]
    passages = {pair.passage for pair in source.draw(0, range(12)) if pair.passage.id == "d1"}
    assert [one.text for one in passages] == ["bird\na 1"]


def test_two_lines_of_negatives_for_one_row_name_their_file(tmp_path: Path) -> None:
    birds(tmp_path)
    mined = [{"id": "q1", "negatives": [name]} for name in ("d2", "d3")]
    path = lines(tmp_path / "mined.jsonl", *mined)
    with pytest.raises(BadInput, match=r"mined\.jsonl: two different records have the id 'q1'"):
        opened(tmp_path, negatives=path)


def test_what_was_left_out_is_told(tmp_path: Path) -> None:
    path = birds(tmp_path)
    assert opened(tmp_path).summary == "pairs.jsonl: 12 rows, 6 documents"
    path.write_text(path.read_text() + json.dumps({"question": "a"}) + "\n")
    mined = lines(tmp_path / "mined.jsonl", {"id": "q1", "negatives": ["d1", "d2", "no", "nor"]})
    source = opened(tmp_path, negatives=mined, on_bad="skip")
    assert source.summary == (
        f"pairs.jsonl: 12 rows, 6 documents; left out: 1 refused, see {source.folder}/rejects.jsonl"
        ", 1 negatives that are right, 2 negatives that are not there"
    )


def test_what_is_not_there_is_told_before_anything_is_read(tmp_path: Path) -> None:
    birds(tmp_path)
    with pytest.raises(Missing, match=r"nothing\.jsonl"):
        opened(tmp_path, documents=tmp_path / "nothing.jsonl")
    with pytest.raises(Missing, match=r"no\.jsonl"):
        opened(tmp_path, questions=tmp_path / "no.jsonl")
    with pytest.raises(UsageError, match="Did you mean 'pairs'"):
        opened(tmp_path, format="pair")
    with pytest.raises(UsageError, match="needs `questions`"):
        opened(tmp_path, questions=None)
    lines(tmp_path / "negatives.jsonl", {"id": "q0"})
    with pytest.raises(BadInput, match=r"negatives\.jsonl, line 1"):
        opened(tmp_path, negatives=tmp_path / "negatives.jsonl")


def test_packed_once_and_again_where_a_file_changed(tmp_path: Path) -> None:
    path = birds(tmp_path)
    first = opened(tmp_path).folder
    assert opened(tmp_path, hard=2, instructions=("x",), weight=3).folder == first
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:5]))
    again = opened(tmp_path)
    assert again.folder != first and len(again) == 5


def test_a_question_set_of_one_s_own_is_a_file_of_pairs(tmp_path: Path) -> None:
    birds(tmp_path)
    lines(
        tmp_path / "pairs.jsonl",
        {"id": "1", "question": "a", "answers": ["x"], "document_ids": ["d1"], "group": "g"},
    )
    assert opened(tmp_path).draw(0, [0])[0].passage.id == "d1"


def test_a_mixture_s_shares_are_weights_times_rows(tmp_path: Path) -> None:
    for name, rows in (("a", 8), ("b", 2)):
        birds(tmp_path / name, rows)
    said = [
        SourceSettings(
            format="pairs",
            questions=tmp_path / name / "pairs.jsonl",
            documents=tmp_path / name / "documents.jsonl",
            weight=weight,
        )
        for name, weight in (("a", 0.5), ("b", 2.0))
    ]
    mixture = open_mixture(said, folder=tmp_path / "packed")
    assert mixture.counts == (5000, 5000)
    whole = list(itertools.chain(*(mixture.share(0, step, 10) for step in range(4))))
    assert len(whole) == 40
    with pytest.raises(UsageError, match="differ in `hard`"):
        open_mixture([said[0], said[1].model_copy(update={"hard": 1})])
    with pytest.raises(UsageError, match=r"data\.train is empty"):
        open_mixture([])


def test_texts_are_not_held_in_memory(tmp_path: Path) -> None:
    """Of 1 kB a row and 1 kB a document, what packing holds grows by less than 150 bytes a row."""
    peaks = []
    for rows in (1200, 2000):  # more than the blocks that files are read in
        folder = tmp_path / str(rows)
        text = "word " * 200
        pairs = ({"question": f"{n} {text}", "document": f"d{n}"} for n in range(rows))
        documents = ({"id": f"d{n}", "text": f"{n} {text}"} for n in range(rows))
        lines(folder / "pairs.jsonl", *pairs)
        lines(folder / "documents.jsonl", *documents)
        tracemalloc.start()
        source = opened(folder)
        assert len(source.draw(0, range(3))) == 3
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 800 < 150


def test_pictures_in_parquet_are_kept_with_their_rows(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    data = picture(tmp_path / "p.png").read_bytes()
    rows = [{"id": "d1", "text": "red", "image": {"bytes": data, "path": None}}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "documents.parquet")
    lines(tmp_path / "pairs.jsonl", {"question": "a", "document": "d1"})
    source = opened(tmp_path, documents=tmp_path / "documents.parquet")
    assert source.draw(0, [0])[0].passage == Item("red", data, "d1")


def test_the_digest_is_of_what_is_trained_on(tmp_path: Path) -> None:
    path = birds(tmp_path)
    digest = opened(tmp_path).digest
    copied = birds(tmp_path / "copied")
    path.touch()
    assert opened(tmp_path).digest == digest  # packed anew: the file's time is another
    text = copied.read_text()
    copied.write_text(text.replace("where 3", "where 33"))
    assert opened(tmp_path / "copied").digest != digest
