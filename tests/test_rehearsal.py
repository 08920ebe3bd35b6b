"""The rehearsal of benchmarks/: its checkpoints load, its tokenizers are the published ones.

The vocabularies come from packages that rag-vqa does not need; tests without them say so.
"""

import importlib.util
import json
import random
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from rag_vqa.checkpoints import CHECKPOINTS
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.types import ImagePart, Passage, Prompt, Query, TextPart

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))
try:
    import rehearsal_models as models
    import rehearsal_tokenizers as tokenizers
    from rehearsal_process import measure
finally:
    sys.path.remove(str(BENCHMARKS))

PICTURE = Image.effect_noise((60, 40), 90).convert("RGB")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small checkpoints, one of the retrievers in shards."""
    root: Path = tmp_path_factory.mktemp("served")
    models.write_reader(root / "reader", models.SMALL)
    tokenizers.write_qwen(root / "reader", models.SMALL)
    for name, largest in (("retriever", 5e9), ("shards", 1e6)):
        models.write_retriever(
            root / name, models.SMALL, largest=largest, towers=str(root / "clip")
        )
    tokenizers.write_clip(root / "clip", models.SMALL)
    return root


def test_written_weights_are_what_safetensors_reads(tmp_path: Path) -> None:
    waves = torch.arange(6.0).reshape(1, 2, 3).numpy()
    weights = [
        models.Weight("a", (3, 5)), models.Weight("b", (7,), "BF16"), models.Weight("c", ()),
        models.Weight("n", (4,), "BF16", "ones"), models.Weight("w", (1, 2, 3), fill=waves),
        models.Weight("z", (2, 2), fill="zeros"),
    ]  # fmt: skip
    models.WeightWriter().write(tmp_path / "model.safetensors", weights)
    found = load_file(tmp_path / "model.safetensors")
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        each.name: each.shape for each in weights
    }
    assert found["b"].dtype == found["n"].dtype == torch.bfloat16
    assert found["n"].tolist() == [1.0] * 4 and found["z"].tolist() == [[0.0] * 2] * 2
    assert torch.equal(found["w"], torch.from_numpy(waves))
    random_values = torch.cat([found["a"].flatten(), found["b"].float()])
    assert 0 < random_values.abs().max() < 0.1 and len(random_values.unique()) == 22


def test_the_retriever_has_the_names_of_the_authors_files(served: Path) -> None:
    with safe_open(served / "retriever" / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert len(names) == 753  # as the released ViT-L-14 has
    index = json.loads((served / "shards" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == names and len(set(index["weight_map"].values())) > 2


def test_true_sizes_are_those_of_the_published_models() -> None:
    weights = models.retriever_weights(models.TRUE)
    assert sum(each.bytes // 4 for each in weights) == CHECKPOINTS[models.RETRIEVER].parameters
    config = models.reader_config(models.TRUE)
    counted = sum(each.bytes // 2 for each in models.reader_weights(config))
    assert counted == CHECKPOINTS[models.READER].parameters


def test_both_layouts_load_as_the_same_retriever(served: Path) -> None:
    whole, shards = (Encoder.load(served / name, device="cpu") for name in ("retriever", "shards"))
    assert whole.fingerprint == shards.fingerprint
    tokens = whole.encode_passages([Passage("a", 0, "A vase."), Passage("b", 0, "", PICTURE)])
    assert tokens.shape == (2, 32, 128)
    assert whole.encode_queries([Query("What?", PICTURE)]).shape == (1, 32, 128)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_the_reader_answers(served: Path, quantization: Any) -> None:
    from rag_vqa.readers.local.reader import LocalReader

    reader = LocalReader(
        served / "reader", quantization=quantization, device="cpu", max_new_tokens=3
    )
    prompt = Prompt((ImagePart(PICTURE), TextPart("What is it?")))
    (done,) = reader.generate([prompt])
    assert done.tokens_out > 0 and done.tokens_in == reader.count(prompt)
    assert reader.render(prompt).endswith("What is it?<|im_end|>\n<|im_start|>assistant\n")


def test_memory_of_a_command_and_its_children_is_seen() -> None:
    child = "import time; x = bytearray(80_000_000); time.sleep(1)"
    parent = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); sys.exit(3)"
    )
    cost = measure([sys.executable, "-c", parent])
    assert cost.code == 3 and cost.seconds > 1
    assert 80e6 < cost.peak < 130e6
    killed = measure([sys.executable, "-c", "import time; time.sleep(60)"], kill_when=lambda: True)
    assert killed.code == -9 and killed.seconds < 30


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
@pytest.mark.timeout(900)
def test_the_rehearsal_with_tiny_models(tmp_path: Path) -> None:
    script = [sys.executable, str(BENCHMARKS / "rehearsal.py"), "--work", str(tmp_path / "work")]
    cost = measure([*script, "--small", "--objects", "6", "--tokens", "3"])
    assert cost.code == 0, cost.err
    found = json.loads((tmp_path / "work" / "figures.json").read_text())
    steps = found["steps"]
    pulled = steps["pull"]
    assert pulled["killed"] == -9 and pulled["unwanted_bytes"] == 0
    assert 0 <= pulled["reader_bytes_sent_again"] <= 2 * 2**20  # one piece for each break
    both = steps["write"][models.READER] + steps["write"][models.RETRIEVER]
    assert both < pulled["bytes_sent"] < 1.1 * both
    assert pulled["bytes_of_a_pull_when_all_is_there"] < 20_000
    assert steps["mirror"]["shards"] > 2 and steps["mirror"]["same_model_as_in_one_file"]
    for said in steps["refusals"].values():
        if isinstance(said, dict) and "code" in said:
            assert said["code"] == 3 and said["seconds"] < 30
            assert said["says"].startswith("error: ") and str(tmp_path) not in said["says"]
    assert (steps["build"]["code"], steps["search"]["hits"]) == (0, 3)
    assert steps["ask"]["tokens"]["out"] <= 3 < steps["ask"]["tokens"]["in"]
    assert steps["ask_longest"]["tokens"]["in"] >= steps["ask"]["tokens"]["in"]
    assert [each["finish"] for each in steps["serve"]["answers"]] == ["length"] * 2
    assert set(found["memory"]) == {"build", "ask", "ask_longest", "serve"}
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    refused = measure([*script[:-1], str(foreign), "--small", "--clean"])
    assert refused.code == 1 and "other files" in refused.err
    assert (foreign / "thesis.txt").read_text() == "mine"


def strings(count: int) -> list[str]:
    """Texts of the museum, pieces of them in capitals, and random letters of many scripts."""
    rng = random.Random(0)
    found: list[str] = []
    for line in (BENCHMARKS / "museum.jsonl").read_text("utf-8").splitlines():
        text = json.loads(line)["text"]
        found += [text, *text.split(". ")]
    for line in (BENCHMARKS / "museum_questions.jsonl").read_text("utf-8").splitlines():
        found.append(json.loads(line)["question"])
    whole = len(found)
    # Without marks that combine: their order depends on the version of Unicode.
    letters = [chr(code) for code in (*range(32, 0x3000), *range(0x4E00, 0x5200))]
    letters = [each for each in letters if each.isprintable() and not unicodedata.combining(each)]
    while len(found) < count:
        kind, size = rng.random(), rng.randint(1, 60)
        if kind < 0.3:
            found.append("".join(rng.choices(letters, k=size)))
        elif kind < 0.6:
            found.append("".join(rng.choices("abcdeABC 012'\"!?.,-—\n\té ßñ&;<>|", k=size)))
        elif kind < 0.8:
            found.append(" ".join(found[rng.randrange(whole)].split()[: size // 6]).upper())
        else:
            found.append(found[rng.randrange(whole)][rng.randrange(9) :])
    return found[:count]


@pytest.mark.slow
def test_clip_ids_are_those_of_openais_own_tokenizer_on_ten_thousand_strings(
    tmp_path: Path,
) -> None:
    pytest.importorskip("ftfy", reason="pip install ftfy, which the reference imports")
    try:
        path = tokenizers.find_data("open_clip", "tokenizer.py")
    except tokenizers.VocabularyMissing as error:
        pytest.skip(str(error))
    spec = importlib.util.spec_from_file_location("clip_reference", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    reference = module.SimpleTokenizer()
    # Its own cleaning also repairs mojibake and HTML, which transformers' tokenizers never did.
    reference.clean_fn = lambda text: " ".join(unicodedata.normalize("NFC", text).split()).lower()
    from transformers import AutoTokenizer

    tokenizers.write_clip(tmp_path)
    ours = AutoTokenizer.from_pretrained(tmp_path)
    assert (len(ours), ours.model_max_length) == (reference.vocab_size, 77) == (49_408, 77)
    texts = strings(10_000)
    start, end = reference.all_special_ids
    for text, ids in zip(texts, ours(texts, verbose=False)["input_ids"], strict=True):
        assert ids == [start, *reference.encode(text), end], text
