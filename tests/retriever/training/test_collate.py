from pathlib import Path

import numpy as np
import pytest
import torch
from pair_files import picture
from PIL import Image

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.retriever.modeling.configuration import RetrieverConfig
from rag_vqa.retriever.modeling.processor import RetProcessor
from rag_vqa.retriever.training.batch_loader import collate
from rag_vqa.retriever.training.training_pairs import Item, Pair, id_number


@pytest.fixture
def processor(checkpoint: Path) -> RetProcessor:
    return RetProcessor.load(checkpoint, RetrieverConfig.from_pretrained(checkpoint).query)


def pairs(folder: Path) -> list[Pair]:
    first, second = str(picture(folder / "a.png", 1)), str(picture(folder / "b.png", 90))
    blue = Item("a bird", first, "blue")
    red = Item("red", None, "red")
    return [
        Pair(Item("find where", first), blue, ("blue", "sky"), (red,), "f:1"),
        Pair(Item("", second), red, ("red",), (blue,), "f:2"),
        Pair(Item("where does it nest"), blue, ("blue", "x", "y"), (Item("nest", second, "n"),)),
    ]


def test_a_batch_holds_what_the_processor_makes_of_each_item(
    tmp_path: Path, processor: RetProcessor
) -> None:
    given = pairs(tmp_path)
    batch = collate(given, processor, ["why"])
    queries = [pair.query for pair in given]
    passages = [p.passage for p in given] + [item for p in given for item in p.negatives]
    for side, items in ((batch.query, queries), (batch.passage, passages)):
        assert ("text_mask" in side) == (side is batch.passage)
        for row, item in enumerate(items):
            alone = processor([item.text], [item.image])
            length = int(alone.attention_mask.sum())
            assert int(side["attention_mask"][row].sum()) == length
            assert side["input_ids"][row, :length].equal(alone.input_ids[0, :length])
            assert float(side["image_mask"][row]) == float(item.image is not None)
            if alone.pixel_values is not None:
                pixels = side["pixel_values"][side["image_index"][row]]
                assert pixels.equal(alone.pixel_values[0])
    assert batch.passage_ids.tolist() == [
        id_number(name) for name in ("blue", "red", "blue", "red", "blue", "n")
    ]
    ids = [["blue", "sky", "blue"], ["red"] * 3, ["blue", "x", "y"]]
    assert batch.positives.tolist() == [[id_number(name) for name in row] for row in ids]
    assert batch.names == ("f:1", "f:2", "") and batch.skipped == ("why",)


def test_a_picture_of_several_items_is_there_once(tmp_path: Path, processor: RetProcessor) -> None:
    batch = collate(pairs(tmp_path), processor)
    assert batch.passage["pixel_values"].shape[0] == 3  # a, b, and what stands for none
    data = (tmp_path / "a.png").read_bytes()
    alike = [
        Pair(Item("a", bytes(bytearray(data))), Item("a", data, str(row)), (str(row),))
        for row in range(5)
    ]
    assert collate(alike, processor).passage["pixel_values"].shape[0] == 1
    drawn = Image.fromarray(np.zeros((9, 9, 3), np.uint8))
    same = [Pair(Item("a", drawn), Item("a", drawn, "x"), ("x",)) for _ in range(4)]
    assert collate(same, processor).query["pixel_values"].shape[0] == 1


def test_tokens_are_padded_to_few_lengths_and_never_beyond_the_window(
    processor: RetProcessor,
) -> None:
    def length(words: int) -> int:
        text = " ".join(["bird"] * words)
        batch = collate([Pair(Item(text), Item("a", id="x"), ("x",))], processor)
        ids, mask = (batch.query[name] for name in ("input_ids", "attention_mask"))
        assert ids.shape == mask.shape and int(mask.sum()) == min(words + 2, processor.window)
        assert torch.all(ids[mask == 0] == processor.tokenizer.pad_token_id)
        return int(ids.shape[1])

    assert [length(words) for words in (1, 5, 20)] == [8, 8, 8]  # the window
    processor.window = 40
    assert [length(words) for words in (1, 14, 15, 30, 31, 60)] == [16, 16, 32, 32, 40, 40]


def test_what_cannot_be_used_is_named(tmp_path: Path, processor: RetProcessor) -> None:
    good = pairs(tmp_path)
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(BadInput, match=r"f:2: .*b\.png.*not a picture"):
        collate(good, processor)
    with pytest.raises(UsageError, match="same number of negatives"):
        collate([Pair(Item("a"), Item("a", id="x"), ("x",)), good[0]], processor)
    with pytest.raises(BadInput, match="not among its positives"):
        collate([Pair(Item("a"), Item("a", id="x"), ("y",))], processor)
