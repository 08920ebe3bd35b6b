"""Memory of a reader: formulas written out, and what raises or lowers it."""

from dataclasses import replace

import pytest

from rag_vqa.memory import BITS, BYTES, ModelShape, Workload, reader_memory

SHAPE = ModelShape(
    linear=1_000_000, whole=300_000, layers=4, hidden=100, inner=300, heads=50,
    vision_hidden=80, vision_inner=200,
)  # fmt: skip
GPU = Workload("none", tokens=1000, images=2, pixels=160 * 160, number=2)


def test_unquantised_on_a_gpu() -> None:
    assert reader_memory(SHAPE, GPU) == {
        "quantised": 0,
        "left whole": 1_300_000 * 2,
        "attention cache": 2 * 1000 * 50 * 2 * (4 + 1),
        "at work": 1000 * 2 * (6 * 100 + 3 * 300),  # more than 200 patches take
    }


@pytest.mark.parametrize(("quantization", "bytes_"), [("nf4", 4.127 / 8), ("int8", 1.0)])
def test_only_linear_layers_are_made_small(quantization: str, bytes_: float) -> None:
    found = reader_memory(SHAPE, replace(GPU, quantization=quantization))
    assert found["quantised"] == pytest.approx(1_000_000 * bytes_)
    assert found["left whole"] == 300_000 * 2
    # One layer at a time is made large again.
    assert found["at work"] == 1000 * 2 * 1500 + 100 * 300 * 2


def test_pictures_that_take_more_than_the_text() -> None:
    many = replace(GPU, images=20)
    assert reader_memory(SHAPE, many)["at work"] == 20 * 100 * 2 * (6 * 80 + 3 * 200)


def test_a_batch_multiplies_all_but_the_weights() -> None:
    one, four = reader_memory(SHAPE, GPU), reader_memory(SHAPE, replace(GPU, batch=4))
    assert four["left whole"] == one["left whole"]
    assert four["attention cache"] == 4 * one["attention cache"]
    assert four["at work"] == 4 * one["at work"]


def test_on_a_cpu_numbers_are_wider_and_int8_computes_through_32_bits() -> None:
    load = replace(GPU, number=4, on_cpu=True)
    found = reader_memory(SHAPE, load)
    assert found["attention cache"] == 2 * 1000 * 50 * 4 * (4 + 1)
    assert found["at work"] == 1000 * 4 * 1500  # nothing is kept of what is freed
    eight = reader_memory(SHAPE, replace(load, quantization="int8"))["at work"]
    nf4 = reader_memory(SHAPE, replace(load, quantization="nf4"))["at work"]
    assert eight - nf4 == 6 * 1000 * 300 * 4


@pytest.mark.parametrize(
    ("pixels", "patches"), [(160 * 160, 100), (161 * 160, 101), (None, 4000), (10**9, 4000)]
)
def test_patches_of_pictures_that_keep_their_size(pixels: int | None, patches: int) -> None:
    assert SHAPE.patches_of(pixels, tokens=1000) == patches


def test_resized_images_have_a_fixed_number_of_patches() -> None:
    assert replace(SHAPE, patches=577).patches_of(10, 1000) == 577


def test_bits_of_nf4_are_those_of_the_paper() -> None:
    # QLoRA, section 3: blocks of 64 with a scale of 8 bits, and one of 32 bits for 256 blocks.
    assert BITS["nf4"] == pytest.approx(4 + 8 / 64 + 32 / (64 * 256), abs=1e-3)
    assert BYTES == {"float32": 4, "bfloat16": 2, "float16": 2}
