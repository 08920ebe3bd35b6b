"""Compares training on a CPU with plain code: the loss at a large batch, and a whole step.

`loss`: seconds and peak memory of the symmetric loss, forward and backward. The naive form (one
einsum, one maximum, autograd) and ours each run in their own process. `step`: encoder, loss and
backward in the shape of the embedded retriever on random inputs. The first way is plain code; each
further way adds one change of ours. Knows both ways and a clock. Does not know data, optimizers or
how well a model learns.

    python benchmarks/train_loss.py --threads 1 --repeats 5

The naive loss of 1,024 pairs needs 14 GB.
"""

import argparse
import datetime
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from clock import time_in_turn
from encode import machine
from torch import Tensor
from torch.nn import functional as F

from rag_vqa.retriever.losses import contrastive_loss
from rag_vqa.retriever.modeling.configuration import RetrieverConfig
from rag_vqa.retriever.modeling.model import RetrieverModel
from rag_vqa.retriever.training.dual_encoder import DualEncoder
from rag_vqa.retriever.training.step_gradients import compute_gradients
from rag_vqa.retriever.training.training_pairs import Batch

EMBEDDED = Path(__file__).parents[1] / "rag_vqa" / "demo" / "models" / "retriever"
RESULTS = Path(__file__).parent / "results" / "train_loss.json"
TOKENS, WIDTH = 32, 128
PAIRS, PICTURES, LENGTH = 96, 48, 48  # of a step: two pairs a picture, tokens of a text
TINY = 1e-30  # as a mask: changes no sum, and yet the tower runs


def naive_loss(queries: Tensor, passages: Tensor, scale: float | Tensor = 1.0) -> Tensor:
    """(B, K, D) twice → the symmetric loss, with all similarities in memory at once."""
    scores = torch.einsum("qkd,nld->qnkl", queries, passages).amax(dim=-1).sum(dim=-1) * scale
    truth = torch.arange(len(scores))
    return (F.cross_entropy(scores, truth) + F.cross_entropy(scores.T, truth)) / 2


def our_loss(queries: Tensor, passages: Tensor) -> Tensor:
    return contrastive_loss(queries, passages, [])


LOSSES = {"naive": naive_loss, "ours": our_loss}


def measure_loss(way: str, pairs: int, repeats: int) -> dict[str, Any]:
    """Seconds of each repeat and the peak memory of all of them, in this process."""
    torch.manual_seed(0)
    queries, passages = (
        F.normalize(torch.randn(pairs, TOKENS, WIDTH), dim=-1).requires_grad_() for _ in range(2)
    )
    before = _peak()
    found = {}

    def step() -> None:
        queries.grad = passages.grad = None
        loss = LOSSES[way](queries, passages)
        loss.backward()
        found["loss"] = float(loss.detach())

    times = time_in_turn({way: step}, repeats)[way]
    return {**times, "megabytes": (_peak() - before) / 2**20, **found}


def _peak() -> float:
    """Bytes of this process at its largest so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run_in_process(way: str, pairs: int, repeats: int, threads: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--only-loss", way, "--pairs", str(pairs)]
    command += ["--repeats", str(repeats), "--threads", str(threads)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(out)
    return found


def random_batch(pictures_of_passages: bool) -> Batch:
    """A batch with two pairs a picture; passages have pictures of their own, or text alone."""

    def side(pictures: bool) -> dict[str, Tensor]:
        ids = torch.randint(3, 1800, (PAIRS, LENGTH))
        texts = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        shown = {
            "image_index": torch.arange(PAIRS) * PICTURES // PAIRS,
            "pixel_values": torch.randn(PICTURES, 3, 64, 64),
        }
        return {
            **texts,
            "text_mask": torch.ones(PAIRS),
            "image_mask": torch.full((PAIRS,), float(pictures)),
            **(shown if pictures else {}),
        }

    ids = torch.arange(PAIRS)
    return Batch(side(True), side(pictures_of_passages), ids, ids[:, None])


def unshare_pictures(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same rows with a picture each, as in plain code; black if an item has none."""
    plain = dict(inputs)
    index = plain.pop("image_index", None)
    black = torch.zeros(1, 3, 64, 64).expand(PAIRS, -1, -1, -1)
    plain["pixel_values"] = black if index is None else plain["pixel_values"][index]
    plain["image_mask"] = plain["image_mask"].clamp(min=TINY)
    return plain


