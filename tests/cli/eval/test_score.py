"""`rag-vqa eval score`: files in, the benchmark's own result out; what does not fit is refused."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from model_hub import running, use_hub, write_model


@pytest.fixture
def golden(root: Path) -> Path:
    return root / "tests" / "golden" / "evaluators"


def infoseek(golden: Path, *more: object) -> list[object]:
    return ["eval", "score", "infoseek", "--predictions", golden / "infoseek_predictions.jsonl",
            "--references", golden / "infoseek_references.jsonl",
            "--qtypes", golden / "infoseek_qtypes.jsonl", *more]  # fmt: skip


def test_infoseek_official_is_the_scripts_own_result(cli, golden) -> None:
    done = cli(*infoseek(golden, "--scorer", "official", "--json"))
    assert (done.code, done.json) == (0, json.loads((golden / "infoseek_result.json").read_text()))


def test_infoseek_strict_is_the_default_and_refuses_with_counts(cli, golden) -> None:
    done = cli(*infoseek(golden))
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "67 without a prediction, 14 with more than one, 1 that the references" in done.err


def test_a_table_for_people(cli, golden) -> None:
    lines = cli(*infoseek(golden, "--scorer", "official")).out.splitlines()
    assert "final_score                         52.06" in lines
    assert "unseen_entity_score score_num       25.96" in lines


@pytest.fixture
def evqa(golden: Path, tmp_path: Path) -> tuple[list[dict[str, Any]], list[object]]:
    """The golden items as the benchmark's CSV and a file of predictions, and the command."""
    lines = (golden / "evqa_items.jsonl").read_text("utf-8").splitlines()
    items = [item for item in map(json.loads, lines) if "error" not in item]
    with (tmp_path / "test.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, ["dataset_name", "question", "answer", "question_type"])
        rows.writeheader()
        for item in items:
            names = ("question", "answer", "question_type")
            rows.writerow({"dataset_name": "landmarks"} | {name: item[name] for name in names})
    predictions = [
        {"id": number if number % 2 else f"evqa-test-{number:06}", "prediction": item["candidate"]}
        for number, item in enumerate(items)
    ]
    text = "".join(f"{json.dumps(row)}\n" for row in reversed(predictions))
    (tmp_path / "p.jsonl").write_text(text)
    return items, ["eval", "score", "evqa", "--predictions", tmp_path / "p.jsonl",
                   "--references", tmp_path / "test.csv"]  # fmt: skip


def test_a_run_is_scored_by_one_of_its_cells(cli, evqa, tmp_path) -> None:
    """Its citations are left out; of a run of several cells one is named."""
    items, command = evqa
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    rows = [{**row, "prediction": row["prediction"].strip()} for row in rows]
    (tmp_path / "p.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    alone = cli(*command, "--json").json
    said = [{**row, "cell": "retrieved k=1 short", "prediction": f"{row['prediction']} [2]",
             "citations": [2]} for row in rows]  # fmt: skip
    others = [{**row, "cell": "none", "prediction": "x", "citations": []} for row in rows]
    text = "".join(f"{json.dumps(row)}\n" for row in (*others, *said))
    (tmp_path / "p.jsonl").write_text(text)
    assert cli(*command, "--cell", "retrieved k=1 short", "--json").json == alone
    assert 0 < alone["accuracy"] < 1 and alone["n"] == len(items)
    for more in ((), ("--cell", "oracle short")):
        done = cli(*command, *more)
        assert done.code == 2 and "--cell: it has 'none', 'retrieved k=1 short'" in done.err


def test_evqa_without_bem(cli, evqa) -> None:
    items, command = evqa
    done = cli(*command, "--json")
    matches = [any(item["exact_match"]) for item in items]
    single = [m for m, item in zip(matches, items, strict=True) if item["question_type"] != "2_hop"]
    assert done.code == 0
    assert "not the official score" in done.err
    assert done.json["scorer"] == "evqa exact match only"
    assert done.json["accuracy"] == pytest.approx(sum(matches) / len(items))
    expected = {"n": len(single), "accuracy": pytest.approx(sum(single) / len(single))}
    assert done.json["single_hop"] == expected
    assert set(done.json["by_type"]) == {"templated", "automatic", "multi_answer", "2_hop"}


def test_evqa_with_bem_names_it(cli, evqa, tmp_path, monkeypatch) -> None:
    from bert_files import bert

    from rag_vqa.eval.bem import Bem
    from rag_vqa.eval.evqa import score_answer

    folder = bert(tmp_path / "bem")
    monkeypatch.setattr(
        "rag_vqa.jobs.download_consent.is_available", lambda model, commit: Path(model).is_dir()
    )
    items, command = evqa
    done = cli(*command, "--json", "--bem", folder, "--device", "cpu")
    bem = Bem.load(str(folder), device="cpu", offline=True)
    expected = [
        score_answer(i["question"].strip(), i["answer"].split("|"), i["candidate"],
                     i["question_type"], bem)
        for i in items
    ]  # fmt: skip
    assert done.json["scorer"] == f"evqa official (BEM {bem.name})"
    assert done.json["accuracy"] == pytest.approx(sum(expected) / len(items))


def test_evqa_refuses_what_does_not_fit(cli, evqa, tmp_path) -> None:
    items, command = evqa
    bad = [{"id": 0, "prediction": "x"}, {"id": "evqa-test-000000", "prediction": "x"},
           {"id": len(items), "prediction": "x"}, {"id": 1, "prediction": None},
           {"id": True, "prediction": "x"}, {"prediction": "x"}]  # fmt: skip
    (tmp_path / "p.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in bad))
    done = cli(*command)
    assert done.code == 1
    assert (
        f"the {len(items)} questions: {len(items) - 2} without a prediction, 1 with more than one, "
        "1 that the references do not contain, 1 whose prediction is not a text, "
        "2 without a usable id"
    ) in done.err


def test_evqa_names_a_question_that_cannot_be_scored(cli, tmp_path) -> None:
    (tmp_path / "t.csv").write_text(
        "question,answer,question_type\nQ?,ok,automatic\nQ?,the,automatic\n"
    )
    (tmp_path / "p").write_text('{"id": 0, "prediction": "x"}\n{"id": 1, "prediction": "x"}\n')
    command = ["eval", "score", "evqa", "--predictions", tmp_path / "p", "--references"]
    done = cli(*command, tmp_path / "t.csv", "--bem", "nobody/none")  # before it is looked for
    assert (done.code, "question 1: the reference 'the' is empty" in done.err) == (1, True)
    (tmp_path / "t.csv").write_text("question,question_type\nQ?,automatic\n")
    assert "has no column answer" in cli(*command, tmp_path / "t.csv").err
    (tmp_path / "t.csv").write_text('question,answer,question_type\nQ?,"x\n')
    assert "not a CSV" in cli(*command, tmp_path / "t.csv").err
    assert cli(*command, tmp_path / "none.csv").code == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [(["okvqa"], "give one of evqa, infoseek"), (["infoseek"], "needs --qtypes"),
     (["infoseek", "--bem", "x"], "--bem does not belong"),
     (["infoseek", "--qtypes", "q", "--scorer", "lax"], "neither strict nor official"),
     (["evqa", "--scorer", "strict"], "--scorer does not belong"),
     (["evqa", "--qtypes", "q"], "--qtypes does not belong"),
     (["evqa", "--yes"], "--yes does not belong"),
     (["evqa", "--device", "cpu"], "--device does not belong to eval score evqa without --bem")],
)  # fmt: skip
def test_invalid_options_are_a_usage_error(cli, words, told) -> None:
    done = cli("eval", "score", *words, "--predictions", "p", "--references", "r")
    assert (done.code, told in done.err) == (2, True)


def test_a_bem_that_is_not_there(cli, evqa) -> None:
    done = cli(*evqa[1], "--bem", "nobody/none@1", "--offline")
    assert (done.code, "nobody/none: not on this machine" in done.err) == (3, True)


def test_a_bem_of_the_hub_is_agreed_to_first(cli, evqa, monkeypatch, tmp_path) -> None:
    write_model(tmp_path / "hub", "nobody/none", config__json=b"{}", model__safetensors=b"12345678")
    with running(tmp_path / "hub") as hub:
        use_hub(monkeypatch, hub, tmp_path / "home")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        done = cli(*evqa[1], "--bem", "nobody/none")
    assert (done.code, "--yes" in done.err) == (3, True), done.err
    assert not any("safetensors" in request.path for request in hub.log)
