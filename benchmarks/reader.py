"""Measures local readers: batches, first token, critic, `ask` outside the models, bytes.

Speed is measured on the embedded reader with its own documents, and on a random model of the same
kind with about 100 million parameters. Bytes are measured on a random model in the shape of
Qwen3-VL-2B. Knows readers, a clock and the process's memory. Does not know whether answers are
right, and downloads nothing. No test depends on its figures.

    python benchmarks/reader.py --threads 2 --repeats 5 --note "what else was running"
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import bitsandbytes
import torch
import transformers
from clock import Seconds, time_call, time_in_turn, time_ratios
from transformers import AutoConfig, AutoModelForImageTextToText
from weights import measure_two_billion

from rag_vqa.critic import Critic
from rag_vqa.demo.gallery import build_knowledge_base, embedded_models_dir, example_questions
from rag_vqa.pipeline import RagVqa
from rag_vqa.readers.base import Reader
from rag_vqa.readers.local.reader import LocalReader
from rag_vqa.readers.prompt_encoder import prompt_images
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.types import Hit, Prompt, Query

RESULTS = Path(__file__).parent / "results" / "reader.json"
BATCH, DEPTH, DOCUMENTS = 16, 3, 20
MOST = 8192  # tokens of a prompt: 20 documents are more than the embedded reader was trained for


@contextmanager
def copy_embedded_reader(scratch: Path) -> Iterator[Path]:
    """Yields a copy of the embedded reader that accepts longer prompts; only speed counts here."""
    folder = scratch / "reader"
    shutil.copytree(embedded_models_dir() / "reader", folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = MOST
    (folder / "config.json").write_text(json.dumps(config))
    yield folder


def save_larger_reader(folder: Path, out: Path) -> Path:
    """Saves a random LLaVA of about 100 million parameters with the embedded reader's processor."""
    shutil.copytree(folder, out)
    config = AutoConfig.from_pretrained(folder)
    config.text_config.update(
        {
            "hidden_size": 768,
            "intermediate_size": 2560,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "num_key_value_heads": 12,
            "head_dim": 64,
        }
    )
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    model.save_pretrained(out)
    return out


def open_reader(folder: Path, quantization: Any) -> LocalReader:
    return LocalReader(
        folder, quantization=quantization, device="cpu", max_new_tokens=48, max_images=8
    )


def batches(reader: LocalReader, prompts: list[Prompt], repeats: int) -> dict[str, Any]:
    """Seconds of a batch and of single prompts, also of prefill alone; how many answers agree."""
    times = time_in_turn(
        {
            "one by one": lambda: [reader.generate([prompt]) for prompt in prompts],
            "batch": lambda: reader.generate(prompts),
            "one by one, prefill": lambda: [prefill(reader, [prompt]) for prompt in prompts],
            "batch, prefill": lambda: prefill(reader, prompts),
        },
        repeats,
    )
    together = reader.generate(prompts)
    alone = [reader.generate([prompt])[0] for prompt in prompts]
    return {
        "seconds": times,
        "times faster": time_ratios(times, "one by one", "batch"),
        "times faster, prefill alone": time_ratios(times, "one by one, prefill", "batch, prefill"),
        "same answers": sum(one == other for one, other in zip(together, alone, strict=True)),
        "tokens in": [completion.tokens_in for completion in alone],
        "tokens out": [completion.tokens_out for completion in alone],
    }


def prefill(reader: LocalReader, prompts: list[Prompt]) -> None:
    """Encodes prompts and runs the model once, for the logits of one token."""
    inputs = reader.encode(prompts)
    if inputs["attention_mask"].all():  # nothing is padded: attention is faster without a mask
        del inputs["attention_mask"]
    with torch.inference_mode():
        reader.model(**inputs, use_cache=True, logits_to_keep=1)


def first_piece(reader: LocalReader, prompt: Prompt, repeats: int) -> dict[str, Any]:
    """Seconds to the first streamed token, and of prefill."""
    times = time_in_turn(
        {
            "prefill": lambda: prefill(reader, [prompt]),
            "first piece": lambda: reader.generate([prompt], lambda row, piece: False),
        },
        repeats,
    )
    return {"seconds": times, "first piece / prefill": time_ratios(times, "first piece", "prefill")}


def critic(rag: RagVqa, query: Query, hits: list[Hit], repeats: int) -> dict[str, Any]:
    """Compares `Critic.judge` of 20 documents with one choice after the prompt that holds all 20.

    Measures both with the documents' pictures and without them.
    """
    reader, choices = rag.reader, ["yes", "no"]
    judge = Critic(reader)
    bare = [replace(hit, document=replace(hit.document, images=())) for hit in hits]
    result: dict[str, Any] = {}
    for name, found in (("with pictures", hits), ("texts alone", bare)):
        whole = rag.prompt(query, found)
        apart = [judge.prompt(query, hit) for hit in found]
        times = time_in_turn(
            {
                "20 documents": partial(judge.judge, [query], [found]),
                "one prompt of 20": partial(reader.choice_probability, [whole], choices),
                "20 documents, nothing shared": partial(judge_one_by_one, reader, apart, choices),
            },
            repeats,
        )
        together = torch.tensor(judge.judge([query], [found]))
        alone = torch.tensor([row[0] for row in judge_one_by_one(reader, apart, choices)])
        result[name] = {
            "seconds": times,
            "20 / one of 20": time_ratios(times, "20 documents", "one prompt of 20"),
            "nothing shared / 20": time_ratios(
                times, "20 documents, nothing shared", "20 documents"
            ),
            "tokens": {
                "of each": [reader.count(one) for one in apart],
                "of all": reader.count(whole),
            },
            "documents, pictures in one": [len(whole.kept), len(prompt_images(whole))],
            "largest difference of P(yes)": float((together - alone).abs().max()),
        }
    return result


