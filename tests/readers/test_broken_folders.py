"""Broken and unusual folders: one line in our own words, in Python and at every command."""

import json
import os
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rag_vqa.checkpoints import embedded_model
from rag_vqa.cli.app import run
from rag_vqa.errors import Missing, RagVqaError, UsageError
from rag_vqa.jobs.memory_fit import predict_fit
from rag_vqa.jobs.model_check import check_models
from rag_vqa.readers.factory import open_reader
from rag_vqa.retriever.encoder import Encoder
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.settings import load_settings

Change = Callable[[Path], object]
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 99\n"
WEIGHTS = "model.safetensors"


def write(name: str, content: str | bytes) -> Change:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def remove(*names: str) -> Change:
    return lambda folder: [(folder / name).unlink(missing_ok=True) for name in names]


def rename(old: str, new: str) -> Change:
    return lambda folder: (folder / old).rename(folder / new)


def configure(**values: Any) -> Change:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


def tensors(edit: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def change(folder: Path) -> None:
        found = load_file(folder / WEIGHTS)
        edit(found)
        save_file(found, folder / WEIGHTS, metadata={"format": "pt"})

    return change


def spoil(number: float) -> Change:
    def edit(found: dict[str, torch.Tensor]) -> None:
        for tensor in found.values():
            if tensor.dim() == 2:
                tensor[0, 0] = number

    return tensors(edit)


def shards(*kept: str) -> Change:
    def change(folder: Path) -> None:
        found = sorted(load_file(folder / WEIGHTS).items())
        (folder / WEIGHTS).unlink()
        names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
        index = {}
        for name, part in zip(names, (found[::2], found[1::2]), strict=True):
            index |= dict.fromkeys(dict(part), name)
            if name in kept:
                save_file(dict(part), folder / name, metadata={"format": "pt"})
        (folder / f"{WEIGHTS}.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": index})
        )

    return change


def lying_header(folder: Path) -> None:
    raw = json.dumps({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}).encode()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(8))


