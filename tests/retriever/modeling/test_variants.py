"""The paper's ablations as switches: the formulas written out, the files, the short cuts."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from rag_vqa.checkpoints import embedded_model
from rag_vqa.errors import UsageError
from rag_vqa.retriever.export import export_released
from rag_vqa.retriever.modeling.cell import RetCell
from rag_vqa.retriever.modeling.configuration import RetConfig, RetrieverConfig
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.retriever.modeling.model import RetrieverModel
from rag_vqa.retriever.modeling.processor import RetProcessor
from rag_vqa.retriever.training.initialisation import apply_variant
from rag_vqa.retriever.training.training_settings import Variant
from rag_vqa.types import Passage

GOLDEN = Path(__file__).parents[2] / "golden" / "a_vit_b_shared_backbones"
B, K, H, L, V = 3, 4, 64, 5, 7


def cell(**changes: object) -> RetCell:
    torch.manual_seed(0)
    return RetCell(RetConfig(hidden_size=H, num_queries=K, **changes)).eval()


def attended(cell: RetCell, name: str, query: Tensor, context: Tensor) -> Tensor:
    """Softmax attention of one head, written out."""
    attention = getattr(cell, name)
    q, k, v = attention.in_proj_weight.chunk(3)
    weights = torch.softmax((query @ q.T) @ (context @ k.T).mT / H**0.5, dim=-1)
    return weights @ (context @ v.T) @ attention.out_proj.weight.T


def expected(cell: RetCell, inputs: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
    """A step by the paper's equations; of the modalities in `inputs`."""
    q = inputs["state"] + cell.query_state_ids
    n = cell.xa_ln(q)
    r = q + F.multi_head_attention_forward(
        n.mT.permute(2, 0, 1), n.mT.permute(2, 0, 1), n.mT.permute(2, 0, 1), H, 1,
        cell.sa.in_proj_weight, cell.sa.in_proj_bias, None, None, False, 0.0,
        cell.sa.out_proj.weight, cell.sa.out_proj.bias, need_weights=False,
    )[0].transpose(0, 1)  # fmt: skip
    terms, logits = torch.zeros_like(r), torch.zeros_like(r)
    for name in ("text", "vision"):
        if name in inputs:
            here = present[name][:, None, None]
            read = attended(cell, f"{name}_xa", n, getattr(cell, f"{name}_ln")(inputs[name]))
            if cell.gates:
                gate = getattr(cell, f"{name}_input_gate_w")(read)
                logits = logits + getattr(cell, f"{name}_forget_gate_w")(read) * here
                terms = terms + read * torch.sigmoid(gate) * here
            else:
                terms = terms + read * here
    h = (r * torch.sigmoid(logits) if cell.gates else r) + terms
    first, last = cell.mlp[0], cell.mlp[3]
    return h + last(F.gelu(first(cell.mlp_ln(h))))


@pytest.mark.parametrize("gates", [True, False])
@pytest.mark.parametrize("fusion", ["both", "text", "image"])
@torch.no_grad()
def test_a_step_is_the_formula(gates: bool, fusion: str) -> None:
    one = cell(gates=gates, fusion=fusion)
    generator = torch.Generator().manual_seed(1)
    inputs = {
        name: torch.randn(B, rows, H, generator=generator)
        for name, rows in (("state", K), ("text", L), ("vision", V))
    }
    present = {"text": torch.tensor([1.0, 0, 1]), "vision": torch.tensor([1.0, 1, 0])}
    read = {k: v for k, v in inputs.items() if fusion == "both" or k[0] in "s" + fusion[0]}
    if fusion == "image":
        read["vision"] = inputs["vision"]
    out = one(
        read["state"],
        read.get("text"),
        read.get("vision"),
        text_mask=present["text"],
        image_mask=present["vision"],
    )
    torch.testing.assert_close(out, expected(one, read, present), atol=2e-6, rtol=1e-5)


