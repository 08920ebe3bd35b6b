"""Equality with the ReT release: features, states, towers, loss, gradients, image processing."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPImageProcessorPil

from rag_vqa.images import load
from rag_vqa.retriever.losses import contrastive_loss
from rag_vqa.retriever.modeling.model import RetModel, RetrieverModel
from rag_vqa.retriever.modeling.processor import BLANK_IMAGE_SIZE, RetProcessor
from rag_vqa.retriever.scoring import late_interaction

GOLDEN = Path(__file__).parents[2] / "golden"
FIXTURES = sorted(path.name for path in GOLDEN.iterdir() if (path / "config.json").exists())
RAW, NORMALISED = 5e-5, 5e-6


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


@pytest.fixture(scope="module", params=FIXTURES)
def fixture(request: pytest.FixtureRequest) -> tuple[RetrieverModel, dict[str, Tensor]]:
    folder = GOLDEN / request.param
    model = RetrieverModel.from_pretrained(folder).eval()
    return model, load_file(folder / "golden.safetensors")


def inputs(golden: dict[str, Tensor], side: str) -> dict[str, Tensor]:
    prefix = f"{side}.in."
    return {k.removeprefix(prefix): v for k, v in golden.items() if k.startswith(prefix)}


def side_of(model: RetrieverModel, side: str) -> RetModel:
    return model.get_query_model() if side == "query" else model.get_passage_model()


@pytest.mark.parametrize("side", ["query", "passage"])
@torch.no_grad()
def test_forward_equals_the_release(
    fixture: tuple[RetrieverModel, dict[str, Tensor]], side: str
) -> None:
    model, golden = fixture
    given = inputs(golden, side)
    full = side_of(model, side)(**given, output_states=True)
    close(full.ret_features, golden[f"{side}.full.ret_features"], RAW)
    normalised = F.normalize(full.ret_features, dim=-1)
    close(normalised, golden[f"{side}.full.ret_features_norm"], NORMALISED)
    close(full.states[:, 1], golden[f"{side}.full.steps_sample1"], RAW)
    for tower in ("text", "vision"):
        pooled, last = full[f"{tower}_pooler_output"], full[f"{tower}_last_hidden_state"]
        close(pooled, golden[f"{side}.full.{tower}_pooler_output"], RAW)
        close(last[1], golden[f"{side}.full.{tower}_last_hidden_state_sample1"], RAW)


DROPPED = {
    "nomodmask": ("text_mask", "image_mask"),
    "noattnmask": ("text_mask", "image_mask", "attention_mask"),
    "imagemaskonly": ("text_mask",),
}


@torch.no_grad()
def test_masks_left_out(fixture: tuple[RetrieverModel, dict[str, Tensor]]) -> None:
    model, golden = fixture
    stored = [key for key in golden if key.split(".")[1] in DROPPED]
    # Fixture a stores the full case alone; the others all three cases for both sides.
    assert len(stored) == (0 if len(golden) == 24 else 6)
    for key in stored:
        side, case, _ = key.split(".")
        given = {k: v for k, v in inputs(golden, side).items() if k not in DROPPED[case]}
        close(side_of(model, side)(**given).ret_features, golden[key], RAW)


@pytest.mark.parametrize("missing", ["text", "image"])
@torch.no_grad()
def test_a_missing_modality_costs_nothing_and_changes_nothing(
    fixture: tuple[RetrieverModel, dict[str, Tensor]], missing: str
) -> None:
    model, golden = fixture
    given = inputs(golden, "passage")
    absent = torch.zeros(len(given["input_ids"]))
    given |= {"text_mask": 1 - absent, "image_mask": 1 - absent, f"{missing}_mask": absent}
    side = model.get_passage_model()
    # The release always runs both towers: a mask too small to matter keeps them running here.
    forced = side(**given | {f"{missing}_mask": absent + 1e-30}).ret_features
    tower = side.text_model if missing == "text" else side.vision_model
    ran: list[int] = []
    handle = tower.register_forward_hook(lambda *_: ran.append(1))
    skipped = side(**given).ret_features
    handle.remove()
    assert not ran
    close(skipped, forced, 1e-6)


@torch.no_grad()
def test_rows_of_the_golden_batch_with_a_missing_modality_alone(
    fixture: tuple[RetrieverModel, dict[str, Tensor]],
) -> None:
    """Rows whose mask is 0 in the golden batch, encoded without that modality at all."""
    model, golden = fixture
    found = 0
    for side in ("query", "passage"):
        given, expected = inputs(golden, side), golden[f"{side}.full.ret_features"]
        for name, drop in (("text_mask", "input_ids"), ("image_mask", "pixel_values")):
            for row in (given[name] == 0).nonzero().flatten().tolist():
                one = {k: v[row : row + 1] for k, v in given.items() if k != drop}
                if drop == "input_ids":
                    del one["attention_mask"]
                close(side_of(model, side)(**one).ret_features[0], expected[row], RAW)
                found += 1
    assert found


def test_saved_files_are_the_release_s(
    fixture: tuple[RetrieverModel, dict[str, Tensor]],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    model, _ = fixture
    model.save_pretrained(tmp_path)
    folder = GOLDEN / request.node.callspec.params["fixture"]
    ours, theirs = (load_file(p / "model.safetensors") for p in (tmp_path, folder))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    manifest = json.loads((GOLDEN / "manifest.json").read_text())
    assert len(ours) == manifest["fixtures"][folder.name]["n_keys"]


@pytest.fixture(scope="module")
def loss_data() -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    meta = json.loads((GOLDEN / "loss_meta.json").read_text())
    return load_file(GOLDEN / "scoring_and_loss.safetensors"), meta


def test_scores(loss_data: tuple[dict[str, Tensor], dict[str, list[str]]]) -> None:
    g, _ = loss_data
    q, p, qm, pm = g["q"], g["p"], g["q_mask"], g["p_mask"]
    close(late_interaction(q, p), g["fg"], 1e-5)
    close(late_interaction(q, p[:3]), g["fg_rect"], 1e-5)
    close(late_interaction(q, p, passage_mask=pm), g["fg_pmask"], 1e-5)
    scaled = late_interaction(q, p, qm, pm) * g["logit_scale"]
    close(scaled, g["fg_qmask_pmask_scale"], 1e-5)
    close(late_interaction(g["qv"], g["pv"]), g["single"], 1e-5)
    close(late_interaction(g["qv"], g["pv"]) * g["logit_scale"], g["single_scale"], 1e-5)
    close(late_interaction(q, p, passage_mask=pm).diagonal(), g["colbert_score_aligned"], 1e-5)
    close(late_interaction(q[:1], p, passage_mask=pm)[0], g["colbert_score_q0"], 1e-5)


CASES = {
    "fg_dup": ("q", "p", "dup_labels", False, False),
    "fg_dup_masks_scale": ("q", "p", "dup_labels", True, True),
    "fg_empty_labels": ("q", "p", "", False, False),
    "fg_unique": ("q", "p", "unique_labels", False, False),
    "single_dup_scale": ("qv", "pv", "dup_labels", False, True),
    "single_unique": ("qv", "pv", "unique_labels", False, False),
}


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients(
    loss_data: tuple[dict[str, Tensor], dict[str, list[str]]], case: str
) -> None:
    g, meta = loss_data
    query_name, passage_name, labels, masks, scale = CASES[case]
    q = g[query_name].clone().requires_grad_()
    p = g[passage_name].clone().requires_grad_()
    loss = contrastive_loss(
        q,
        p,
        meta[labels] if labels else [],
        symmetric=False,
        logit_scale=g["logit_scale"] if scale else 1.0,
        query_mask=g["q_mask"] if masks else None,
        passage_mask=g["p_mask"] if masks else None,
    )
    loss.backward()
    assert q.grad is not None and p.grad is not None
    close(loss, g[f"loss.{case}.loss"], 1e-5)
    close(q.grad, g[f"loss.{case}.grad_q"], 1e-6)
    close(p.grad, g[f"loss.{case}.grad_p"], 1e-6)


JOINT = "c_vit_l_tanh_relu_priors"


@pytest.mark.parametrize("labels", ["unique", "dup"])
def test_joint_forward(
    loss_data: tuple[dict[str, Tensor], dict[str, list[str]]], labels: str
) -> None:
    expected, prefix = loss_data[0], f"retriever_forward_fixture_c.{labels}"
    golden = load_file(GOLDEN / JOINT / "golden.safetensors")
    model = RetrieverModel.from_pretrained(GOLDEN / JOINT).eval()
    names = {"unique": list("abcd"), "dup": list("abac")}[labels]
    out = model(inputs(golden, "query"), inputs(golden, "passage"), names)
    close(out.query_features, expected[f"{prefix}.query_features"], RAW)
    close(out.passage_features, expected[f"{prefix}.passage_features"], RAW)
    close(out.loss, expected[f"{prefix}.loss"], 1e-5)


def test_image_processing() -> None:
    data = load_file(GOLDEN / "clip_image_preprocess.safetensors")
    arrays = [data[name].numpy() for name in sorted(data) if name.startswith("image")]
    images = [load(Image.fromarray(array)) for array in arrays] + [
        Image.new("RGB", BLANK_IMAGE_SIZE)
    ]
    small = {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}
    processor = RetProcessor(None, CLIPImageProcessorPil(**small), parity=True)
    close(processor.pixels(images), data["pixel_values_24"], 1e-6)
    full = RetProcessor(None, CLIPImageProcessorPil(), parity=True).pixels(images)
    flat = full.flatten(1)
    stats = torch.stack((flat.mean(1), flat.std(1), full[:, 0, 100, 100]), dim=1)
    close(stats, data["stat_224"], 1e-5)
