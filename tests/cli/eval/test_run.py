"""`rag-vqa eval run`, `merge` and `hits`: exit codes, files, and what is refused before a model
loads."""

import json

import pytest
from bird_runs import ANSWERS, RESULTS, count_answers, result_files, write_questions

from rag_vqa.eval.run.ledger import LEDGER_FILE


def test_a_run_ends_in_a_table_files_and_a_page(go, loads, tmp_path) -> None:
    done = go("-k", 1)
    assert done.code == 0, done.err
    assert loads == ["fake", "embedded reader"]
    folder = tmp_path / "run"
    results = json.loads((folder / RESULTS).read_text())
    share = round(24 / 70, 6)  # q0, q3, … q69
    assert [(cell["cell"], cell["accuracy"]) for cell in results["cells"]] == [
        ("none", share), ("retrieved k=1 answer", share), ("oracle answer", share),
    ]  # fmt: skip
    shown = [line.split() for line in done.out.splitlines()]
    assert [
        [*row[:1], "34.3" in row]
        for row in shown
        if row[:1] in (["none"], ["retrieved"], ["oracle"])
    ] == [[n, True] for n in ("none", "retrieved", "oracle")]
    assert "70 questions × 3 cells" in done.err and "Report: " in done.err
    assert "evaluate  " in done.err and "evaluate  " not in done.out
    assert (folder / "report.html").stat().st_size > 10_000
    assert len((folder / ANSWERS).read_text().splitlines()) == 210


def test_json_is_all_of_stdout(go, tmp_path) -> None:
    done = go("--conditions", "none", "--json", "--limit", 3)
    assert done.json == json.loads((tmp_path / "run" / RESULTS).read_text())
    assert done.json["questions"]["split"] == "questions[:3]" and done.json["questions"]["n"] == 3


def test_quiet_says_nothing_but_the_table(go) -> None:
    done = go("--conditions", "none", "--quiet", "--limit", 3)
    assert (done.code, done.err) == (0, "") and "none" in done.out


def test_retrieval_alone_loads_no_reader(go, loads, reader, tmp_path) -> None:
    done = go("--conditions", "retrieval")
    assert (done.code, loads, reader.prompts) == (0, ["fake"], [])
    assert json.loads((tmp_path / "run" / RESULTS).read_text())["recall"]["n"] == 70


def test_none_alone_needs_no_knowledge_base(go, loads) -> None:
    assert go("--conditions", "none", "--limit", 2, kb=None).code == 0
    assert loads == ["embedded reader"]


def test_min_sets_the_exit_code(go, reader) -> None:
    reached = go("--conditions", "retrieved", "--min", "accuracy=.3", "--limit", 6)
    missed = go("--conditions", "retrieved", "--min", "accuracy=.9", "--limit", 6)
    assert (reached.code, missed.code) == (0, 1)
    assert "accuracy is 0.3333, below 0.9" in missed.err


BAD = [
    (["--min", "accuracy=80"], "--min"),
    (["--min", "acuracy=.8"], "--min acuracy"),
    (["--conditions", "all"], "--conditions all"),
    (["--conditions", "filtered"], "--filter critic"),
    (["--conditions", "retrieval", "--repeat", 2], "answers nothing"),
    (["--grid", "k="], "give values"),
    (["--grid", "depth=3"], "take one of k, prompt"),
    (["--grid", "k=0"], "k = 0"),
    (["--repeat", 0], "--repeat 0"),
    (["--limit", 0], "--limit 0"),
    (["--shard", "3/2"], "--shard 3/2"),
    (["--shard", "1/2", "--min", "mrr=.5"], "--min"),
    (["--plan", "--min", "mrr=.5"], "--min"),
    (["--shard", "1/2", "--devices", "cpu"], "--devices"),
    (["--devices", "abacus"], "abacus"),
    (["--hits", "nowhere.trec"], "nowhere.trec"),
    (["--bem", "some/model"], "only the scorer evqa"),
    (["--missing", "guess"], "missing"),
    (["--task", "oven"], "task"),
    (["--where", "lang"], "--where"),
    (["--where", "colour=red"], "colour"),
    (["--reader", "demo", "--set", "reader.nothing=1"], "reader.nothing"),
]


@pytest.mark.parametrize(("flags", "says"), BAD)
def test_a_bad_flag_is_refused_before_anything_loads(go, loads, tmp_path, flags, says) -> None:
    done = go(*flags)
    assert (done.code, loads, done.out) == (2, [], ""), done.err
    assert len(done.err.splitlines()) == 1 and says in done.err
    assert not (tmp_path / "run").exists()


def test_a_knowledge_base_must_be_named_and_be_one(go, loads, tmp_path) -> None:
    assert go(kb=None).code == 2
    assert go(kb=tmp_path / "nowhere").code == 2
    assert loads == []


def test_data_that_are_not_there(go, loads, tmp_path) -> None:
    assert (go("--grid", "prompt=nothing").code, loads) == (3, [])
    done = go(data=tmp_path / "nowhere.jsonl")
    assert (done.code, loads) == (3, []) and "nowhere.jsonl" in done.err
    pictured = write_questions(tmp_path / "pictured.jsonl", 2, image="gone.png")
    done = go(data=pictured)
    assert done.code == 3 and "gone.png" in done.err and "data check" in done.err
    assert not (tmp_path / "run" / LEDGER_FILE).exists()
    done = go("--missing", "text-only", "--conditions", "none", data=pictured)
    results = json.loads((tmp_path / "run" / RESULTS).read_text())
    assert done.code == 0 and results["questions"]["missing_images"] == 2


