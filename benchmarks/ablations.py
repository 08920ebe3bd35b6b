"""Trains the variants of the paper's ablations on the demo world, with three seeds each.

    python benchmarks/ablations.py --work FOLDER    # continues where it stopped
    python benchmarks/ablations.py --work FOLDER --longer    # two of them, four times as long
    python benchmarks/ablations.py --table          # writes docs/ablations.md from the figures

Every run is `rag-vqa train` with the demo's own settings and one option changed. All variants of a
seed train for the same number of steps, on the same pairs in the same order. The demo's vision
tower is frozen; everything else starts from random weights. Recall is measured on real flags of the
test half; nothing here is chosen on that half. Seeds are the outer loop, so an unfinished table has
the same seeds for all variants.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "ablations.json"
LONGER = RESULTS.with_name("ablations_longer.json")
RECIPE = ROOT / "rag_vqa" / "demo" / "retriever.yaml"
PAGE = ROOT / "docs" / "ablations.md"
SEEDS = (1, 2, 3)
STEPS, LONGER_STEPS, BATCH = 300, 1200, 48
LONGER_VARIANTS = ("full", "no gates")  # where the first table contradicts the paper
DEPTH = 5
Settings = dict[str, Any]


@dataclass(frozen=True)
class Ablation:
    """Settings that differ from the full ReT, and what they mean."""

    settings: Settings
    about: str


# A single vector's scores lie in [-1, 1], those of 32 tokens in [-32, 32]: its loss starts with a
# scale that makes up for this. Both learn their scale.
TOKENS = 32
VARIANTS: Mapping[str, Ablation] = {
    "full": Ablation({}, "gates, three steps, 32 tokens, text and image"),
    "no gates": Ablation({"variant": {"gates": False}}, "what is read is added, nothing forgotten"),
    "last layer only": Ablation({"variant": {"layers": "last"}}, "one step, on each tower's last"),
    "single vector": Ablation(
        {"variant": {"pool": True}, "loss": {"scale": float(TOKENS)}}, "the mean of the 32 tokens"
    ),
    "image only": Ablation({"variant": {"fusion": "image"}}, "the cell reads no text"),
    "text only": Ablation({"variant": {"fusion": "text"}}, "the cell reads no picture"),
}


def main() -> None:
    """Runs what has not been run yet, or writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="Keep the training runs in this folder.")
    parser.add_argument("--longer", action="store_true", help=f"Train for {LONGER_STEPS} steps.")
    parser.add_argument("--table", action="store_true", help="Write docs/ablations.md and exit.")
    given = parser.parse_args()
    if given.table:
        for file in (RESULTS, LONGER):
            PAGE.write_text(page(file.stem, json.loads(file.read_text("utf-8"))), "utf-8")
    elif given.work is None:
        parser.error("give --work FOLDER, or --table")
    elif given.longer:
        run_all(given.work / "longer", LONGER, LONGER_VARIANTS, LONGER_STEPS)
    else:
        run_all(given.work, RESULTS, tuple(VARIANTS), STEPS)


def run_all(work: Path, file: Path, names: Sequence[str], steps: int) -> None:
    """Runs everything that `file` does not hold yet, and writes the file after each run."""
    results = json.loads(file.read_text("utf-8")) if file.exists() else new_results(steps)
    if results["steps"] != steps or results["batch"] != BATCH:
        sys.exit(f"{file} holds runs with other settings. Move it away, or use its settings.")
    tower = _save_tower(work / "tower")
    for seed in SEEDS:
        for name in names:
            if str(seed) in results["runs"].setdefault(name, {}):
                continue
            started = time.monotonic()
            out = work / f"{name.replace(' ', '-')}-{seed}"
            train(VARIANTS[name].settings, steps, seed, out, tower)
            trained = time.monotonic()
            results["runs"][name][str(seed)] = {
                "ranks": ranks(out / "last"),
                "train_seconds": round(trained - started, 1),
                "date": str(date.today()),
            }
            scratch = file.with_suffix(".tmp")
            scratch.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
            scratch.replace(file)
            right = hits(results, name, 1, [str(seed)]).mean()
            print(f"{name}, seed {seed}: {trained - started:.0f} s, {right:.3f}", flush=True)


def new_results(steps: int) -> Settings:
    """Results without runs: the questions in order, and how each run is trained."""
    from rag_vqa.demo.gallery import example_questions

    return {
        "half": "test",
        "steps": steps,
        "batch": BATCH,
        "questions": [example.id for example in example_questions("test")],
        "runs": {},
    }


