"""The model as an object: shared towers, moves, dtypes, freezing, refused checkpoints."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rag_vqa.errors import RagVqaError, UsageError
from rag_vqa.retriever.export import export_released
from rag_vqa.retriever.modeling.model import RetModel, RetrieverModel
from rag_vqa.retriever.modeling.processor import RetInputs

GOLDEN = Path(__file__).parents[2] / "golden"
SHARED = GOLDEN / "a_vit_b_shared_backbones"
ONE = GOLDEN / "b_openclip_h_one_model_two_heads"


@pytest.fixture
def model() -> RetrieverModel:
    return RetrieverModel.from_pretrained(SHARED).eval()


def test_shared_towers_are_held_once(model: RetrieverModel) -> None:
    query, passage = model.get_query_model(), model.get_passage_model()
    assert query.text_model is passage.text_model
    assert query.vision_model is passage.vision_model
    assert not any(name.startswith("passage_model.text_model") for name in model.state_dict())
    assert len({p.data_ptr() for p in model.parameters()}) == len(list(model.parameters()))
    one = RetrieverModel.from_pretrained(ONE)
    assert one.get_query_model() is one.get_passage_model()


def test_moving_one_side_takes_its_shared_towers_along(model: RetrieverModel) -> None:
    side = model.get_passage_model().to(torch.float64)
    assert side.text_model.dtype == side.vision_model.dtype == torch.float64


def test_a_copy_shares_its_own_towers(model: RetrieverModel) -> None:
    twin = copy.deepcopy(model)
    assert twin.get_passage_model().text_model is twin.get_query_model().text_model
    assert twin.get_query_model().text_model is not model.get_query_model().text_model


def test_frozen_towers_stay_in_evaluation_mode(model: RetrieverModel) -> None:
    assert model.train() is model
    assert not model.query_model.text_model.training
    assert model.query_model.ret_cell.training


@pytest.mark.parametrize(("dtype", "worst"), [(torch.bfloat16, 3e-2), (torch.float16, 4e-3)])
@torch.no_grad()
def test_half_precision_stays_close(dtype: torch.dtype, worst: float) -> None:
    golden = load_file(SHARED / "golden.safetensors")
    given = {k.removeprefix("query.in."): v for k, v in golden.items() if k.startswith("query.in.")}
    side = RetrieverModel.from_pretrained(SHARED, dtype=dtype).eval().get_query_model()
    expected = golden["query.full.ret_features"]
    error = (side(**given).ret_features.float() - expected).norm() / expected.norm()
    assert 0 < error < worst  # the release's own: 9e-3 in bf16, 1e-3 in fp16


def test_gradients_reach_cell_and_adapters_but_not_frozen_towers(model: RetrieverModel) -> None:
    model.train()
    ids, pixels = torch.ones(2, 3, dtype=torch.long), torch.randn(2, 3, 32, 32)
    side = {"input_ids": ids, "pixel_values": pixels}
    model.config.simmetric_loss = True  # the default, which the release cannot compute
    model(side, side, ["a", "b"]).loss.backward()
    cell = model.query_model.ret_cell
    assert cell.query_hidden_states.grad is not None and cell.query_hidden_states.grad.any()
    assert model.passage_model.text_adapter[0].weight.grad is not None
    assert all(p.grad is None for p in model.query_model.vision_model.parameters())


def test_a_cpu_encodes_a_batch_in_parts_with_each_picture_once(
    model: RetrieverModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = model.get_passage_model()
    size = side.config.vision_config.image_size
    inputs = RetInputs(
        torch.randint(3, 50, (5, 7)), torch.ones(5, 7, dtype=torch.int64),
        torch.rand(3, 3, size, size), torch.tensor([1.0, 1, 0, 1, 1]), torch.ones(5),
        torch.tensor([2, 0, 2, 1, 2]),
    )  # fmt: skip
    pictures: list[int] = []
    tower = side.vision_model
    tower.register_forward_hook(
        lambda _, args, given, out: pictures.append(len(given["pixel_values"])), with_kwargs=True
    )
    with torch.inference_mode():
        whole = side.encode(inputs)
        assert pictures == [3]
        monkeypatch.setattr("rag_vqa.retriever.modeling.model._CPU_ACTIVATIONS", 1)
        single = side.encode(inputs)
    assert pictures == [3, 1, 1, 1, 1, 1]
    torch.testing.assert_close(single, whole, atol=1e-5, rtol=1e-5)
    bare = RetInputs(inputs.input_ids, inputs.attention_mask, None, torch.ones(5), torch.zeros(5))
    with torch.inference_mode():
        torch.testing.assert_close(
            side.encode(bare)[3:4], side.encode(bare.take(torch.tensor([3])))
        )


def test_forward_needs_something(model: RetrieverModel) -> None:
    with pytest.raises(ValueError, match="input_ids or pixel_values"):
        model.get_query_model()()


def broken(tmp_path: Path, **changes: object) -> Path:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(SHARED / name, tmp_path / name)
    raw = json.loads((SHARED / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(raw | changes))
    return tmp_path


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = broken(tmp_path, share_text_models=False)
    with pytest.raises(RagVqaError, match=r"missing_keys: passage_model\.text_model"):
        RetrieverModel.from_pretrained(folder)


def test_one_side_does_not_load_out_of_a_checkpoint_of_two(tmp_path: Path) -> None:
    # transformers alone would give random towers, and say so in a log.
    with pytest.raises(RagVqaError, match=r"whole checkpoint of RetModel"):
        RetModel.from_pretrained(SHARED)


@torch.no_grad()
def test_one_side_is_saved_with_the_towers_of_the_other(
    model: RetrieverModel, tmp_path: Path
) -> None:
    golden = load_file(SHARED / "golden.safetensors")
    for name, side in (("query", model.get_query_model()), ("passage", model.get_passage_model())):
        side.save_pretrained(tmp_path / name)
        prefix = f"{name}.in."
        given = {k.removeprefix(prefix): v for k, v in golden.items() if k.startswith(prefix)}
        again = RetModel.from_pretrained(tmp_path / name).eval()
        torch.testing.assert_close(
            again(**given).ret_features, golden[f"{name}.full.ret_features"], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("kind", ["ret2", "ReT-2", "clip"])
def test_other_checkpoints_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    word = "not a ReT retriever" if kind == "clip" else "ReT-2 .* not supported yet"
    with pytest.raises(UsageError, match=word):
        RetrieverModel.from_pretrained(broken(tmp_path, model_type=kind))


def test_release_compatible_export(model: RetrieverModel, tmp_path: Path) -> None:
    export_released(model, tmp_path / "fine")
    raw = json.loads((tmp_path / "fine" / "config.json").read_text())
    assert "logit_scale" not in raw and raw["torch_dtype"] == "float32"
    theirs = load_file(SHARED / "model.safetensors")
    assert load_file(tmp_path / "fine" / "model.safetensors").keys() == theirs.keys()
    model.config.logit_scale = 2.0
    with pytest.raises(UsageError, match="logit_scale"):
        export_released(model, tmp_path / "scaled")
    model.config.logit_scale = 1.0
    model.config.query.layer_strategy = {"text": [0], "vision": [0]}
    with pytest.raises(UsageError, match="layer_strategy"):
        export_released(model, tmp_path / "layers")
    assert not (tmp_path / "layers").exists()
