"""Times encoding of text-only documents on a CPU, with and without running the vision tower.

The model has the shape of ReT-CLIP-ViT-L-14 and random weights; speed does not depend on them. Both
ways encode the same texts of 77 tokens, in turn. "Towers always on" is what the release does: a
black image with image_mask 0. Knows two ways to call the model, and a clock. Does not know
retrieval, and downloads nothing.

    python benchmarks/encode.py --documents 8 --repeats 3 --threads 2
"""

import argparse
import datetime
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from rag_vqa.retriever.modeling.configuration import RetrieverConfig
from rag_vqa.retriever.modeling.model import RetModel, RetrieverModel

TOKENS, PIXELS, VOCABULARY = 77, 224, 49408
# "wall": how long a user waits. "cpu": of all threads; other work hardly changes it.
Seconds = dict[str, float]
SKIPPED, ALWAYS = "vision tower skipped", "towers always on"
RESULTS = Path(__file__).parent / "results" / "encode.json"


def vit_l() -> RetModel:
    """The passage side of ReT-CLIP-ViT-L-14, float32, random weights."""
    text = {
        "vocab_size": VOCABULARY,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": TOKENS,
        "hidden_act": "quick_gelu",
    }
    vision = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": PIXELS,
        "hidden_act": "quick_gelu",
    }
    shape = {
        "text_config": text,
        "vision_config": vision,
        "hidden_size": 1024,
        "num_queries": 32,
        "late_proj_output_size": 128,
        "layer_strategy": "clip_vit_l",
    }
    config = RetrieverConfig(query_config=shape, share_query_passage_models=True)
    side: RetModel = RetrieverModel(config).eval().get_passage_model()
    return side


def both_ways(model: RetModel, documents: int) -> dict[str, Callable[[], Tensor]]:
    """Two ways to encode the same documents → (B, K, D). No text is padded: all have 77 tokens."""
    ids = torch.randint(0, VOCABULARY, (documents, TOKENS))
    given = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "text_mask": torch.ones(documents),
        "image_mask": torch.zeros(documents),
    }
    # CLIP's black pixel after normalisation, which is what the release feeds the tower.
    black = torch.tensor([-1.7923, -1.7521, -1.4802])[:, None, None]
    pixels = black.expand(documents, 3, PIXELS, PIXELS).contiguous()

    def skip_tower() -> Tensor:
        return features(model(**given, pixel_values=None))

    def run_towers() -> Tensor:
        return features(_run_both_towers(model, pixels, given))

    return {SKIPPED: skip_tower, ALWAYS: run_towers}


def features(output: Any) -> Tensor:
    """The features (B, K, D) of an output."""
    found: Tensor = output.ret_features
    return found


def _run_both_towers(model: RetModel, pixels: Tensor, given: dict[str, Tensor]) -> Any:
    # An image mask of exact zeros makes our model skip the tower. A number too small to change a
    # sum does not: the work and the result are the release's. (Denormals would be slow.)
    tiny = torch.full_like(given["image_mask"], 1e-30)
    return model(**{**given, "image_mask": tiny}, pixel_values=pixels)


@torch.inference_mode()
def measure(ways: dict[str, Callable[[], Tensor]], repeats: int) -> dict[str, list[Seconds]]:
    """Seconds of each repeat, the ways in turn, after one warm-up round.

    Raises RuntimeError if the two ways give different features: then they do different work, and
    the ratio means nothing.
    """
    first = [encode() for encode in ways.values()]
    if not torch.allclose(first[0], first[1], atol=1e-4):
        apart = float((first[0] - first[1]).abs().max())
        raise RuntimeError(f"the features of the two ways differ by {apart:.2g}; cannot compare")
    seconds: dict[str, list[Seconds]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, encode in ways.items():
            start = time.perf_counter(), time.process_time()
            encode()
            wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
            seconds[name].append({"wall": wall, "cpu": cpu})
    return seconds


def machine(threads: int) -> dict[str, Any]:
    """Describes the machine that the figures come from."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text().splitlines()
        cpu = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "system": f"{platform.system()} {platform.machine()}",
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=8, help="Number of documents in a batch.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument(
        "--note", default="", help="Keep this note with the figures: what else was running."
    )
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)

    seconds = measure(both_ways(vit_l(), given.documents), given.repeats)
    median = {
        name: {clock: statistics.median(t[clock] for t in times) for clock in ("wall", "cpu")}
        for name, times in seconds.items()
    }
    ratio = {clock: median[ALWAYS][clock] / median[SKIPPED][clock] for clock in ("wall", "cpu")}
    print(f"{'medians':<22} {'wall s':>8} {'cpu s':>8} {'documents/s':>12}")
    for name, middle in median.items():
        rate = given.documents / middle["wall"]
        print(f"{name:<22} {middle['wall']:8.3f} {middle['cpu']:8.3f} {rate:12.2f}")
    print(f"{'ratio':<22} {ratio['wall']:8.2f} {ratio['cpu']:8.2f}")

    result = {
        "what": f"{given.documents} text-only documents of {TOKENS} tokens, ReT-CLIP-ViT-L shape",
        "date": datetime.date.today().isoformat(),
        "machine": machine(given.threads),
        "note": given.note,
        "seconds": seconds,
        "median": median,
        "ratio": ratio,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