def test_what_a_switch_leaves_out_is_not_built() -> None:
    whole = set(cell().state_dict())
    assert len(whole) == 34  # the release's
    bare = set(cell(gates=False).state_dict())
    assert whole - bare == {key for key in whole if "_gate_" in key}
    text = set(cell(fusion="text").state_dict())
    assert whole - text == {key for key in whole if key.startswith("vision_")}
    assert not bare - whole and not text - whole


def test_files_name_a_switch_where_it_is_used(tmp_path: Path) -> None:
    config = RetrieverConfig.from_pretrained(GOLDEN)
    config.save_pretrained(tmp_path)
    written = (tmp_path / "config.json").read_text()
    assert '"gates"' not in written and '"fusion"' not in written
    other = apply_variant(config, Variant(gates=False, fusion="text"))
    other.save_pretrained(tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    assert raw["query_config"]["gates"] is False and raw["passage_config"]["fusion"] == "text"
    again = RetrieverConfig.from_pretrained(tmp_path)
    assert not again.passage.gates and again.query.fusion == "text"


@pytest.mark.parametrize("changes", [{"gates": False}, {"fusion": "image"}])
def test_the_release_could_not_load_it(tmp_path: Path, changes: dict[str, object]) -> None:
    config = apply_variant(RetrieverConfig.from_pretrained(GOLDEN), Variant.model_validate(changes))
    model = RetrieverModel(config)
    with pytest.raises(UsageError, match=next(iter(changes))):
        export_released(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    model.save_pretrained(tmp_path / "own")
    again = RetrieverModel.from_pretrained(tmp_path / "own")  # refuses missing and left over keys
    assert all(
        torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items()
    )


def test_variants_change_what_they_say_and_no_more() -> None:
    config = RetrieverConfig.from_pretrained(embedded_model("retriever"))
    before = config.to_dict()
    assert apply_variant(config, Variant()).to_dict() == before
    last = apply_variant(config, Variant(layers="last"))
    assert last.query.layers == last.passage.layers == ((2,), (3,))  # of towers of 3 and 4
    few = apply_variant(config, Variant(tokens=8))
    assert few.query.num_queries == few.passage.num_queries == 8
    assert apply_variant(config, Variant(pool=True)).passage.use_pooler_features
    one = apply_variant(config, Variant(one_model=True))
    model = RetrieverModel(one)
    assert model.get_passage_model() is model.get_query_model()
    assert config.to_dict() == before
    with pytest.raises(ValueError, match="needs text_config"):
        apply_variant(RetrieverConfig(), Variant(layers="last"))


@pytest.mark.parametrize("fusion", ["text", "image"])
def test_what_is_not_fused_does_not_run_and_does_not_matter(fusion: str) -> None:
    source = embedded_model("retriever")
    variant = Variant.model_validate({"fusion": fusion})
    config = apply_variant(RetrieverConfig.from_pretrained(source), variant)
    encoder = Encoder(RetrieverModel(config), RetProcessor.load(source, config.query))
    side, ran = encoder.model.get_passage_model(), []
    side.text_model.register_forward_hook(lambda *_: ran.append("text"))
    side.vision_model.register_forward_hook(lambda *_: ran.append("image"))
    red, blue = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
    whole, other, alone, nothing, neither = encoder.encode_passages(
        [
            Passage("whole", 0, "An island.", red),
            Passage("other", 0, *(("A hill.", red) if fusion == "text" else ("An island.", blue))),
            Passage("alone", 0, *(("An island.", None) if fusion == "text" else ("", red))),
            Passage("nothing", 0, *(("", red) if fusion == "text" else ("An island.", None))),
            Passage("neither", 0, *(("", blue) if fusion == "text" else ("A hill.", None))),
        ]
    )
    assert set(ran) == {fusion}
    torch.testing.assert_close(whole, alone, atol=1e-6, rtol=0)
    assert abs(whole - other).max() > 1e-3
    # Of the one modality that is read they have nothing: nothing tells them apart.
    assert (nothing == neither).all() and abs(whole - nothing).max() > 1e-3
