"""doctor --fit, doctor --reader, and the note about packages that fetch code."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rag_vqa import devices, memory, presets
from rag_vqa.jobs import diagnosis, memory_fit
from rag_vqa.settings import load_settings


@pytest.fixture(autouse=True)
def cached() -> Any:
    memory_fit._find_reader.cache_clear()
    yield
    memory_fit._find_reader.cache_clear()


def machine(monkeypatch: pytest.MonkeyPatch, device: str, free: float) -> None:
    """A machine with so much free memory on its GPU, or in all; nothing of this one is asked."""
    monkeypatch.setattr(
        "rag_vqa.devices.free_memory", lambda kind: free if kind == device else 64e9
    )
    monkeypatch.setattr(
        "rag_vqa.devices.resolve_device",
        lambda asked: device if asked == "auto" else asked,
    )


@pytest.mark.parametrize(
    ("name", "device"), [("laptop", "cpu"), ("12gb", "cuda"), ("24gb", "cuda"), ("80gb", "cuda")]
)
def test_a_preset_on_the_machine_that_it_is_for_needs_what_it_states(
    monkeypatch: pytest.MonkeyPatch, name: str, device: str
) -> None:
    machine(monkeypatch, device, 1e12)
    found = memory_fit.predict_fit(load_settings({"preset": name}, environment={}))
    assert found.total == pytest.approx(presets.PRESETS[name].memory)
    assert found.fits
    assert found.mend == ""


def test_one_flag_is_named_if_it_is_enough(cli, monkeypatch) -> None:
    machine(monkeypatch, "cuda", 11e9)
    done = cli("doctor", "--fit", "12gb", "--quantization", "int8")
    assert done.code == 1
    assert "does not fit" in done.out
    assert done.out.splitlines()[-1].strip() == "→ --quantization nf4"
    done = cli("doctor", "--fit", "12gb", "--quantization", "int8", "--quantization", "nf4")
    assert done.code == 0
    assert done.out.splitlines()[-2].endswith(" GB to spare")


@pytest.mark.parametrize("free", [10.3e9, 9.5e9, 9.2e9])
def test_the_flags_that_are_named_make_it_fit(cli, monkeypatch, free: float) -> None:
    machine(monkeypatch, "cuda", free)
    done = cli("doctor", "--fit", "12gb", "--json")
    assert (done.code, done.json["fits"]) == (1, False)
    flags = done.json["mend"].split()
    assert flags
    again = cli("doctor", "--fit", "12gb", *flags, "--json")
    assert (again.code, again.json["fits"], again.json["mend"]) == (0, True, "")


def test_within_the_margin_it_may_not_fit(cli, monkeypatch) -> None:
    need = presets.PRESETS["12gb"].memory
    machine(monkeypatch, "cuda", need * (1 + memory.MARGIN) + 1e9)
    done = cli("doctor", "--fit", "12gb")
    assert (done.code, "fits, with 1.00 GB to spare" in done.out) == (0, True)
    machine(monkeypatch, "cuda", need * (1 + memory.MARGIN / 2))
    done = cli("doctor", "--fit", "12gb")
    assert (done.code, "may not fit" in done.out) == (1, True)
    machine(monkeypatch, "cuda", need * 0.99)
    done = cli("doctor", "--fit", "12gb")
    assert (done.code, "does not fit" in done.out) == (1, True)


def test_the_12gb_preset_fits_11_gb_with_the_margin() -> None:
    assert presets.PRESETS["12gb"].memory * (1 + memory.MARGIN) < 11e9


def test_a_reader_behind_servers_needs_nothing_here(cli, monkeypatch) -> None:
    machine(monkeypatch, "cuda", 4e9)
    servers = "--set", "reader.servers=http://127.0.0.1:8000/v1"
    done = cli(*servers, "doctor", "--fit", "12gb")
    assert done.code == 0, done.err
    assert "reader               0.00 GB, servers run it (reader.servers)" in done.out
    needs = cli(*servers, "doctor", "--fit", "12gb", "--json").json["needs"]
    assert sorted(needs) == ["retriever", "runtime"]


def test_a_smaller_preset_is_named_where_no_flag_is_enough(cli, monkeypatch) -> None:
    machine(monkeypatch, "cpu", 8e9)
    assert cli("doctor", "--fit", "80gb", "--json").json["mend"] == "--preset laptop"
    machine(monkeypatch, "cpu", 1e8)
    done = cli("doctor", "--fit", "80gb")
    assert "no setting makes it fit" in done.out


def test_batches_no_retrieval_and_a_retriever_elsewhere(monkeypatch) -> None:
    machine(monkeypatch, "cuda", 1e12)
    settings = load_settings({"preset": "12gb"}, environment={})
    one, four = memory_fit.predict_fit(settings), memory_fit.predict_fit(settings, batch=4)
    assert four.needs["attention cache"] == 4 * one.needs["attention cache"]
    bare = memory_fit.predict_fit(load_settings({"preset": "12gb", "k": 0}, environment={}))
    assert "retriever" not in bare.needs
    apart = load_settings({"preset": "12gb", "retriever": {"device": "cpu"}}, environment={})
    moved = memory_fit.predict_fit(apart)
    assert "retriever" not in moved.needs
    assert moved.elsewhere == pytest.approx(one.elsewhere + one.needs["retriever"])


def test_a_critic_reads_the_documents_found_at_once(cli, monkeypatch) -> None:
    machine(monkeypatch, "cuda", 1e12)
    asked = ["doctor", "--fit", "12gb", "--json", "-k"]
    none = cli(*asked, "10").json["needs"]
    for k, at_once in (("10", 10), ("50", 16)):
        critic = cli(*asked, k, "--filter", "critic").json["needs"]
        assert critic["attention cache"] == at_once * none["attention cache"]
    machine(monkeypatch, "cuda", 11e9)
    assert cli(*asked, "5", "--filter", "critic").json["mend"] == "--filter none"


def test_tiles_that_are_not_counted_are_said(cli, monkeypatch, tmp_path: Path) -> None:
    from tiny_readers import FAMILIES

    machine(monkeypatch, "cpu", 64e9)
    for family, said in (("smolvlm", True), ("llava_next", False)):
        FAMILIES[family](tmp_path / family)
        done = cli("doctor", "--fit", "laptop", "--reader", str(tmp_path / family))
        assert ("one of them is counted" in done.out) == said, done.out + done.err


def test_the_embedded_models_are_computed_from_their_files(cli, monkeypatch) -> None:
    monkeypatch.setattr(memory_fit, "model_source", _embedded)
    machine(monkeypatch, "cpu", 4e9)
    done = cli("doctor", "--fit", "demo", "--json")
    assert done.code == 0, done.err
    stated = sum(
        file.stat().st_size / 2 for file in Path(_embedded("demo", "reader")).glob("*.safetensors")
    )  # in 16 bits on the disk
    numbers = done.json["needs"]["left whole"] / 4 + done.json["needs"]["quantised"] / 4.127 * 8
    assert numbers == pytest.approx(stated, rel=0.02)


def _embedded(model: str | None, role: Any) -> str:
    from rag_vqa.checkpoints import embedded_model

    return str(embedded_model(role))


def test_a_model_that_is_not_here_names_the_command(cli, monkeypatch) -> None:
    machine(monkeypatch, "cpu", 4e9)
    done = cli("doctor", "--fit", "laptop", "--reader", "somebody/unheard-of")
    assert (done.code, done.out) == (3, "")
    assert "rag-vqa models pull somebody/unheard-of" in done.err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["-k", "3"], "-k needs a preset"),
        (["--quantization", "nf4"], "--quantization needs a preset"),
        (["--batch-size", "4"], "--batch-size needs a preset"),
        (["--fit", "13gb"], "There are: demo"),
        (["--fit", "12gb", "--batch-size", "0"], "batch-size"),
    ],
)
def test_what_says_nothing_is_refused(cli, args, says) -> None:
    done = cli("doctor", *args)
    assert (done.code, done.out) == (2, "")
    assert says in done.err


def test_doctor_reader_runs_the_hostile_set_and_loads_no_model(cli, monkeypatch, loads) -> None:
    monkeypatch.setattr("rag_vqa.jobs.diagnosis.model_source", _embedded)
    done = cli("doctor", "--reader", "demo")
    assert (done.code, loads) == (0, [])
    assert "hostile set" in done.out
    assert "0 do with it" in done.out
    line = "special: '</s>': more {'</s>': 1}, fewer {}"
    monkeypatch.setattr(
        "rag_vqa.readers.injection_cases.find_failed_cases", lambda processor, attacks: [line]
    )
    done = cli("doctor", "--reader", "demo")
    assert done.code == 1
    assert f"BAD  hostile text       {line}" in done.out


def test_a_package_that_lets_bitsandbytes_fetch_code_is_noted(monkeypatch) -> None:
    monkeypatch.setattr(diagnosis.subprocess, "run", lambda *a, **k: SimpleNamespace(returncode=0))
    installed = {"bitsandbytes": "0.50", "kernels": "0.12"}
    monkeypatch.setattr(diagnosis, "_installed_version", installed.get)
    finding = diagnosis._check_bitsandbytes()
    assert finding.good
    assert "uninstall -y kernels" in finding.mend
    del installed["kernels"]
    assert diagnosis._check_bitsandbytes().mend == ""


def test_memory_that_is_available_is_asked_of_the_system() -> None:
    free = devices.available_memory()
    assert free is not None
    assert 0 < free < 1e15


def test_a_mixture_of_experts_is_computed_whole(cli, monkeypatch, tmp_path: Path) -> None:
    from transformers import MixtralConfig

    machine(monkeypatch, "cpu", 64e9)
    MixtralConfig(
        vocab_size=300, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, num_local_experts=4,
    ).save_pretrained(tmp_path)  # fmt: skip
    asked = ["doctor", "--fit", "laptop", "--json", "--set", f"reader.model={tmp_path}"]
    done = cli(*asked)
    whole = cli(*asked, "--quantization", "none")
    assert "mixture of experts" in done.json["note"]
    assert "--quantization none" in done.json["note"]
    assert done.json["needs"] == whole.json["needs"]
    assert whole.json["note"] == ""
    # Four experts of three matrices in each of two layers, in 32 bits, and the rest
    assert whole.json["needs"]["left whole"] > 2 * 4 * 3 * 64 * 128 * 4


def test_a_text_only_model_is_computed_from_its_configuration(cli, monkeypatch, tmp_path) -> None:
    from transformers import LlamaConfig

    machine(monkeypatch, "cpu", 64e9)
    LlamaConfig(
        vocab_size=300, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False,
    ).save_pretrained(tmp_path)  # fmt: skip
    done = cli("doctor", "--fit", "laptop", "--json", "--set", f"reader.model={tmp_path}")
    assert done.code == 0, done.err
    # q and o, k and v, the MLP; two layers. Embeddings and output layer, five norms.
    linear = 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 128)
    assert done.json["needs"]["quantised"] == pytest.approx(linear * 4.127 / 8)
    assert done.json["needs"]["left whole"] == (2 * 300 * 64 + 5 * 64) * 4


@pytest.mark.parametrize(
    ("written", "says", "code"),
    [
        ('{"model_type": "no-such-kind"}', "no-such-kind", 2),
        ('{"model_type": "llama", "hidden_size": "wide"}', "cannot compute", 2),
        ('{"model_type": "llama", "num_attention_heads": 0}', "cannot compute", 2),
        ('{"model_type": "clip"}', "clip model, which writes no answers", 2),
        ("[]", "no JSON object", 1),
        ("{", "is damaged", 1),
        ("", "is empty", 1),
    ],
)
def test_a_wrong_configuration_is_one_line(cli, monkeypatch, tmp_path, written, says, code) -> None:
    machine(monkeypatch, "cpu", 64e9)
    (tmp_path / "config.json").write_text(written)
    done = cli("doctor", "--fit", "laptop", "--set", f"reader.model={tmp_path}")
    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err


def test_a_folder_that_is_not_there_is_no_model_to_pull(cli, monkeypatch) -> None:
    machine(monkeypatch, "cpu", 64e9)
    done = cli("doctor", "--fit", "laptop", "--set", "reader.model=./no/such")
    assert (done.code, done.out) == (3, "")
    assert "there is no folder ./no/such" in done.err