def drop_absent_pictures(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Removes the pictures from a side if it shows none."""
    if bool((inputs["image_mask"] > TINY).any()):
        return inputs
    rest = {name: tensor for name, tensor in inputs.items() if name != "pixel_values"}
    return {**rest, "image_mask": torch.zeros(PAIRS)}


def ways(module: DualEncoder, batch: Batch) -> dict[str, Callable[[], Tensor]]:
    """Plain code, then one change after the other; the last calls `compute_gradients`."""
    query, passage = dict(batch.query), dict(batch.passage)
    plain = unshare_pictures(query), unshare_pictures(passage)
    skipped = plain[0], drop_absent_pictures(plain[1])

    def step(*sides: dict[str, Tensor]) -> Tensor:
        module.zero_grad()
        loss = naive_loss(*module(*sides))
        loss.backward()
        return loss.detach()

    def training_step(half: bool, chunks: int) -> Tensor:
        module.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            return compute_gradients(module, batch, chunks=chunks, backward=Tensor.backward)[0]

    return {
        "plain": partial(step, *plain),
        "absent towers skipped": partial(step, *skipped),
        "pictures shared": partial(step, query, passage),
        "our loss": partial(training_step, False, 1),
        "bfloat16": partial(training_step, True, 1),
        "in 4 chunks, float32": partial(training_step, False, 4),
    }


def measure_steps(pictures_of_passages: bool, repeats: int) -> dict[str, Any]:
    """Seconds of each way. Raises RuntimeError if the ways have different losses."""
    torch.manual_seed(0)
    module = DualEncoder(RetrieverModel(RetrieverConfig.from_pretrained(EMBEDDED))).train()
    calls = ways(module, random_batch(pictures_of_passages))
    losses = {name: float(call()) for name, call in calls.items()}
    apart = {name: abs(loss - losses["plain"]) for name, loss in losses.items()}
    if max(apart.values()) > 0.05 or max(v for k, v in apart.items() if k != "bfloat16") > 1e-3:
        raise RuntimeError(f"the ways do not compute the same loss: {losses}")
    return {"losses": losses, **time_in_turn(calls, repeats)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--pairs", type=int, default=1024, help="Number of pairs to measure the loss with."
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only-loss", choices=LOSSES, help="Print one way's figures and exit.")
    parser.add_argument(
        "--note", default="", help="Keep this note with the figures: what else was running."
    )
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.only_loss:
        print(json.dumps(measure_loss(given.only_loss, given.pairs, given.repeats)))
        return
    loss = {
        way: run_in_process(way, given.pairs, 1 if way == "naive" else given.repeats, given.threads)
        for way in LOSSES
    }
    steps = {
        "pictures on both sides": measure_steps(True, given.repeats),
        "passages of text alone": measure_steps(False, given.repeats),
    }
    for way, found in loss.items():
        print(f"{way:<8} {found['wall']:7.2f} s {found['cpu']:7.2f} s {found['megabytes']:8.0f} MB")
    for name, found in steps.items():
        for way, times in found.items():
            if way != "losses":
                ratio = found["plain"]["cpu"] / times["cpu"]
                print(f"{name:<24} {way:<22} {PAIRS / times['cpu']:7.1f}/s {ratio:5.2f}")
    RESULTS.write_text(
        json.dumps(
            {
                "what": f"loss of {given.pairs} pairs; steps of {PAIRS} pairs, {PICTURES} pictures",
                "date": datetime.date.today().isoformat(),
                "machine": machine(given.threads),
                "note": given.note,
                "loss": loss,
                "step": steps,
            },
            indent=2,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
