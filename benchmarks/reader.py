"""How local readers read: batches, first pieces, shared beginnings, `ask` around the model, bytes.

Speed is measured on the embedded reader with its own documents and on a random model of about
100 million parameters of the same kind; bytes on a random model in the shape of Qwen3-VL-2B. It
knows readers, a clock and the process's memory. It does not know whether answers are right, and
downloads nothing. No figure of it is a test.

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
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import bitsandbytes
import torch
import transformers
from transformers import AutoConfig, AutoModelForImageTextToText
from weights import two_billion

from rag_vqa.demo.asked import examples
from rag_vqa.demo.bundled import build_knowledge_base, models_dir
from rag_vqa.pipeline import RagVqa
from rag_vqa.readers.local import LocalReader
from rag_vqa.retriever.encoder import Encoder
from rag_vqa.types import Hit, ImagePart, Prompt, TextPart

RESULTS = Path(__file__).parent / "results" / "reader.json"
BATCH, DEPTH, DOCUMENTS = 16, 3, 20
MOST = 8192  # tokens of a prompt: 20 documents are more than the embedded reader was trained for
# "wall": as a user waits; "cpu": of all threads, which other work on the machine hardly changes.
Seconds = dict[str, float]


def timed(call: Callable[[], Any]) -> Seconds:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def in_turn(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, Any]:
    """Each way once to warm up, then all in turn; medians, and every repeat."""
    for call in ways.values():
        call()
    taken: dict[str, list[Seconds]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, call in ways.items():
            taken[name].append(timed(call))
    return {
        name: {
            **{of: statistics.median(some[of] for some in all_) for of in ("wall", "cpu")},
            "all": all_,
        }
        for name, all_ in taken.items()
    }


def ratios(times: dict[str, Any], over: str, under: str) -> Seconds:
    return {of: times[over][of] / times[under][of] for of in ("wall", "cpu")}


@contextmanager
def embedded(scratch: Path) -> Iterator[Path]:
    """The embedded reader, allowed longer prompts than it was trained for: speed alone counts."""
    folder = scratch / "reader"
    shutil.copytree(models_dir() / "reader", folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = MOST
    (folder / "config.json").write_text(json.dumps(config))
    yield folder


def larger(folder: Path, out: Path) -> Path:
    """A random LLaVA of about 100 million parameters with the embedded reader's processor."""
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


def opened(folder: Path, quantization: Any) -> LocalReader:
    return LocalReader(
        folder, quantization=quantization, device="cpu", max_new_tokens=48, max_images=8
    )


def batches(reader: LocalReader, prompts: list[Prompt], repeats: int) -> dict[str, Any]:
    """Seconds of a batch against one by one; where the time goes; whether answers are the same."""
    times = in_turn(
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
        "times faster": ratios(times, "one by one", "batch"),
        "times faster, prefill alone": ratios(times, "one by one, prefill", "batch, prefill"),
        "same answers": sum(one == other for one, other in zip(together, alone, strict=True)),
        "tokens in": [completion.tokens_in for completion in alone],
        "tokens out": [completion.tokens_out for completion in alone],
    }


def prefill(reader: LocalReader, prompts: list[Prompt]) -> None:
    """Pictures and prompts to inputs, and one pass of the model that gives one token's logits."""
    inputs = reader._inputs(prompts)
    if inputs["attention_mask"].all():  # nothing is padded: attention is quicker without a mask
        del inputs["attention_mask"]
    with torch.inference_mode():
        reader.model(**inputs, use_cache=True, logits_to_keep=1)


def first_piece(reader: LocalReader, prompt: Prompt, repeats: int) -> dict[str, Any]:
    """Seconds to the first token that is streamed, against prefill."""
    times = in_turn(
        {
            "prefill": lambda: prefill(reader, [prompt]),
            "first piece": lambda: reader.generate([prompt], lambda row, piece: False),
        },
        repeats,
    )
    return {"seconds": times, "first piece / prefill": ratios(times, "first piece", "prefill")}


