"""Hugging Face's conventions (Auto classes, push_to_hub), and sentence-transformers' names."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from transformers import AutoModel, AutoProcessor, AutoTokenizer, CLIPImageProcessorPil

from rag_vqa.errors import Missing, UsageError
from rag_vqa.retriever.model_card import CARD_FILE, ModelCard
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.retriever.modeling.export import export_checkpoint
from rag_vqa.retriever.modeling.model import RetModel, RetrieverModel
from rag_vqa.retriever.modeling.processor import RetProcessor
from rag_vqa.types import Passage, Query

RED = Image.new("RGB", (20, 12), (200, 0, 0))


@pytest.fixture(scope="module")
def encoder(checkpoint: Path) -> Encoder:
    return Encoder.load(checkpoint, device="cpu")


@pytest.mark.parametrize("first", ["rag_vqa.retriever", "transformers"])
def test_auto_classes_load_a_folder_after_one_import(checkpoint: Path, first: str) -> None:
    code = f"""
import {first}
import rag_vqa.retriever
from transformers import AutoConfig, AutoModel, AutoProcessor
folder = {str(checkpoint)!r}
print(type(AutoConfig.from_pretrained(folder)).__name__)
print(type(AutoProcessor.from_pretrained(folder)).__name__)
print(type(AutoModel.from_pretrained(folder)).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["RetrieverConfig", "RetProcessor", "RetrieverModel"], done.stderr


def test_the_package_itself_imports_no_torch() -> None:
    code = "import sys, rag_vqa, rag_vqa.cli.app; print({'torch', 'transformers'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_model_and_processor_give_what_the_encoder_gives(
    checkpoint: Path, encoder: Encoder
) -> None:
    model, processor = (
        AutoModel.from_pretrained(checkpoint),
        AutoProcessor.from_pretrained(checkpoint),
    )
    assert isinstance(model, RetrieverModel) and isinstance(processor, RetProcessor)
    inputs = processor(text=["red bird", ""], images=[RED, RED], return_tensors="pt").to("cpu")
    with torch.no_grad():
        features = model.get_passage_model()(**inputs).ret_features
    expected = encoder.encode_passages([Passage("1", 0, "red bird", RED), Passage("2", 0, "", RED)])
    unit = torch.nn.functional.normalize(features, dim=-1).numpy()
    np.testing.assert_allclose(unit, expected, atol=1e-5)


def test_saved_apart_they_are_one_folder_that_everything_loads(
    checkpoint: Path, encoder: Encoder, tmp_path: Path
) -> None:
    processor = AutoProcessor.from_pretrained(checkpoint)
    processor(text="red bird")  # leaves padding and truncation in the tokenizer
    AutoModel.from_pretrained(checkpoint).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert isinstance(AutoProcessor.from_pretrained(tmp_path), RetProcessor)
    assert len(AutoTokenizer.from_pretrained(tmp_path)("red bird find it")["input_ids"]) == 6
    size = CLIPImageProcessorPil.from_pretrained(tmp_path).size
    assert (size["height"], size["width"]) == (16, 16)
    assert Encoder.load(tmp_path, device="cpu").fingerprint == encoder.fingerprint
    assert not list(tmp_path.glob("*.bin"))


def test_one_side_loads_by_itself(checkpoint: Path, encoder: Encoder, tmp_path: Path) -> None:
    encoder.model.get_query_model().save_pretrained(tmp_path)
    encoder.processor.save_pretrained(tmp_path)
    side = AutoModel.from_pretrained(tmp_path)
    assert isinstance(side, RetModel)
    inputs = AutoProcessor.from_pretrained(tmp_path)("find red bird", None)
    with torch.no_grad():
        unit = torch.nn.functional.normalize(side(**inputs).ret_features, dim=-1)
    expected = encoder.encode_queries([Query("red bird", instruction="find")])
    np.testing.assert_allclose(unit.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "images"), [(["a", "b"], [RED]), ([], []), (None, None)], ids=["lengths", "none", "no"]
)
def test_a_batch_without_items_is_refused(encoder: Encoder, text: Any, images: Any) -> None:
    with pytest.raises(UsageError, match="for every item"):
        encoder.processor(text, images)


def test_an_unknown_option_is_refused(encoder: Encoder) -> None:
    with pytest.raises(UsageError, match="return_tensors"):
        encoder.processor("a", return_tensors="np")