def test_a_bad_question_is_named_with_its_line(go, tmp_path) -> None:
    path = write_questions(tmp_path / "bad.jsonl", 2)
    path.write_text(path.read_text() + '{"id": "q9", "question": "?", "answers": [""]}\n')
    done = go(data=path)
    assert done.code == 1 and "line 3" in done.err and "answers" in done.err


def test_a_plan_asks_a_few_and_says_what_all_take(go, reader, tmp_path) -> None:
    done = go("--plan", "--conditions", "retrieved")
    assert (done.code, done.out) == (0, "")
    assert "70 questions × 1 cells · about " in done.err and "from 64 questions" in done.err
    assert count_answers(tmp_path / "run") == 64  # 50, rounded up to whole batches
    assert not (tmp_path / "run" / RESULTS).exists()
    asked_before = len(reader.prompts)
    assert go("--conditions", "retrieved").code == 0
    assert len(reader.prompts) == asked_before + 6  # what the plan answered is kept


def test_a_plan_of_few_questions_speaks_too(go) -> None:
    done = go("--plan", "--conditions", "none", "--limit", 5)
    assert done.code == 0 and "from 5 questions" in done.err


def test_shards_merge_to_what_one_run_makes(go, cli, tmp_path) -> None:
    assert go().code == 0
    for number in (1, 2):
        assert go("--shard", f"{number}/2", out=f"part{number}").code == 0
    parts = [tmp_path / "part1", tmp_path / "part2"]
    assert cli("eval", "merge", *parts, "--out", tmp_path / "merged").code == 0
    assert cli("eval", "report", tmp_path / "merged").code == 0
    assert result_files(tmp_path / "merged") == result_files(tmp_path / "run")
    again = cli("eval", "merge", *parts, "--out", tmp_path / "merged")
    assert again.code == 2 and "holds a run already" in again.err
    for shown in ([], ["--json"], ["--markdown"]):
        cli("eval", "merge", parts[0], "--out", tmp_path / "part")
        told = cli("eval", "report", tmp_path / "part", *shown)
        assert told.code == 4
        assert "missing" in told.out or shown == ["--json"]
    lacking = cli("eval", "merge", parts[0], "--out", tmp_path / "lacking")
    assert lacking.code == 4 and "rows are missing" in lacking.err
    assert cli("eval", "merge", tmp_path / "no", "--out", tmp_path / "x").code == 3


def test_a_grid_encodes_once_and_compares_in_pairs(go, tmp_path) -> None:
    done = go("--grid", "k=1,3", "--grid", "prompt=short,answer", "--conditions", "retrieved")
    assert done.code == 0, done.err
    results = json.loads((tmp_path / "run" / RESULTS).read_text())
    assert [cell["cell"] for cell in results["cells"]] == [
        "retrieved k=1 short", "retrieved k=3 short", "retrieved k=1 answer",
        "retrieved k=3 answer",
    ]  # fmt: skip
    assert results["selection"]["best"] == "retrieved k=1 short"  # all are equal: the first
    assert len(results["paired"]) == 3


def test_an_axis_named_twice_has_all_values(go, tmp_path) -> None:
    go("--grid", "k=1", "--grid", "k=2", "--conditions", "retrieved", "--limit", 2)
    results = json.loads((tmp_path / "run" / RESULTS).read_text())
    assert [cell["k"] for cell in results["cells"]] == [1, 2]


def test_hits_go_out_and_in_again(go, cli, tmp_path) -> None:
    assert go("--conditions", "retrieved").code == 0
    trec = tmp_path / "hits.trec"
    assert cli("eval", "hits", tmp_path / "run", "--out", trec).code == 0
    assert len(trec.read_text().splitlines()) == 70 * 3
    assert cli("eval", "hits", tmp_path / "run", "--out", trec).code == 2  # never over a file
    assert go("--conditions", "retrieved", "--hits", trec, out="again").code == 0
    first, second = result_files(tmp_path / "run"), result_files(tmp_path / "again")
    assert second[ANSWERS] == first[ANSWERS]
    refused = go("--hits", trec, "--where", "lang=en", out="third")
    assert refused.code == 2 and "leave out --where" in refused.err


def test_servers_get_larger_batches(birds, ask, tmp_path) -> None:
    """Read out of what would be run: 32 rows keep two servers of 16 requests at once waiting."""
    from rag_vqa.jobs.evaluate import EvaluationOptions, prepare_run
    from rag_vqa.settings_schema import Settings

    evaluation = EvaluationOptions(
        benchmark="own", data=ask, out=tmp_path / "run", conditions="none"
    )
    here = Settings()
    servers = {"model": "served", "servers": ("http://localhost:1/v1",)}
    there = here.model_copy(update={"reader": here.reader.model_copy(update=servers)})
    batches = [prepare_run(evaluation, settings)[0].batch for settings in (here, there)]
    assert batches == [32, 128]
