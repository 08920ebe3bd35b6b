"""Settings: precedence of layers, unknown keys, and presets that fit the machine they name."""

import json
from pathlib import Path

import pytest

from rag_vqa import checkpoints, presets, settings, settings_schema
from rag_vqa.checkpoints import CHECKPOINTS
from rag_vqa.errors import UsageError
from rag_vqa.memory import model_shape


def load(**given: object) -> settings_schema.Settings:
    given.setdefault("environment", {})
    return settings.load_settings(**given)  # type: ignore[arg-type]


def test_each_layer_wins_over_the_one_below(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("preset: 12gb\nk: 11\nseed: 1\nretriever: {batch_size: 1}\n")
    layers: dict[str, object] = {"file": file}
    assert presets.PRESETS["12gb"].k == 5
    assert load(**layers).k == 11
    layers["environment"] = {"RAG_VQA_K": "12", "RAG_VQA_SEED": "2"}
    assert load(**layers).k == 12
    layers["assignments"] = ["k=13", "seed=3"]
    assert load(**layers).k == 13
    layers["flags"] = {"k": 14}
    result = load(**layers)
    assert (result.k, result.seed, result.retriever.batch_size) == (14, 3, 1)
    assert result.reader.model == "Qwen/Qwen3-VL-8B-Instruct"


def test_preset_is_named_by_the_highest_layer(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("preset: 12gb\n")
    environment = {"RAG_VQA_PRESET": "24gb"}
    assert load(file=file, environment=environment).reader.quantization == "int8"
    flags = {"preset": "80gb"}
    assert load(file=file, environment=environment, flags=flags).k == 10


def test_environment_reaches_nested_keys_and_leaves_reserved_names() -> None:
    environment = {"RAG_VQA_READER__MAX_IMAGES": "2", "RAG_VQA_DEBUG": "1", "OTHER": "x"}
    assert load(environment=environment).reader.max_images == 2


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ({"assignments": ["reader.quantisation=nf4"]}, "reader.quantization"),
        ({"assignments": ["model=x"]}, "reader.model"),
        ({"flags": {"reader": {"kk": 1}}}, "reader.kk"),
        ({"environment": {"RAG_VQA_RETREIVER__MODEL": "x"}}, "retriever"),
        ({"environment": {"RAG_VQA_OFLINE": "1"}}, "offline"),
    ],
)
def test_an_unknown_key_is_an_error_that_names_the_nearest(
    given: dict[str, object], nearest: str
) -> None:
    with pytest.raises(UsageError, match="There is no setting") as error:
        load(**given)
    assert nearest in str(error.value)


def test_the_nearest_of_a_wrong_section_has_the_same_key() -> None:
    with pytest.raises(UsageError, match=r"Did you mean reader\.max_new_tokens") as error:
        load(assignments=["reder.max_new_tokens=1"])
    assert "no setting reder.max_new_tokens." in str(error.value)


def test_an_unknown_key_of_the_environment_names_its_variable() -> None:
    with pytest.raises(UsageError, match=r"setting foo, which RAG_VQA_FOO in the environment"):
        load(environment={"RAG_VQA_FOO": "1"})
    with pytest.raises(UsageError, match=r"^reader = 'x': "):  # a section is known, and no text
        load(environment={"RAG_VQA_READER": "x"})


def test_explicit_keys_differ_from_those_of_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("preset: laptop\nseed: 0\nreader: {model: null}\n")
    flags = {"retriever": {"model": presets.PRESETS["laptop"].retriever}}
    given = load(file=file, environment={"RAG_VQA_READER__DTYPE": "auto"}, flags=flags)
    assert settings.explicit_keys(given) == ["preset", "retriever.model", "reader.dtype", "seed"]
    assert settings.explicit_keys(load()) == []
    assert "model" not in load(flags={"preset": "laptop"}).reader.model_fields_set


@pytest.mark.parametrize(
    "assignment", ["k=-1", "k=many", "reader.quantization=fp3", "retriever.batch_size=0", "k", "=3"]
)
def test_values_that_do_not_fit_are_refused_in_one_line(assignment: str) -> None:
    with pytest.raises(UsageError) as error:
        load(assignments=[assignment])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["k: [", "- 1\n- 2\n", "just words"])
def test_files_that_are_no_settings_are_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(content)
    with pytest.raises(UsageError, match=r"run\.yaml"):
        load(file=file)


