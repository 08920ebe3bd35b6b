"""Processor and encoder on a tiny checkpoint: masks, grouping, overrides, fingerprints."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rag_vqa.errors import Missing, RagVqaError, UsageError
from rag_vqa.retriever.modeling.configuration import RetConfig
from rag_vqa.retriever.modeling.encoder import INSTRUCTION_FILE, Encoder
from rag_vqa.retriever.modeling.processor import RetProcessor
from rag_vqa.types import Passage, Query


@pytest.fixture(scope="module")
def encoder(checkpoint: Path) -> Encoder:
    return Encoder.load(checkpoint, device="cpu", batch_size=3)


RED = Image.new("RGB", (20, 30), (200, 30, 30))
BLUE = Image.new("RGB", (30, 20), (30, 30, 200))


@pytest.mark.parametrize("content", ["{}", "{", "[]", '{"default": null}', "\xff"])
def test_a_damaged_instruction_file_is_named(
    checkpoint: Path, tmp_path: Path, content: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(checkpoint, folder)
    (folder / INSTRUCTION_FILE).write_bytes(content.encode("latin-1"))
    with pytest.raises(RagVqaError, match=r"instructions\.json.*Mend it"):
        Encoder.load(folder, device="cpu")
    Encoder.load(folder, device="cpu", instruction="look for")  # it is not needed then


def test_a_mixed_batch_gives_what_single_items_give(encoder: Encoder) -> None:
    passages = [
        Passage("1", 0, "a red bird", RED),
        Passage("2", 0, "it does nest where it does nest", None),
        Passage("3", 0, "", BLUE),
        Passage("4", 0, "bird", None),
        Passage("5", 0, "", RED),
        Passage("6", 0, "red", BLUE),
    ]
    together = encoder.encode_passages(passages)
    assert together.shape == (6, encoder.K, encoder.D) == (6, 4, 8)
    np.testing.assert_allclose(np.linalg.norm(together, axis=-1), 1, atol=1e-5)
    for row, passage in enumerate(passages):
        np.testing.assert_allclose(encoder.encode_passages([passage])[0], together[row], atol=1e-5)


def test_an_absent_image_equals_the_release_s_black_one_masked(encoder: Encoder) -> None:
    black = encoder.processor(["a bird"], [Image.new("RGB", (336, 336))])
    given = black.to_device(torch.device("cpu"), torch.float32) | {
        "image_mask": torch.zeros(1) + 1e-30
    }
    side = encoder.model.get_passage_model()
    with torch.no_grad():
        expected = torch.nn.functional.normalize(side(**given).ret_features, dim=-1)
    ours = encoder.encode_passages([Passage("1", 0, "a bird", None)])
    np.testing.assert_allclose(ours, expected.numpy(), atol=1e-5)


def test_the_instruction_stands_before_the_question(encoder: Encoder) -> None:
    default = encoder.encode_queries([Query("red bird", RED)])
    spelled = encoder.encode_queries([Query("find red bird", RED, instruction="")])
    other = encoder.encode_queries([Query("red bird", RED, instruction="where")])
    np.testing.assert_allclose(default, spelled, atol=1e-6)
    assert np.abs(default - other).max() > 1e-3


def test_exif_orientation_counts_unless_in_parity(checkpoint: Path, tmp_path: Path) -> None:
    picture = Image.new("RGB", (16, 16))
    picture.paste((255, 255, 255), (0, 0, 16, 8))  # white above, turned by the tag
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 3
    picture.save(turned, exif=exif, quality=95)
    picture.save(tmp_path / "plain.jpg", quality=95)
    for parity, same in ((False, False), (True, True)):
        encoder = Encoder.load(checkpoint, device="cpu", parity=parity)
        a, b = (
            encoder.processor([""], [tmp_path / name]).pixel_values
            for name in ("turned.jpg", "plain.jpg")
        )
        assert a is not None and b is not None
        assert bool(torch.allclose(a, b, atol=0.05)) is same


def test_long_texts_are_cut_at_the_window_and_counted_whole(encoder: Encoder) -> None:
    assert encoder.window == 8
    assert encoder.count_tokens("a " * 20) == 22
    assert encoder.encode_passages([Passage("1", 0, "a " * 20)]).shape == (1, 4, 8)


def test_a_truncated_question_is_logged(encoder: Encoder, caplog: pytest.LogCaptureFixture) -> None:
    def warnings_for(*lengths: int) -> list[str]:
        caplog.clear()
        texts = [" ".join(["bird"] * length) for length in lengths]
        with caplog.at_level(logging.WARNING, "rag_vqa.retriever"):
            encoder.encode_queries([Query(text, instruction="") for text in texts])
        return [record.getMessage() for record in caplog.records]

    fits = encoder.window - 2  # start and end marks
    assert warnings_for(fits) == []
    for count in (fits + 1, fits + 3):  # each time, of questions one by one
        [warning] = warnings_for(count)
        assert f"the first {encoder.window} of this question's {count + 2} tokens" in warning
    [warning] = warnings_for(1, fits + 1, fits + 2)
    assert f"{encoder.window} tokens of a question, and 2 of 3 have more" in warning
    assert warnings_for(1, fits + 1) == []  # of batches once


def test_fingerprint_follows_the_document_side(checkpoint: Path, encoder: Encoder) -> None:
    again = Encoder.load(checkpoint, device="cpu")
    assert again.fingerprint == encoder.fingerprint
    assert Encoder.load(checkpoint, device="cpu", parity=True).fingerprint != encoder.fingerprint
    with torch.no_grad():
        again.model.get_passage_model().late_proj.weight[0, 0] += 1e-3
    assert Encoder(again.model, again.processor).fingerprint != encoder.fingerprint
    query_side = Encoder.load(checkpoint, device="cpu")
    with torch.no_grad():
        query_side.model.get_query_model().late_proj.weight += 1.0
    assert query_side.fingerprint == encoder.fingerprint  # tuning queries keeps documents valid
    assert query_side.query_fingerprint != encoder.query_fingerprint == again.query_fingerprint


def test_tokenizer_and_image_processor_can_be_named(checkpoint: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((checkpoint / name).read_bytes())
    with pytest.raises(Missing, match=r"retriever\.tokenizer="):
        Encoder.load(bare, device="cpu", offline=True)
    named = Encoder.load(bare, device="cpu", tokenizer=checkpoint, image_processor=checkpoint)
    assert named.count_tokens("a red bird") == 5


@pytest.mark.parametrize(
    ("named", "taken"),
    [
        ("/somebody/else/clip", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"),
        ("", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"),
        ("a/b", "a/b"),
    ],
)
def test_a_path_of_its_authors_gives_way_to_what_is_known_of_a_released_model(
    named: str, taken: str
) -> None:
    config = RetConfig(text_config={"_name_or_path": named}, vision_config={"_name_or_path": named})
    with pytest.raises(Missing) as caught:  # offline, and nothing is in the cache
        RetProcessor.load("aimagelab/ReT-OpenCLIP-ViT-H-14", config, offline=True)
    assert f"its tokenizer ({taken!r}) or image processor ({taken!r})" in str(caught.value)


def test_an_absent_text_is_the_marks_whatever_the_batch_holds(encoder: Encoder) -> None:
    alone = encoder.processor([""], [RED])
    mixed = encoder.processor(["", "a red bird"], [RED, BLUE])
    assert alone.input_ids.tolist() == [[0, 1]]
    assert mixed.input_ids[0].tolist() == [0, 1, 1, 1, 1]
    assert mixed.attention_mask[0].tolist() == [1, 1, 0, 0, 0]


@torch.no_grad()
def test_joint_training_reads_a_query_as_alone_in_any_batch(checkpoint: Path) -> None:
    loaded = Encoder.load(checkpoint, device="cpu")
    cpu, dtype = torch.device("cpu"), torch.float32
    # As the release: the query side reads the marks of an absent text, without a text_mask.
    marks = loaded.processor([""], [RED]).to_device(cpu, dtype) | {"text_mask": None}
    expected = loaded.model.get_query_model()(**marks).ret_features[0]
    for texts, images in (([""], [RED]), (["", "a red bird"], [RED, BLUE]), (["", ""], [RED, RED])):
        side = loaded.processor(texts, images).to_device(cpu, dtype)
        out = loaded.model(side, side, list(range(len(texts))))
        torch.testing.assert_close(out.query_features[0], expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="needs input_ids"):
        loaded.model({"pixel_values": marks["pixel_values"]}, side, [0])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"dtype": "int8"}, UsageError),
        ({"batch_size": 0}, UsageError),
        ({"workers": -1}, UsageError),
        ({"device": "foo"}, UsageError),
        ({"device": "cuda:99"}, UsageError),
    ],
)
def test_invalid_options_are_refused(
    checkpoint: Path, options: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        Encoder.load(checkpoint, **{"device": "cpu", **options})


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="there is no such folder"):
        Encoder.load(tmp_path / "nowhere", offline=True)


def test_a_damaged_checkpoint_is_reported_in_one_line(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((checkpoint / name).read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(RagVqaError, match="damaged") as caught:
        Encoder.load(tmp_path, device="cpu")
    assert "\n" not in str(caught.value)


def test_layers_that_a_tower_does_not_have(checkpoint: Path, tmp_path: Path) -> None:
    raw = json.loads((checkpoint / "config.json").read_text())
    raw["query_config"]["layer_strategy"] = {"text": [0, 7], "vision": [0, 1]}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    with pytest.raises(RagVqaError, match=r"text layers \(0, 7\) of a tower of 2"):
        Encoder.load(tmp_path, device="cpu")


def test_options_beyond_the_defaults_are_recorded(checkpoint: Path) -> None:
    assert Encoder.load(checkpoint, device="cpu").options == {}
    encoder = Encoder.load(checkpoint, device="cpu", dtype="bfloat16", parity=True)
    assert encoder.options == {"dtype": "bfloat16", "parity": True}
    assert encoder.encode_queries([Query("a \udcff bird")]).shape == (1, 4, 8)


def test_a_tokenizer_without_a_length_gets_the_tower_s(checkpoint: Path, tmp_path: Path) -> None:
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    stated = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del stated["model_max_length"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(stated))
    encoder = Encoder.load(tmp_path, device="cpu")
    assert encoder.window == 8
    assert encoder.encode_passages([Passage("1", 0, "bird " * 30)]).shape == (1, 4, 8)


def test_no_code_of_a_checkpoint_is_run(checkpoint: Path, tmp_path: Path) -> None:
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    for name, entry in (
        ("tokenizer_config.json", {"AutoTokenizer": ["evil.Slow", "evil.Fast"]}),
        ("config.json", {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}),
    ):
        raw = json.loads((tmp_path / name).read_text())
        (tmp_path / name).write_text(json.dumps(raw | {"auto_map": entry}))
    encoder = Encoder.load(tmp_path, device="cpu")
    assert encoder.count_tokens("a red bird") == 5


def test_a_shared_picture_is_encoded_once(encoder: Encoder, tmp_path: Path) -> None:
    RED.save(tmp_path / "red.png")
    sections = [Passage(str(i), 0, "a red bird " * (i % 2), tmp_path / "red.png") for i in range(3)]
    seen: list[int] = []
    tower = encoder.model.get_passage_model().vision_model
    handle = tower.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    together = encoder.encode_passages(sections)
    handle.remove()
    assert set(seen) == {1}
    for row, passage in enumerate(sections):
        np.testing.assert_allclose(encoder.encode_passages([passage])[0], together[row], atol=1e-5)
