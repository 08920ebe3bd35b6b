"""A tiny ReT with dropout, a few pairs, and settings that train it in seconds.

As a program:
`tiny_training.py kills FOLDER KILLS SEED` trains there, is killed KILLS times at drawn moments and
goes on each time, and trains once without kills; it prints whether the bytes of both are the same.
`… alone FOLDER OUT` is each of those trainings.
`… one FOLDER OUT [kill|nan STEP]` trains once, as one of the processes of `accelerate launch`; that
of rank 1 has an accident in that step; FOLDER holds pairs and a checkpoint.
`… one FOLDER OUT who` says which process it is.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPTextConfig, CLIPVisionConfig

from rag_vqa.checkpoints import embedded_model
from rag_vqa.errors import RagVqaError
from rag_vqa.retriever.modeling.configuration import RetConfig, RetrieverConfig
from rag_vqa.retriever.modeling.model import RetrieverModel
from rag_vqa.retriever.training.dual_encoder import DualEncoder
from rag_vqa.retriever.training.training_loop import (
    NO_CALLBACKS,
    FitResult,
    TrainingCallbacks,
    make_accelerator,
)
from rag_vqa.retriever.training.training_run import train_retriever
from rag_vqa.retriever.training.training_settings import TrainSettings

WORDS = ("red", "blue", "green", "white", "black", "capital", "money", "river", "coast", "people")
BEGINS = "begins\n"
TOWER = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2,
         "num_attention_heads": 1, "projection_dim": 64}  # fmt: skip


def configuration(words: int = 2000, **retriever: Any) -> RetrieverConfig:
    side = RetConfig(
        text_config=CLIPTextConfig(vocab_size=words, max_position_embeddings=24, bos_token_id=1,
                                   eos_token_id=2, pad_token_id=0, **TOWER),
        vision_config=CLIPVisionConfig(image_size=16, patch_size=8, **TOWER),
        layer_strategy={"text": [0, 1], "vision": [0, 1]},
        hidden_size=64, num_queries=4, late_proj_output_size=16, dropout_p=0.1,
    )  # fmt: skip
    return RetrieverConfig(
        query_config=side, passage_config=RetConfig(**side.to_dict()), **retriever
    )


def checkpoint(folder: Path, **retriever: Any) -> Path:
    torch.manual_seed(0)
    words = AutoTokenizer.from_pretrained(embedded_model("retriever"))
    RetrieverModel(configuration(len(words), **retriever)).save_pretrained(folder)
    words.save_pretrained(folder)
    size = {"height": 16, "width": 16}
    CLIPImageProcessorPil(size=size, do_center_crop=False).save_pretrained(folder)
    return folder


def pairs(folder: Path, count: int = 24) -> Path:
    """Texts and pictures by turns."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    lines = []
    for row in range(count):
        said = " ".join(rng.choice(WORDS, 4))
        document: dict[str, Any] = {"id": f"d{row}", "text": f"{said} {row}"}
        if row % 3 == 0:
            picture = Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8))
            picture.save(folder / f"{row}.png")
            document["image"] = f"{row}.png"
        lines.append(json.dumps({"question": f"{said.split()[0]} {row}", "document": document}))
    file = folder / "pairs.jsonl"
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return file


def settings(home: Path, out: Path, **more: Any) -> TrainSettings:
    """`home` holds pairs and a checkpoint, which are made where they are missing."""
    file = home / "pairs.jsonl"
    source = {"format": "pairs", "questions": file if file.exists() else pairs(home)}
    start = home / "start"
    tree: dict[str, Any] = {
        "out": out,
        "start": str(start if start.exists() else checkpoint(start)),
        "data": {"train": [source], "validation": source, "validation_pairs": 8},
        "steps": 12,
        "batch": 5,  # of 24 pairs: steps go across the ends of epochs
        "rate": 1e-3,
        "save_every": 2,
        "validate_every": 3,
        "log_every": 2,
        "loss": {"learn_scale": True},
        **more,
    }
    return TrainSettings.model_validate(tree).check_consistency()


def run(told: TrainSettings, watch: TrainingCallbacks = NO_CALLBACKS) -> FitResult:
    made = make_accelerator(told.precision)
    try:
        return train_retriever(told, made, watch)
    finally:
        made.end_training()


def digest(folder: Path) -> str:
    """Of every file of both checkpoints."""
    found = hashlib.sha256()
    for file in sorted([*(folder / "best").iterdir(), *(folder / "last").iterdir()]):
        found.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return found.hexdigest()


def begun(home: Path, out: Path) -> subprocess.Popen[str]:
    """A training of its own program, at its first step or just before.

    Not a fork: a killed child could hold a lock that tqdm shares with all its relatives.
    """
    told = [sys.executable, __file__, "alone", str(home), str(out)]
    child = subprocess.Popen(told, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == BEGINS
    return child


def killed(home: Path, times: int, seed: int) -> int:
    """How many of the kills came while a training ran; all went on in the same folder."""
    settings(home, home / "straight")  # here: what both begin with
    straight = begun(home, home / "straight")
    began = time.monotonic()
    assert straight.wait() == 0
    whole = time.monotonic() - began
    rng, came = random.Random(seed), 0
    for number in range(times + 1):
        child = begun(home, home / "cut")
        if number < times:
            time.sleep(rng.uniform(0, whole / 3))
            child.kill()
        ended = child.wait()
        assert ended in (0, -signal.SIGKILL), ended
        came += ended != 0
    return came


def _wait(made: Accelerator) -> int:
    """Hours that a barrier is waited at."""
    group = torch.distributed.distributed_c10d._get_default_group()
    return int(group._get_backend(made.device).options._timeout.total_seconds()) // 3600


def one(home: Path, out: Path, accident: str, at: int) -> int:
    """Exit code, as the program has it."""
    mine = os.environ.get("RANK") == "1"
    if accident == "who":
        made = make_accelerator("fp32")
        made.wait_for_everyone()
        print(f"{made.process_index} of {made.num_processes} waits {_wait(made)}", flush=True)
        made.end_training()
        return 0

    def step(done: int) -> None:
        if mine and accident == "kill" and done == at:
            os.kill(os.getpid(), signal.SIGKILL)

    forward, calls = DualEncoder.forward, 0

    def poisoned(self: DualEncoder, query: Any, passage: Any) -> Any:
        nonlocal calls
        queries, passages, scale = forward(self, query, passage)
        calls += 1
        bad = mine and accident == "nan" and calls == at
        return queries * float("nan") if bad else queries, passages, scale

    DualEncoder.forward = poisoned  # type: ignore[method-assign]
    try:
        run(settings(home, out, batch=6), TrainingCallbacks(on_step=step))
    except RagVqaError as error:
        print(f"rank {os.environ.get('RANK')}: {error}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    mode, place, *rest = sys.argv[1:]
    if mode == "alone":
        told = settings(Path(place), Path(rest[0]))
        print(BEGINS, end="", flush=True)
        run(told)
        sys.exit()
    if mode == "one":
        out, accident, at = [*rest, "none", "0"][:3]
        sys.exit(one(Path(place), Path(out), accident, int(at)))
    came = killed(Path(place), int(rest[0]), int(rest[1]))
    whole, cut = (digest(Path(place) / name) for name in ("straight", "cut"))
    print(json.dumps({"kills": came, "same": whole == cut}))