def as_folder(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()


def drop_first(found: dict[str, torch.Tensor]) -> None:
    del found[min(name for name in found if found[name].dim() == 2)]


def widen_first(found: dict[str, torch.Tensor]) -> None:
    name = min(name for name in found if found[name].dim() == 2)
    found[name] = torch.cat([found[name], found[name]], dim=1)


def rename_all(found: dict[str, torch.Tensor]) -> None:
    for name in list(found):
        found[f"nobody.{name}"] = found.pop(name)


# Of readers and retrievers: what is done to the folder, what the message says, whether the
# configuration alone shows it (then `doctor --fit` says so too).
BOTH: dict[str, tuple[Change, type[RagVqaError], str, bool]] = {
    "no config": (remove("config.json"), Missing, "no config.json", True),
    "config empty": (write("config.json", ""), RagVqaError, "is empty", True),
    "config cut": (write("config.json", '{"model'), RagVqaError, "config.json is damaged", True),
    "config a list": (write("config.json", "[1]"), RagVqaError, "no JSON object", True),
    "config binary": (write("config.json", b"\xff\xfe\0"), RagVqaError, "is damaged", True),
    "config a folder": (as_folder, RagVqaError, "cannot be read", True),
    "config a pointer": (write("config.json", POINTER), Missing, "Git LFS.*git lfs pull", True),
    "config too deep": (write("config.json", "[" * 99999), RagVqaError, "is damaged", True),
    "no type": (write("config.json", "{}"), RagVqaError, "names no model_type", True),
    "type a number": (configure(model_type=3), RagVqaError, "names no model_type", True),
    "adapter": (
        lambda folder: [remove("config.json", WEIGHTS)(folder),
                        write("adapter_config.json", "{}")(folder)],
        UsageError, "adapter_config.json: it is an adapter.*merge_and_unload", True,
    ),
    "diffusion": (
        lambda folder: [remove("config.json")(folder), write("model_index.json", "{}")(folder)],
        UsageError, "model_index.json: it is a pipeline of diffusion", True,
    ),
    "embedding": (write("modules.json", "[]"), UsageError, "an embedding model", True),
    "pickled": (rename(WEIGHTS, "pytorch_model.bin"), Missing, "only pickled.*can run code", False),
    "no weights": (remove(WEIGHTS), Missing, "no weights in safetensors", False),
    "weights empty": (write(WEIGHTS, b""), RagVqaError, "is empty", False),
    "weights a pointer": (write(WEIGHTS, POINTER), Missing, "Git LFS", False),
    "weights a page": (write(WEIGHTS, b"<html>"), RagVqaError, "no safetensors file", False),
    "weights cut": (
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-999]),
        RagVqaError, "was cut or is damaged", False,
    ),
    "header lies": (lying_header, RagVqaError, "damaged header", False),
    "header too long": (
        write(WEIGHTS, b"\xff" * 8 + b"{}"), RagVqaError, "no safetensors file", False
    ),
    "a shard is missing": (
        shards("model-00001-of-00002.safetensors"), Missing, "1 of 2 files of weights", False
    ),
    "all shards are missing": (shards(), Missing, "2 of 2 files of weights", False),
    "index broken": (
        lambda folder: [shards()(folder), write(f"{WEIGHTS}.index.json", "{")(folder)],
        RagVqaError, "index.json is damaged", False,
    ),
    "index elsewhere": (
        lambda folder: [
            shards()(folder),
            write(f"{WEIGHTS}.index.json", '{"weight_map": {"a": "../x.safetensors"}}')(folder),
        ],
        RagVqaError, "outside its folder", False,
    ),
    "a tensor is missing": (tensors(drop_first), RagVqaError, "lack|missing", False),
    "another shape": (tensors(widen_first), RagVqaError, "shape|mismatched", False),
    "other names": (tensors(rename_all), RagVqaError, "lack|missing", False),
    "tokenizer broken": (write("tokenizer.json", "{]"), RagVqaError, "tokenizer|model", False),
    "tokenizer wrong": (write("tokenizer.json", '{"a": 1}'), RagVqaError, "token|model", False),
    "tokenizer empty": (write("tokenizer.json", ""), RagVqaError, "is empty", False),
    "tokenizer a pointer": (write("tokenizer.json", POINTER), Missing, "Git LFS", False),
    "tokenizer settings": (write("tokenizer_config.json", "3"), RagVqaError, "damaged", False),
    "tokenizer missing": (
        remove("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
        RagVqaError, ".", False,
    ),
    "tokenizer's code": (
        lambda folder: [
            remove("tokenizer.json", "vocab.json", "merges.txt")(folder),
            write(
                "tokenizer_config.json",
                '{"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", null]}}',
            )(folder),
        ],
        RagVqaError, "code", False,
    ),
}  # fmt: skip
READERS: dict[str, tuple[Change, type[RagVqaError], str, bool]] = {
    "unknown type": (
        configure(model_type="nobodys", transformers_version="9.0"),
        UsageError, "'nobodys' is no class.*newer version.*9.0", True,
    ),
    "code": (
        configure(model_type="nobodys", auto_map={"AutoModel": "x.Y"}),
        UsageError, "code of its own, which rag-vqa never runs", True,
    ),
    "masked": (
        configure(model_type="bert", architectures=["BertModel"]),
        UsageError, r"bert model \(BertModel\), which writes no answers", True,
    ),
    "speech": (
        configure(model_type="whisper", architectures=["WhisperForConditionalGeneration"]),
        UsageError, "whisper model", True,
    ),
    "clip": (configure(model_type="clip", architectures=["CLIPModel"]), UsageError, "clip", True),
    "generation broken": (
        write("generation_config.json", "{"), RagVqaError, "generation_config.json is", False
    ),
    "no processor": (remove("processor_config.json"), RagVqaError, ".", False),
    "processor a list": (write("processor_config.json", "[]"), RagVqaError, "damaged", False),
    "no chat template": (remove("chat_template.jinja"), RagVqaError, "no chat template", False),
    "another vocabulary": (
        lambda folder: configure(text_config=json.loads((folder / "config.json").read_text())[
            "text_config"] | {"vocab_size": 7})(folder),
        RagVqaError, "shape|tokens", False,
    ),
    **{
        method: (
            configure(quantization_config={"quant_method": method}),
            UsageError, f"quantised already \\({method}\\).*--server", True,
        )
        for method in ("awq", "gptq", "fp8", "compressed-tensors", "mxfp4")
    },
    "quantised a string": (
        configure(quantization_config="awq"), UsageError, "quantised already", True
    ),
    "quantised inside": (
        configure(text_config={"quantization_config": {"quant_method": "gptq"}}),
        UsageError, "gptq", True,
    ),
}  # fmt: skip
RETRIEVERS: dict[str, tuple[Change, type[RagVqaError], str, bool]] = {
    "unknown type": (configure(model_type="nobodys"), UsageError, "not a ReT retriever", False),
    "tower broken": (configure(query_config=[1]), RagVqaError, "does not describe a ReT", False),
    "preprocessor broken": (
        write("preprocessor_config.json", "{"),
        RagVqaError,
        "preprocessor_config.json",
        False,
    ),
}


def cases(own: dict[str, Any]) -> Any:
    return [pytest.param(*case, id=name) for name, case in {**BOTH, **own}.items()]


def one_line_of_ours(error: RagVqaError, match: str) -> None:
    assert "\n" not in str(error)
    assert "Traceback" not in str(error)
    assert re.search(match, str(error)), str(error)


def refused_by_check(folder: Path) -> str:
    try:
        (found,) = check_models(str(folder))
    except RagVqaError as error:
        return str(error)
    assert not found.good, found.findings
    return found.findings[-1].detail


@pytest.fixture
def reader_folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(embedded_model("reader"), tmp_path / "ein Modell für Käse"))


@pytest.fixture
def retriever_folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(embedded_model("retriever"), tmp_path / "ein Modell für Käse"))