def judge_one_by_one(
    reader: Reader, prompts: list[Prompt], choices: list[str]
) -> list[list[float]]:
    return [reader.choice_probability([prompt], choices)[0] for prompt in prompts]


def time_around_networks(
    rag: RagVqa, reader: LocalReader, asked: Any, repeats: int
) -> dict[str, Any]:
    """Milliseconds of `ask` outside the retriever's and the reader's networks."""
    inside: Seconds = {}

    def add_clock(call: Any) -> Any:
        def run(*given: Any, **named: Any) -> Any:
            found: list[Any] = []
            taken = time_call(lambda: found.append(call(*given, **named)))
            for of, seconds in taken.items():
                inside[of] += seconds
            return found[0]

        return run

    retriever = rag.kb.encoder.model
    reader.model.generate = add_clock(reader.model.generate)
    retriever.forward = add_clock(retriever.forward)
    outside: list[Seconds] = []
    for _ in range(1 + 3 * repeats):
        inside.update(wall=0.0, cpu=0.0)
        whole = time_call(lambda: rag.ask(asked.query.text, asked.query.image))
        outside.append({of: (whole[of] - inside[of]) * 1e3 for of in whole})
    del reader.model.generate, retriever.forward
    of_each = {of: statistics.median(some[of] for some in outside[1:]) for of in ("wall", "cpu")}
    return {"ms outside of networks": of_each, "all": outside[1:]}


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        "cpu": next((x.split(":")[1].strip() for x in info if x.startswith("model name")), ""),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "bitsandbytes": bitsandbytes.__version__,
    }


Show = Callable[[str, Any], None]


@contextmanager
def readers(scratch: Path) -> Iterator[Iterator[tuple[str, RagVqa]]]:
    """Yields pipelines over the demo's knowledge base: the embedded reader, then a larger one."""
    with (
        copy_embedded_reader(scratch) as folder,
        build_knowledge_base(
            scratch / "kb", Encoder.load(embedded_models_dir() / "retriever")
        ) as kb,
    ):
        sources = {"embedded": folder, "100 M": save_larger_reader(folder, scratch / "hundred")}
        yield (
            (f"{name}, {short}", RagVqa(kb, reader=open_reader(source, quantization), k=DEPTH))
            for name, source in sources.items()
            for short, quantization in (("nf4", "nf4"), ("fp32", "none"))
        )


def measure_speed(scratch: Path, repeats: int, show: Show) -> None:
    asked = example_questions("dev")[:BATCH]
    with readers(scratch) as pipelines:
        for name, rag in pipelines:
            reader: Any = rag.reader
            hits = rag.retrieve([example.query for example in asked])
            prompts = [
                rag.prompt(example.query, row) for example, row in zip(asked, hits, strict=True)
            ]
            if name.startswith("embedded"):
                show(f"{name}: batch of {BATCH}", batches(reader, prompts, repeats))
                show(f"{name}: ask", time_around_networks(rag, reader, asked[0], repeats))
            show(f"{name}: first piece", first_piece(reader, prompts[0], repeats))


def measure_critic(scratch: Path, repeats: int, show: Show) -> None:
    query = example_questions("dev")[0].query
    with readers(scratch) as pipelines:
        for name, rag in pipelines:
            [hits] = rag.retrieve([query], DOCUMENTS)
            show(f"{name}: critic", critic(rag, query, hits, repeats))


def measure_bytes(scratch: Path, repeats: int, show: Show) -> None:
    show("Qwen3-VL-2B, nf4", measure_two_billion(scratch))


PARTS = {"speed": measure_speed, "critic": measure_critic, "bytes": measure_bytes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--only", choices=PARTS, help="Measure only this part; keep the others' figures."
    )
    parser.add_argument(
        "--note", default="", help="Keep this note with the figures: what else was running."
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    held: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}

    def show(name: str, result: Any) -> None:
        results[name] = result
        brief = {key: value for key, value in result.items() if key not in ("seconds", "all")}
        print(name, json.dumps(brief), flush=True)

    for part, measure in PARTS.items():
        if given.only not in (None, part):
            continue
        results: dict[str, Any] = {}
        before = machine()
        with TemporaryDirectory() as scratch:
            measure(Path(scratch), given.repeats, show)
        held[part] = {
            "date": datetime.date.today().isoformat(),
            "command": " ".join(["python", *sys.argv]),
            "machine": before,
            "load after": os.getloadavg(),
            "note": given.note,
            "results": results,
        }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(held, indent=1) + "\n")


if __name__ == "__main__":
    main()
