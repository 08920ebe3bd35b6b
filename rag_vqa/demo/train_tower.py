"""What both demo models begin with: `python -m rag_vqa.demo.train_tower --out DIR`. Goes on by
itself.

A vision tower that matches photos with drawings (matcher.py), as a CLIP checkpoint, and beside it
the retriever's tokenizer and image processor. Does not know ReT or the reader: the first is
trained from here by `rag-vqa train --config rag_vqa/demo/retriever.yaml`.
"""

from pathlib import Path

from transformers import CLIPImageProcessorPil

from rag_vqa.demo import tokenizer as vocabulary
from rag_vqa.demo.matcher import SIZE, train_tower
from rag_vqa.demo.pairs import WINDOW
from rag_vqa.demo.training_options import options


def make(folder: Path, seed: int, steps: int) -> None:
    """The checkpoint that the retriever's settings name."""
    if not (folder / "tokenizer.json").exists():
        vocabulary.save(vocabulary.for_retriever(vocabulary.train(seed), WINDOW), folder)
    train_tower(folder, steps=steps).save_pretrained(folder)
    square = {"height": SIZE, "width": SIZE}
    CLIPImageProcessorPil(size=square, do_center_crop=False).save_pretrained(folder)


def main() -> None:
    """Command line."""
    given = options(__doc__, seed=1, steps=3000)
    make(given.out, given.seed, given.steps)


if __name__ == "__main__":
    main()