@pytest.mark.parametrize(("change", "kind", "match", "by_config"), cases(READERS))
def test_readers(
    reader_folder: Path, change: Change, kind: type[RagVqaError], match: str, by_config: bool
) -> None:
    change(reader_folder)
    with pytest.raises(kind) as caught:
        open_reader(str(reader_folder), device="cpu", quantization="none", offline=True)
    one_line_of_ours(caught.value, match)
    assert "\n" not in refused_by_check(reader_folder)
    settings = load_settings({"reader": {"model": str(reader_folder)}}, environment={})
    if by_config:
        with pytest.raises(kind) as caught:
            predict_fit(settings)
        one_line_of_ours(caught.value, match)
    else:
        try:
            predict_fit(settings)
        except RagVqaError as error:
            one_line_of_ours(error, ".")


@pytest.mark.parametrize(("change", "kind", "match", "by_config"), cases(RETRIEVERS))
def test_retrievers(
    retriever_folder: Path, change: Change, kind: type[RagVqaError], match: str, by_config: bool
) -> None:
    change(retriever_folder)
    with pytest.raises(kind) as caught:
        Encoder.load(retriever_folder, device="cpu", offline=True)
    one_line_of_ours(caught.value, match)
    assert "\n" not in refused_by_check(retriever_folder)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_numbers_that_are_none(reader_folder: Path, number: float, quantization: Any) -> None:
    spoil(number)(reader_folder)
    with pytest.raises(RagVqaError, match="infinite or none"):
        open_reader(str(reader_folder), device="cpu", quantization=quantization)


def test_numbers_of_a_retriever(retriever_folder: Path) -> None:
    spoil(float("nan"))(retriever_folder)
    with pytest.raises(RagVqaError, match="infinite or none"):
        Encoder.load(retriever_folder, device="cpu")


def test_a_model_in_the_place_of_the_other(reader_folder: Path) -> None:
    with pytest.raises(UsageError, match="is a retriever, not a reader"):
        open_reader(str(embedded_model("retriever")))
    with pytest.raises(UsageError, match="not a ReT retriever"):
        Encoder.load(reader_folder)


def test_a_file_is_no_folder(reader_folder: Path) -> None:
    file = reader_folder / WEIGHTS
    calls: list[Callable[[str], object]] = [open_reader, Encoder.load, check_models]
    for call in calls:
        with pytest.raises(UsageError, match="is a file"):
            call(str(file))


def test_a_loop_of_links_is_no_folder(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    calls: list[Callable[[str], object]] = [open_reader, Encoder.load, check_models]
    for call in calls:
        with pytest.raises(Missing, match=r"no (such )?folder"):
            call(str(loop))


def test_a_whole_folder_loads_under_any_name(reader_folder: Path) -> None:
    shards("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")(reader_folder)
    (found,) = check_models(str(reader_folder))
    assert found.good, found.findings
    assert open_reader(str(reader_folder), device="cpu").name


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (write("config.json", "["), 1, "config.json is damaged"),
        (write(WEIGHTS, POINTER), 3, "Git LFS"),
        (configure(quantization_config={"quant_method": "awq"}, model_type="x"), 2, "'x'"),
        (tensors(rename_all), 1, "lack|does not fit"),
        (spoil(float("nan")), 1, "infinite or none"),
    ],
    ids=["config", "pointer", "form", "names", "numbers"],
)
def test_at_the_command_line(
    change: Change,
    code: int,
    says: str,
    reader_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit codes, one line on stderr, no traceback; of the commands that load a model."""
    retriever = Path(shutil.copytree(embedded_model("retriever"), tmp_path / "ret"))
    change(reader_folder)
    change(retriever)
    documents = tmp_path / "documents.jsonl"
    documents.write_text('{"id": "1", "text": "a red bird"}\n')
    with KnowledgeBase.create(tmp_path / "a.kb", Encoder.load("demo", device="cpu")) as kb:
        kb.add([{"id": "1", "text": "a red bird"}])
    ask = ["ask", str(tmp_path / "a.kb"), "What is it?", "-k", "0", "--reader", str(reader_folder)]
    build = ["kb", "build", str(documents), "--out", str(tmp_path / "new.kb")]
    for command in (ask, [*build, "--retriever", str(retriever), "--yes"]):
        assert run([*command, "--quiet"]) == code
        error = capsys.readouterr().err
        assert [line.startswith("error: ") for line in error.splitlines()].count(True) == 1, error
        assert re.search(says, error), error
        assert "Traceback" not in error
    assert not (tmp_path / "new.kb").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read(reader_folder: Path) -> None:
    (reader_folder / "config.json").chmod(0)
    with pytest.raises(RagVqaError, match=r"Permission denied\. Check its permissions"):
        open_reader(str(reader_folder), device="cpu")


def test_a_gguf_file_that_was_cut(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    header = b"GGUF" + struct.pack("<IQQ", 3, 0, 9)  # of nine values, none follows
    (tmp_path / "model.gguf").write_bytes(header)
    with pytest.raises(RagVqaError) as caught:
        open_reader(str(tmp_path), device="cpu")
    one_line_of_ours(caught.value, "cannot be loaded")
    assert "\n" not in refused_by_check(tmp_path)
