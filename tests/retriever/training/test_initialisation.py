"""What a training begins with: towers and their fate, LoRA, sides, and settings that cannot be."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import TOWER, checkpoint, configuration, pairs, settings
from transformers import CLIPVisionConfig, CLIPVisionModel

from rag_vqa.errors import Missing, UsageError
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.retriever.modeling.export import merge_lora
from rag_vqa.retriever.training.initialisation import add_lora, initialise
from rag_vqa.retriever.training.training_settings import TrainSettings
from rag_vqa.types import Query


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    checkpoint(folder / "start")
    pairs(folder)
    return folder


def parts(told: TrainSettings) -> set[str]:
    """Which parts have parameters that require gradients."""
    model = initialise(told).model
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    return {".".join(name.split(".")[:2]) for name in trained}


OWN = {"ret_cell", "text_adapter", "vision_adapter", "late_proj"}


def test_frozen_towers_and_both_sides(home: Path) -> None:
    wanted = {f"{side}.{part}" for side in ("query_model", "passage_model") for part in OWN}
    assert parts(settings(home, home / "out")) == wanted
    found = initialise(settings(home, home / "out")).model
    assert found.query_model.training and not found.query_model.text_model.training


def test_the_query_side_alone_keeps_the_passage_side_without_dropout(home: Path) -> None:
    told = settings(home, home / "out", side="query")
    assert parts(told) == {f"query_model.{part}" for part in OWN}
    model = initialise(told).model
    assert model.query_model.training and not model.passage_model.training


def test_trained_towers(home: Path) -> None:
    told = settings(home, home / "out", towers={"text": "trained"})
    assert "query_model.text_model" in parts(told) and "query_model.vision_model" not in parts(told)


@torch.no_grad()
def test_lora_begins_as_the_tower_was_and_merges_to_what_it_computes(home: Path) -> None:
    torch.manual_seed(0)
    tower = CLIPVisionModel(CLIPVisionConfig(image_size=16, patch_size=8, **TOWER)).eval()
    pixels = torch.randn(3, 3, 16, 16)
    names = set(tower.state_dict())
    before = tower(pixel_values=pixels).last_hidden_state
    add_lora(tower, rank=4)
    trained = [name for name, p in tower.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in name for name in trained)
    assert torch.equal(tower(pixel_values=pixels).last_hidden_state, before)
    for name in trained:
        tower.get_parameter(name).normal_(std=0.3)
    moved = tower(pixel_values=pixels).last_hidden_state
    assert float((moved - before).abs().max()) > 0.1
    merge_lora(tower)
    assert set(tower.state_dict()) == names
    assert torch.allclose(tower(pixel_values=pixels).last_hidden_state, moved, atol=1e-5)


def test_a_tower_under_lora_is_exported_whole_and_goes_on_being_trained(
    home: Path, tmp_path: Path
) -> None:
    found = initialise(settings(home, home / "out", towers={"text": "lora", "rank": 2}))
    lora = [p for name, p in found.model.named_parameters() if "lora_B" in name]
    with torch.no_grad():
        for p in lora:
            p.normal_(std=0.3)
    found.export(tmp_path / "best")
    loaded = Encoder.load(tmp_path / "best", device="cpu")
    asked = [Query("red blue"), Query("money")]
    still = Encoder(found.model, found.processor).encode_queries(asked)
    assert abs(loaded.encode_queries(asked) - still).max() < 1e-5
    assert all(p.requires_grad for p in lora)


def test_a_model_from_nothing_and_from_a_tower(home: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    tower = CLIPVisionModel(CLIPVisionConfig(image_size=16, patch_size=8, **TOWER))
    tower.save_pretrained(tmp_path / "tower")
    config = configuration(words=1839).query.to_dict()
    config.pop("vision_config")
    told = settings(
        home,
        home / "out",
        start=None,
        model={"config": {"query_config": config}, "vision": str(tmp_path / "tower")},
        variant={"gates": False, "tokens": 2},
        tokenizer=str(home / "start"),
        image_processor=str(home / "start"),
    )
    model = initialise(told).model
    for name, tensor in tower.state_dict().items():
        assert torch.equal(model.query_model.vision_model.state_dict()[name], tensor)
    assert model.config.query.num_queries == model.config.passage.num_queries == 2
    again = initialise(told).model  # from the seed alone
    assert torch.equal(model.query_model.late_proj.weight, again.query_model.late_proj.weight)


@pytest.mark.parametrize(
    "more, said",
    [
        ({"start": None}, "either start: CHECKPOINT or model"),
        ({"model": {}}, "either start: CHECKPOINT or model"),
        ({"variant": {"gates": False}}, "not the checkpoint in `start`"),
        ({"warmup": 12}, "warmup is 12 of 12 steps"),
        ({"side": "query", "towers": {"text": "lora"}}, "must not change the passage side"),
    ],
)
def test_settings_that_do_not_go_together(home: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        settings(home, home / "out", **more)


def test_the_rate_rises_over_a_tenth_of_the_steps_where_nothing_is_said(home: Path) -> None:
    assert settings(home, home / "out", steps=40).plan().warmup == 4
    assert settings(home, home / "out", steps=4000).plan().warmup == 50
    assert settings(home, home / "out", steps=40, warmup=9).plan().warmup == 9


def test_a_start_within_what_is_written_is_refused(home: Path, tmp_path: Path) -> None:
    start = checkpoint(tmp_path / "out" / "best")
    with pytest.raises(UsageError, match="lies in"):
        settings(home, tmp_path / "out", start=str(start))


def test_the_digest_is_of_all_that_it_begins_with(home: Path, tmp_path: Path) -> None:
    start = checkpoint(tmp_path / "start")
    told = settings(home, home / "out", start=str(start), towers={"text": "lora"})
    before, again = initialise(told), initialise(told)
    assert before.digest == again.digest
    lora = [name for name, p in before.model.named_parameters() if "lora_A" in name]
    assert lora and all(
        torch.equal(before.model.get_parameter(n), again.model.get_parameter(n)) for n in lora
    )
    words = start / "tokenizer.json"
    words.write_text(words.read_text("utf-8").replace('"red"', '"rad"'), "utf-8")
    other = initialise(told).digest
    encoder = Encoder.load(start, device="cpu")
    with torch.no_grad():
        encoder.model.query_model.late_proj.weight[0, 0] += 1
    encoder.model.save_pretrained(start)
    assert len({before.digest, other, initialise(told).digest}) == 3


def test_one_model_for_both_sides_has_no_query_side_to_tune(home: Path, tmp_path: Path) -> None:
    one = checkpoint(tmp_path / "one", share_query_passage_models=True)
    with pytest.raises(UsageError, match="one model for both sides"):
        initialise(settings(home, home / "out", start=str(one), side="query"))


def test_what_is_not_there(home: Path) -> None:
    with pytest.raises(Missing, match="nowhere"):
        initialise(settings(home, home / "out", start=str(home / "nowhere")))
    model = {"config": {"query_config": {"text_config": {}}}, "vision": str(home / "nowhere")}
    with pytest.raises(Missing, match=r"model\.vision"):
        initialise(settings(home, home / "out", start=None, model=model))


def test_lora_lets_bitsandbytes_ask_for_nothing() -> None:
    log = logging.getLogger("bitsandbytes.backends.cpu.ops")
    log.setLevel(logging.NOTSET)
    add_lora(CLIPVisionModel(CLIPVisionConfig(image_size=16, patch_size=8, **TOWER)), rank=1)
    assert not log.isEnabledFor(logging.WARNING)


def test_a_new_text_tower_has_a_row_for_each_token(home: Path, tmp_path: Path) -> None:
    query = configuration().query.to_dict()
    rows = query["text_config"].pop("vocab_size")
    told = settings(home, home / "out").model_dump()
    own = str(home / "start")
    told |= {"start": None, "model": {"config": {"query_config": query}}}
    told |= {"tokenizer": own, "image_processor": own}
    made = initialise(TrainSettings.model_validate(told)).model
    words = len(Encoder.load(home / "start").processor.tokenizer)
    assert made.config.query.text_config.vocab_size == words <= rows
    query["text_config"]["vocab_size"] = words - 1
    with pytest.raises(UsageError, match=f"has {words} tokens, but the text tower {words - 1}"):
        initialise(TrainSettings.model_validate(told))