def test_a_folder_without_tokenizer_is_named(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copy(checkpoint / "config.json", tmp_path)
    with pytest.raises(Missing, match="tokenizer"):
        RetProcessor.from_pretrained(tmp_path, local_files_only=True)


def test_encode_query_and_document_as_sentence_transformers_names_them(encoder: Encoder) -> None:
    queries = [Query("red bird", RED), Query("a nest"), Query("", RED)]
    expected = encoder.encode_queries(queries)
    found = encoder.encode_query([{"text": "red bird", "image": RED}, "a nest", RED])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(encoder.encode_query("a nest"), expected[1], atol=1e-6)
    passages = [Passage("1", 0, "red bird", RED), Passage("2", 0, "it nest")]
    documents = encoder.encode_document([{"text": "red bird", "image": RED}, "it nest"])
    np.testing.assert_array_equal(documents, encoder.encode_passages(passages))
    assert encoder.encode_document(passages[1]).shape == (encoder.K, encoder.D)
    scores = encoder.similarity(found, documents)
    by_hand = [[(q @ d.T).max(axis=1).sum() for d in documents] for q in found]
    np.testing.assert_allclose(scores.numpy(), by_hand, atol=1e-5)
    assert encoder.similarity(found[0], documents[1]).shape == (1, 1)


@pytest.mark.parametrize("given", [{}, {"txt": "a"}, 7, [7]])
def test_other_inputs_are_refused(encoder: Encoder, given: Any) -> None:
    with pytest.raises((UsageError, TypeError)):
        encoder.encode_query(given)


def test_save_pretrained_keeps_everything(checkpoint: Path, tmp_path: Path) -> None:
    half = Encoder.load(checkpoint, device="cpu", dtype="float16")
    half.save_pretrained(tmp_path / "out")
    again = Encoder.load(tmp_path / "out", device="cpu", dtype="float16")
    assert again.fingerprint == half.fingerprint
    assert again.query_fingerprint == half.query_fingerprint
    assert again.instruction == "find"


def front_matter(text: str) -> dict[str, Any]:
    _, front, _ = text.split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(front)
    return found


def test_the_card_states_data_figures_licence_and_use(encoder: Encoder, tmp_path: Path) -> None:
    card = ModelCard(
        base="aimagelab/ReT-CLIP-ViT-L-14",
        data=("pairs.jsonl: 300 pairs",),
        figures={"recall@1": 0.8125},
        measured_on="500 held-out pairs",
        licence="cc-by-4.0",
    )
    export_checkpoint(encoder.model, encoder.processor, tmp_path / "ret", card=card)
    text = (tmp_path / "ret" / CARD_FILE).read_text("utf-8")
    assert front_matter(text) == {
        "base_model": "aimagelab/ReT-CLIP-ViT-L-14",
        "library_name": "transformers",
        "license": "cc-by-4.0",
        "pipeline_tag": "visual-document-retrieval",
        "tags": ["rag-vqa", "ret", "late-interaction", "multimodal-retrieval"],
    }
    for line in ("- pairs.jsonl: 300 pairs", "| recall@1 | 0.812 |", "on 500 held-out pairs."):
        assert line in text
    assert "into 4 tokens of width 8" in text and "--retriever ret\n" in text


def test_a_card_claims_nothing_that_it_does_not_know(encoder: Encoder) -> None:
    text = ModelCard(base="/home/somebody/model").render(encoder.model.config)
    assert not {"license", "base_model"} & front_matter(text).keys()
    assert text.count("ot stated") == 3  # data, figures, licence


class _Hub(BaseHTTPRequestHandler):
    """Takes commits of small files, as the hub's protocol sends them."""

    files: dict[str, bytes]

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        name = self.path.rpartition("/resolve/main/")[2]
        self.send_response(200 if name in self.files else 404)
        if name in self.files:
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", str(len(self.files[name])))
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()

    def do_GET(self) -> None:
        name = self.path.rpartition("/resolve/main/")[2]
        if name in self.files:
            self.do_HEAD()
            self.wfile.write(self.files[name])
        else:
            self._reply({"id": "me/ret", "sha": "0" * 40, "siblings": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        address = f"http://{self.headers['Host']}/me/ret"
        if self.path == "/api/repos/create":
            self._reply({"url": address, "id": "me/ret", "name": "me/ret"})
        elif self.path == "/api/validate-yaml":
            self._reply({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for file in json.loads(body)["files"]
            ]
            self._reply({"files": files})
        else:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            commit = {"commitUrl": f"{address}/commit/1", "commitOid": "1" * 40}
            self._reply({"success": True, "hookOutput": "", "pullRequestUrl": None, **commit})

    def _reply(self, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def hub() -> Iterator[tuple[str, dict[str, bytes]]]:
    files: dict[str, bytes] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Hub", (_Hub,), {"files": files}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", files
    server.shutdown()
    server.server_close()


def push(address: str, code: str) -> None:
    """Runs code in a process that knows this hub."""
    variables = {"HF_ENDPOINT": address, "HF_TOKEN": "hf_test", "PATH": "/usr/bin"}
    variables |= {"PYTHONPATH": ":".join(sys.path), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_push_to_hub_uploads_everything_with_a_card(
    hub: tuple[str, dict[str, bytes]], checkpoint: Path, encoder: Encoder, tmp_path: Path
) -> None:
    address, files = hub
    load = f"from rag_vqa.retriever.encoder import Encoder; e = Encoder.load({str(checkpoint)!r}); "
    push(address, load + "e.push_to_hub('me/ret')")
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert Encoder.load(tmp_path, device="cpu").fingerprint == encoder.fingerprint
    card = files[CARD_FILE].decode()
    assert "--retriever me/ret" in card and front_matter(card)["library_name"] == "transformers"
    files[CARD_FILE] = b"---\ntags: []\n---\nMy own words."
    push(address, load + "e.push_to_hub('me/ret')")
    assert files[CARD_FILE].endswith(b"My own words.")


def test_push_to_hub_of_the_model_alone(
    hub: tuple[str, dict[str, bytes]], checkpoint: Path
) -> None:
    address, files = hub
    push(
        address,
        "import rag_vqa.retriever; from transformers import AutoModel; "
        f"AutoModel.from_pretrained({str(checkpoint)!r}).push_to_hub('me/ret')",
    )
    assert {"config.json", "model.safetensors", CARD_FILE} <= files.keys()
    assert "into 4 tokens of width 8" in files[CARD_FILE].decode()