def test_a_missing_or_empty_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such settings file"):
        load(file=tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").write_text("")
    assert load(file=tmp_path / "empty.yaml") == load()


def test_another_model_does_not_inherit_what_belonged_to_the_first() -> None:
    below = {"RAG_VQA_READER__MODEL": "a/b", "RAG_VQA_READER__REVISION": "c0ffee",
             "RAG_VQA_READER__MAX_PIXELS": "99"}  # fmt: skip
    assert load(environment=below).reader.revision == "c0ffee"
    other = load(environment=below, flags={"reader": {"model": "x/y"}}).reader
    assert (other.revision, other.max_pixels) == (None, None)


def test_what_one_layer_says_stands_together_in_any_order() -> None:
    environment = {"RAG_VQA_READER__MAX_PIXELS": "1000", "RAG_VQA_READER__MODEL": "x/y"}
    assert load(environment=environment).reader.max_pixels == 1000
    assignments = ["retriever.instruction=hi", "retriever.model=a/b"]
    assert load(assignments=assignments).retriever.instruction == "hi"


def test_an_assignment_holds_for_the_model_that_a_flag_beside_it_names() -> None:
    assignments = ["retriever.tokenizer=words", "retriever.image_processor=null"]
    for preset in (None, "laptop"):
        flags = {"preset": preset, "retriever": {"model": "a/b"}}
        assert load(assignments=assignments, flags=flags).retriever.tokenizer == "words"
    below = {"RAG_VQA_RETRIEVER__TOKENIZER": "its own", "RAG_VQA_RETRIEVER__MODEL": "x/y"}
    assert (
        load(environment=below, flags={"retriever": {"model": "a/b"}}).retriever.tokenizer is None
    )


def test_servers_come_as_a_list_or_with_commas_and_stay_with_another_model(tmp_path: Path) -> None:
    two = ("http://a:8000/v1", "https://b/v1")
    file = tmp_path / "run.yaml"
    file.write_text("reader: {servers: [http://a:8000/v1/, https://b/v1, https://b/v1]}\n")
    assert load(file=file).reader.servers == two
    environment = {"RAG_VQA_READER__SERVERS": "http://a:8000/v1,https://b/v1"}
    other = load(environment=environment, flags={"reader": {"model": "x/y"}})
    assert other.reader.servers == two
    assert load(flags=settings.differences(other)).reader.servers == two


@pytest.mark.parametrize("address", ["a:8000", "ftp://a", "http://", "http://a:port/v1", "5"])
def test_what_is_no_server_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is no server"):
        load(assignments=[f"reader.servers={address}"])


@pytest.mark.parametrize("address", ["http://me:hidden@a/v1", "http://a/v1?key=hidden"])
def test_a_server_with_a_secret_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(UsageError, match="RAG_VQA_API_KEY") as error:
        load(assignments=[f"reader.servers={address}"])
    assert "hidden" not in str(error.value)


def test_the_key_is_no_setting() -> None:
    assert "hidden" not in str(load(environment={"RAG_VQA_API_KEY": "hidden"}))


def test_null_is_as_good_as_not_given(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("k: null\nseed: null\nprompt: null\nreader: {model: null, max_images: null}\n")
    assert load(file=file, flags={"preset": "laptop"}) == load(flags={"preset": "laptop"})
    file.write_text("reader: {modle: null}\n")
    with pytest.raises(UsageError, match=r"Did you mean reader\.model"):
        load(file=file)


@pytest.mark.parametrize("content", ["preset: 12", "preset: [laptop]", "preset: {a: 1}"])
def test_a_preset_is_a_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.yaml").write_text(content)
    with pytest.raises(UsageError, match="There is no preset"):
        load(file=tmp_path / "run.yaml")


def test_differences_leave_out_what_the_preset_says_and_keep_zero() -> None:
    given = {"preset": "12gb", "k": 0, "reader": {"quantization": "int8"}}
    assert settings.differences(load(flags=given)) == given
    assert settings.differences(load()) == {}


def test_without_a_preset_no_model_is_named_and_with_demo_it_is() -> None:
    assert load().reader.model is None
    assert load(flags={"preset": "demo"}).reader.model == checkpoints.EMBEDDED


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().k = 3  # type: ignore[misc]


def test_show_can_be_read_back() -> None:
    tree = load(flags={"preset": "24gb"}).model_dump(mode="json")
    assert load(flags=tree) == load(flags={"preset": "24gb"})


def test_unknown_preset_lists_those_there_are() -> None:
    with pytest.raises(UsageError, match="demo, laptop, 12gb, 24gb, 80gb, 8gb-2026"):
        load(flags={"preset": "13gb"})


@pytest.mark.parametrize(
    ("name", "room"),
    [("laptop", 8), ("12gb", 11), ("24gb", 23), ("80gb", 79),
     ("8gb-2026", 7), ("12gb-2026", 11), ("24gb-2026", 23), ("80gb-2026", 79)],
)  # fmt: skip
def test_memory_fits_the_machine_that_the_preset_is_named_for(name: str, room: int) -> None:
    assert presets.PRESETS[name].memory < room * 1e9


def test_memory_by_hand() -> None:
    # 12gb: ReT-CLIP-ViT-L in float16, Qwen3-VL-8B in NF4, worked out apart from the code.
    retriever = 521_101_572 * 2
    whole = 576_388_336 + 2 * 151_936 * 4096  # vision tower, embeddings and output layer
    linear = (8_767_123_696 - whole) * 4.127 / 8
    layer = 2 * 8 * 128 * 2 * 5120  # keys and values, heads, width, bytes, tokens
    # The text is more than three pictures: 6 arrays of 4,096 and 3 of 12,288 numbers a token.
    text = 5120 * 2 * (6 * 4096 + 3 * 12_288)
    assert text > 3 * (768 // 16) ** 2 * 2 * (6 * 1152 + 3 * 4304)
    dequantised = 4096 * 12_288 * 2
    # One layer's keys and values are there twice while they grow.
    expected = retriever + linear + whole * 2 + layer * 37 + text + dequantised + 0.6e9
    assert presets.PRESETS["12gb"].memory == pytest.approx(expected)


def test_a_layer_of_linear_attention_keeps_no_keys() -> None:
    # 8gb-2026: of the 32 layers of Qwen3.5-4B every fourth has keys and values: 4 heads of 256.
    cache = presets.PRESETS["8gb-2026"].needs["attention cache"]
    assert cache == 2 * 4096 * (4 * 256) * 2 * (32 // 4 + 1)


def test_sizes_of_qwen35_are_those_of_its_classes() -> None:
    from transformers import Qwen3_5Config

    # Facts of the model card, 1 December 2026; what is not said there is the class's default.
    vision = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "out_hidden_size": 4096}
    config = Qwen3_5Config(
        text_config={
            "vocab_size": 248_320, "hidden_size": 4096, "intermediate_size": 12_288,
            "num_hidden_layers": 32, "num_attention_heads": 16, "num_key_value_heads": 4,
            "head_dim": 256, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
        },
        vision_config=vision,
    )  # fmt: skip
    counted, known = model_shape(config), CHECKPOINTS["Qwen/Qwen3.5-9B"].shape
    assert known is not None
    assert (counted.linear, counted.whole) == (known.linear, known.whole)
    assert (counted.hidden, counted.inner, counted.heads) == (4096, 12_288, 1024)
    assert (known.hidden, known.inner, known.heads) == (4096, 12_288, 1024)


def test_memory_on_a_cpu_by_hand() -> None:
    # laptop: the reader computes in float32 there, and takes 2,048 tokens.
    retriever = 521_101_572 * 4
    whole = 406_957_056 + 151_936 * 2048  # output layer and embeddings are one
    linear = (2_127_532_032 - whole) * 4.127 / 8
    cache = 29 * 2 * 8 * 128 * 4 * 2048
    text = 2048 * 4 * (6 * 2048 + 3 * 6144)
    assert text > (512 // 16) ** 2 * 4 * (6 * 1024 + 3 * 4096)
    work = text + 2048 * 6144 * 4 + 0.05e9
    expected = retriever + linear + whole * 4 + cache + work + 0.55e9
    assert presets.PRESETS["laptop"].memory == pytest.approx(expected)
    assert load(flags={"preset": "laptop"}).reader.max_context == 2048


def test_presets_of_gpus_that_are_nearly_full_have_their_retriever_in_16_bits() -> None:
    kinds = {name: load(flags={"preset": name}).retriever.dtype for name in presets.PRESETS}
    assert [name for name, kind in kinds.items() if kind == "float16"] == [
        "12gb", "8gb-2026", "12gb-2026", "24gb-2026", "80gb-2026",
    ]  # fmt: skip


def test_revisions_come_with_known_models_only() -> None:
    known = "Qwen/Qwen3-VL-8B-Instruct"
    assert checkpoints.known_revision(known, None) == "0c351dd01ed87e9c1b53cbc748cba10e6187ff3b"
    assert checkpoints.known_revision(known, "v2") == "v2"
    assert checkpoints.known_revision("some/other", None) is None


def test_instructions_go_by_task_and_can_be_overridden() -> None:
    ret = "aimagelab/ReT-CLIP-ViT-L-14"
    assert checkpoints.known_instruction(ret, has_text=True) == checkpoints.QUESTION_INSTRUCTION
    assert checkpoints.known_instruction(ret, has_text=False) == checkpoints.IMAGE_INSTRUCTION
    assert checkpoints.known_instruction(ret, has_text=True, requested="Find:") == "Find:"
    assert checkpoints.known_instruction("demo", has_text=True) is None


def test_a_non_commercial_licence_is_shown() -> None:
    assert "NON-COMMERCIAL" in checkpoints.licence_line("Qwen/Qwen2.5-VL-3B-Instruct")
    assert "NON-COMMERCIAL" not in checkpoints.licence_line("Qwen/Qwen3-VL-2B-Instruct")
    assert "17.5 GB, licence apache-2.0" in checkpoints.licence_line("Qwen/Qwen3-VL-8B-Instruct")
    assert "not known" in checkpoints.licence_line("some/other")


def test_where_a_licence_was_not_read_on_the_models_own_card_terms_say_so() -> None:
    for name in ("ReT-OpenCLIP-ViT-H-14", "ReT-OpenCLIP-ViT-G-14"):
        assert "licence read on ReT-CLIP-ViT-L-14's card only" in checkpoints.licence_line(
            f"aimagelab/{name}"
        )


def test_model_source_of_folders_and_ids_is_as_given() -> None:
    assert checkpoints.model_source("some/other", "reader") == "some/other"


def test_the_demo_preset_says_what_its_reader_takes() -> None:
    folder = checkpoints.embedded_model("reader")
    text = json.loads((folder / "config.json").read_text())["text_config"]
    assert presets.PRESETS["demo"].max_context == text["max_position_embeddings"]