def critic(reader: LocalReader, hits: list[Hit], prompt: Prompt, repeats: int) -> dict[str, Any]:
    """P(yes) of 20 documents, against the same choice after one prompt with all 20 of them."""
    image = next(part for part in prompt.parts if isinstance(part, ImagePart))
    head = (image, TextPart("What is the capital? Does this help to answer?\n", trusted=True))
    tail = TextPart("\nyes or no?", trusted=True)
    texts = [TextPart(f"\n{hit.document.title}\n{hit.document.text}") for hit in hits]
    apart = [Prompt((*head, text, tail)) for text in texts]
    whole = Prompt((*head, *texts, tail))
    choices = ["yes", "no"]
    times = in_turn(
        {
            "20 documents": lambda: reader.choice_probability(apart, choices),
            "one prompt of 20": lambda: reader.choice_probability([whole], choices),
            "20 documents, nothing shared": lambda: [
                reader.choice_probability([one], choices) for one in apart
            ],
        },
        repeats,
    )
    together = torch.tensor(reader.choice_probability(apart, choices))
    alone = torch.tensor([reader.choice_probability([one], choices)[0] for one in apart])
    return {
        "seconds": times,
        "20 / one of 20": ratios(times, "20 documents", "one prompt of 20"),
        "nothing shared / 20": ratios(times, "20 documents, nothing shared", "20 documents"),
        "tokens": {"of each": [reader.count(one) for one in apart], "of all": reader.count(whole)},
        "largest difference of P(yes)": float((together - alone).abs().max()),
    }


def around(rag: RagVqa, reader: LocalReader, asked: Any, repeats: int) -> dict[str, Any]:
    """Milliseconds of `ask` in which neither the retriever's nor the reader's network runs."""
    inside: Seconds = {}

    def clocked(call: Any) -> Any:
        def run(*given: Any, **named: Any) -> Any:
            found: list[Any] = []
            taken = timed(lambda: found.append(call(*given, **named)))
            for of, seconds in taken.items():
                inside[of] += seconds
            return found[0]

        return run

    retriever = rag.kb.encoder.model
    reader.model.generate = clocked(reader.model.generate)
    retriever.forward = clocked(retriever.forward)
    outside: list[Seconds] = []
    for _ in range(1 + 3 * repeats):
        inside.update(wall=0.0, cpu=0.0)
        whole = timed(lambda: rag.ask(asked.query.text, asked.query.image))
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


def speed(scratch: Path, repeats: int, show: Callable[[str, Any], None]) -> None:
    with (
        embedded(scratch) as folder,
        build_knowledge_base(scratch / "kb", Encoder.load(models_dir() / "retriever")) as kb,
    ):
        asked = examples("dev")[:BATCH]
        hits = kb.search([example.query for example in asked], DOCUMENTS)
        hundred = larger(folder, scratch / "hundred")
        for name, source, quantization in (
            ("embedded, nf4", folder, "nf4"),
            ("embedded, fp32", folder, "none"),
            ("100 M, nf4", hundred, "nf4"),
            ("100 M, fp32", hundred, "none"),
        ):
            reader = opened(source, quantization)
            rag = RagVqa(kb, reader=reader, k=DEPTH)
            prompts = [
                rag.prompt(example.query, row[:DEPTH])
                for example, row in zip(asked, hits, strict=True)
            ]
            if source == folder:
                show(f"{name}: batch of {BATCH}", batches(reader, prompts, repeats))
                show(f"{name}: ask", around(rag, reader, asked[0], repeats))
            show(f"{name}: first piece", first_piece(reader, prompts[0], repeats))
            show(f"{name}: critic", critic(reader, hits[0], prompts[0], repeats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=["speed", "bytes"], help="one half; the other is kept")
    parser.add_argument("--note", default="", help="kept with the figures: what else was running")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    held: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}

    def show(name: str, result: Any) -> None:
        results[name] = result
        brief = {key: value for key, value in result.items() if key not in ("seconds", "all")}
        print(name, json.dumps(brief), flush=True)

    for half, measure in (("speed", speed), ("bytes", None)):
        if given.only not in (None, half):
            continue
        results: dict[str, Any] = {}
        before = machine()
        with TemporaryDirectory() as scratch:
            if measure is None:
                show("Qwen3-VL-2B, nf4", two_billion(Path(scratch)))
            else:
                measure(Path(scratch), given.repeats, show)
        held[half] = {
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
