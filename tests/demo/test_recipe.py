"""The settings that the embedded retriever is trained with: they say what it is, and they run."""

from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoTokenizer

from rag_vqa.checkpoints import embedded_model
from rag_vqa.demo.train_tower import VISION_CONFIG
from rag_vqa.demo.training.flag_pairs import FlagPairs, flag_source
from rag_vqa.demo.training.tokenizer import INSTRUCTION
from rag_vqa.errors import UsageError
from rag_vqa.retriever.modeling.configuration import RetrieverConfig
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.retriever.training.training_loop import make_accelerator
from rag_vqa.retriever.training.training_run import train_retriever
from rag_vqa.retriever.training.training_settings import SourceSettings, TrainSettings


def recipe(root: Path, **changes: object) -> TrainSettings:
    tree = yaml.safe_load((root / "rag_vqa" / "demo" / "retriever.yaml").read_text("utf-8"))
    return TrainSettings.model_validate(tree | changes).check_consistency()


def test_it_describes_the_model_that_is_bundled(root: Path) -> None:
    settings = recipe(root)
    assert settings.model is not None
    query = {**settings.model.config["query_config"], "vision_config": VISION_CONFIG.to_dict()}
    words = AutoTokenizer.from_pretrained(embedded_model("retriever"))
    assert "vocab_size" not in query["text_config"]  # it is the tokenizer's, whichever was made
    query["text_config"] = {**query["text_config"], "vocab_size": len(words)}
    raw = {"query_config": query, "passage_config": query}
    said = RetrieverConfig.from_dict(raw).query.to_dict()
    bundled = RetrieverConfig.from_pretrained(embedded_model("retriever"))
    for side in (bundled.query, bundled.passage):
        own = side.to_dict()
        for tower in ("text_config", "vision_config"):
            assert own[tower].items() >= {**said[tower], "dtype": None}.items()
        for name in ("num_queries", "late_proj_output_size", "layer_strategy", "hidden_size"):
            assert own[name] == said[name]
    assert said["text_config"]["max_position_embeddings"] == words.model_max_length
    assert settings.instruction == INSTRUCTION


def test_it_trains_a_retriever_that_loads(root: Path, tmp_path: Path) -> None:
    from transformers import CLIPVisionModel

    words = str(embedded_model("retriever"))
    torch.manual_seed(0)
    tower = CLIPVisionModel(VISION_CONFIG)
    tower.save_pretrained(tmp_path / "tower")
    settings = recipe(root, out=tmp_path / "out", steps=2, warmup=0, batch=4, precision="fp32",
                      tokenizer=words, image_processor=words)  # fmt: skip
    model = settings.model
    assert model is not None
    moved = model.model_copy(update={"vision": str(tmp_path / "tower")})
    settings = settings.model_copy(update={"model": moved})
    train_retriever(settings, make_accelerator("fp32"), others={"flags": flag_source})
    encoder = Encoder.load(tmp_path / "out" / "last")
    assert (encoder.K, encoder.D, encoder.instruction) == (32, 128, INSTRUCTION)
    state = encoder.model.query_model.vision_model.state_dict()
    half = {name: tensor.half().float() for name, tensor in tower.state_dict().items()}
    assert all(torch.equal(state[name], tensor) for name, tensor in half.items())  # frozen


def test_flags_take_no_settings_of_files() -> None:
    assert flag_source(SourceSettings(format="flags", weight=2.0)) == FlagPairs()
    with pytest.raises(UsageError, match="leave out hard, questions"):
        flag_source(SourceSettings(format="flags", hard=1, questions=Path("x")))