def train(settings: Settings, steps: int, seed: int, out: Path, tower: Path) -> None:
    """Runs `rag-vqa train` in its own process. Raises CalledProcessError if it fails."""
    import yaml

    from rag_vqa.checkpoints import embedded_model

    words = str(embedded_model("retriever"))
    own: Settings = {
        "out": str(out), "steps": steps, "batch": BATCH, "seed": seed,
        "model": {"vision": str(tower)}, "tokenizer": words, "image_processor": words,
    }  # fmt: skip
    tree = _merge_settings(yaml.safe_load(RECIPE.read_text("utf-8")), own, settings)
    out.mkdir(parents=True, exist_ok=True)
    config = out / "train.yaml"
    config.write_text(yaml.safe_dump(tree), "utf-8")
    command = [sys.executable, "-m", "rag_vqa", "train", "--config", str(config)]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def ranks(checkpoint: Path) -> str:
    """The rank of each question's document, a digit from 1 to 5, or 0 if it is not among them."""
    from rag_vqa.demo.gallery import build_knowledge_base, example_questions
    from rag_vqa.retriever.modeling.encoder import Encoder

    asked = example_questions("test")
    with tempfile.TemporaryDirectory() as scratch:
        encoder = Encoder.load(checkpoint)
        with build_knowledge_base(Path(scratch) / "flags.kb", encoder) as kb:
            found = kb.search([example.query for example in asked], DEPTH)
    first = [
        next((hit.rank for hit in hits if hit.document.id in example.relevant), 0)
        for example, hits in zip(asked, found, strict=True)
    ]
    return "".join(map(str, first))


def hits(results: Settings, name: str, depth: int, seeds: Sequence[str]) -> NDArray[np.float64]:
    """(seeds, questions) of 1 and 0: the right document is among the first `depth`."""
    runs = results["runs"][name]
    found = np.array([[int(digit) for digit in runs[seed]["ranks"]] for seed in seeds])
    return ((found > 0) & (found <= depth)).astype(np.float64)


def row(results: Settings, name: str, seeds: Sequence[str]) -> str:
    """A variant's row in the table."""
    from rag_vqa.eval.intervals import bootstrap, paired_bootstrap

    clusters = [question.partition("/")[0] for question in results["questions"]]
    first, fifth, full = (
        hits(results, *what, seeds).mean(axis=0) for what in ((name, 1), (name, DEPTH), ("full", 1))
    )
    by_seed = hits(results, name, 1, seeds).mean(axis=1)
    low, high = bootstrap(first, clusters)
    cells = [
        name, f"{first.mean():.3f}", f"{low:.3f} – {high:.3f}",
        f"{by_seed.min():.3f} – {by_seed.max():.3f}", f"{fifth.mean():.3f}",
    ]  # fmt: skip
    if name == "full":
        cells += ["", ""]
    else:
        below, above = paired_bootstrap(first, full, clusters)
        cells += [f"{first.mean() - full.mean():+.3f}", f"{below:+.3f} – {above:+.3f}"]
    return f"| {' | '.join(cells)} |"


def table(results: Settings) -> str:
    """A Markdown table of all variants, with the seeds that all of them have so far."""
    runs = results["runs"]
    seeds = [str(s) for s in SEEDS if all(str(s) in found for found in runs.values())]
    if not seeds:
        return "No seed of all variants yet."
    head = "| variant | recall@1 | 95% | seeds | recall@5 | minus full | 95% |"
    rows = [row(results, name, seeds) for name in runs]
    said = f"{results['steps']} steps of {results['batch']} pairs; seeds {', '.join(seeds)}."
    return "\n".join([said, "", head, "|---|---|---|---|---|---|---|", *rows])


def page(name: str, results: Settings) -> str:
    """The text of docs/ablations.md with a new table of this name; the text around it stays."""
    start, end = f"<!-- table: {name}.json -->\n", "\n<!-- end of table -->"
    before, _, rest = PAGE.read_text("utf-8").partition(start)
    return f"{before}{start}{table(results)}{end}{rest.partition(end)[2]}"


def _save_tower(folder: Path) -> Path:
    """Saves the vision tower of the demo's retriever as a CLIP checkpoint."""
    if not (folder / "model.safetensors").exists():
        from rag_vqa.checkpoints import embedded_model
        from rag_vqa.retriever.modeling.model import RetrieverModel

        model = RetrieverModel.from_pretrained(embedded_model("retriever"))
        model.query_model.vision_model.save_pretrained(folder)
    return folder


def _merge_settings(*layers: Settings) -> Settings:
    """Merges nested settings; later ones override earlier ones."""
    whole: Settings = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(whole.get(key), dict)
            whole[key] = _merge_settings(whole[key], value) if both else value
    return whole


if __name__ == "__main__":
    main()
