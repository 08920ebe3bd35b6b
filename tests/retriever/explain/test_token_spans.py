"""Words as characters, patches as boxes: by hand, for each way of resizing."""

import pytest
from PIL import Image
from transformers import CLIPImageProcessorPil, PreTrainedTokenizerFast

from rag_vqa.retriever.explain.token_spans import image_patches, locate_words, word_spans
from rag_vqa.retriever.image_workers import ImageTransform


def boxes(processor: CLIPImageProcessorPil, size: tuple[int, int], patch: int):
    pixels = processor(images=Image.new("RGB", size), return_tensors="pt")["pixel_values"].shape
    side = pixels[-1], pixels[-2]
    count = (side[0] // patch) * (side[1] // patch)
    opening = ImageTransform.from_processor(processor, exif=True)
    found = image_patches(opening, size, side, patch, [9.0, *map(float, range(count))])
    return [(patch.box, patch.weight) for patch in found]


def test_a_stretched_picture_is_covered_whole() -> None:
    size = {"height": 16, "width": 16}
    found = boxes(CLIPImageProcessorPil(size=size, crop_size=size), (320, 240), 8)
    assert [box for box, _ in found] == [
        (0, 0, 0.5, 0.5), (0.5, 0, 1, 0.5), (0, 0.5, 0.5, 1), (0.5, 0.5, 1, 1),
    ]  # fmt: skip
    assert [weight for _, weight in found] == [0, 1, 2, 3]  # the class token has no place


@pytest.mark.parametrize(("size", "upright"), [((400, 200), False), ((200, 400), True)])
def test_of_a_cropped_picture_the_middle_is_covered(size, upright) -> None:
    processor = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=16)
    # 400 × 200 becomes 32 × 16, of which the columns 8 to 24 are kept: a quarter to three.
    expected = [
        (0.25, 0, 0.5, 0.5), (0.5, 0, 0.75, 0.5), (0.25, 0.5, 0.5, 1), (0.5, 0.5, 0.75, 1),
    ]  # fmt: skip
    if upright:
        expected = [
            (0, 0.25, 0.5, 0.5), (0.5, 0.25, 1, 0.5), (0, 0.5, 0.5, 0.75), (0.5, 0.5, 1, 0.75),
        ]  # fmt: skip
    assert [box for box, _ in boxes(processor, size, 8)] == expected


def test_what_lies_on_padding_is_no_place() -> None:
    processor = CLIPImageProcessorPil(do_resize=False, crop_size=16)
    # 8 × 16 stays so, and is padded by 4 on either side: half of each patch is the picture's.
    assert [box for box, _ in boxes(processor, (8, 16), 8)] == [
        (0, 0, 0.5, 0.5), (0.5, 0, 1, 0.5), (0, 0.5, 0.5, 1), (0.5, 0.5, 1, 1),
    ]  # fmt: skip
    # 4 × 16 lies in the middle, on the columns 6 to 10 of 16: of each row's patches on two.
    expected = [row * 4 + column for row in range(4) for column in (1, 2)]
    assert [weight for _, weight in boxes(processor, (4, 16), 4)] == expected


def test_an_absent_modality_has_no_places() -> None:
    assert image_patches(ImageTransform(), (1, 1), (8, 8), 8, ()) == ()
    assert word_spans(None, "", 77, ()) == ()


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    from rag_vqa.retriever.modeling.encoder import Encoder

    return Encoder.load("demo", device="cpu").processor.tokenizer


def test_a_word_gathers_its_tokens_and_marks_stand_alone(tokenizer) -> None:
    text = "São Tomé: founded\n1991."
    count = len(tokenizer(text)["input_ids"])
    found = word_spans(tokenizer, text, 77, [1.0] * count)
    assert [word.text for word in found] == ["São", "Tomé", ":", "founded", "1991", "."]
    assert all(text[word.start : word.end] == word.text for word in found)
    year = next(word for word in found if word.text == "1991")
    assert year.weight == len(tokenizer.tokenize("1991")) > 1
    gaps = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    blank = sum(not text[start:end].strip() for start, end in gaps)
    assert sum(word.weight for word in found) == count - blank


def test_what_the_window_cuts_off_has_no_place(tokenizer) -> None:
    assert [word.text for word in word_spans(tokenizer, "flag of a land", 4, [1.0] * 4)] == [
        "flag", "of",
    ]  # fmt: skip


def test_each_token_knows_its_word_and_a_mark_of_the_tokenizer_none(tokenizer) -> None:
    found, owners = locate_words(tokenizer, "of 1991", 77)
    assert found == [(0, 2), (3, 7)]
    digits = len(tokenizer.tokenize("1991"))
    assert [word for word in owners if word >= 0] == [0] + [1] * digits
    assert owners[0] == owners[-1] == -1
    assert locate_words(tokenizer, "flag of a land", 4)[0] == [(0, 4), (5, 7)]
