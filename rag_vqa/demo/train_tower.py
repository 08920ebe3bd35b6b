"""What the demo's models begin with: `python -m rag_vqa.demo.train_tower --out DIR`. Goes on by
itself.

A vision tower that matches photos with drawings (matcher.py), as a CLIP checkpoint, and beside it
the retriever's tokenizer and image processor. Does not know ReT or the reader: the first is
trained from here by `rag-vqa train --config rag_vqa/demo/retriever.yaml`.
"""

import argparse
from pathlib import Path

import torch
from transformers import CLIPImageProcessorPil

from rag_vqa.demo import tokenizer as vocabulary
from rag_vqa.demo.matcher import SIZE, train_tower
from rag_vqa.demo.pairs import WINDOW

SEED = 1  # of the values that the tokenizer's pieces are learnt on


def make(folder: Path) -> None:
    """The checkpoint that the retriever's settings name."""
    if not (folder / "tokenizer.json").exists():
        vocabulary.save(vocabulary.for_retriever(vocabulary.train(SEED), WINDOW), folder)
    square = {"height": SIZE, "width": SIZE}
    CLIPImageProcessorPil(size=square, do_center_crop=False).save_pretrained(folder)
    train_tower(folder).save_pretrained(folder)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where the checkpoint goes")
    torch.set_num_threads(1)  # other numbers of threads give other weights
    make(parser.parse_args().out)


if __name__ == "__main__":
    main()
