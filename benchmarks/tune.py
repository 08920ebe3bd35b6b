"""Tunes the demo's query side on few pairs, for questions that it was not trained to understand.

The questions are the demo's in German; documents stay English. Countries are invented, and differ
between the pairs and the test. The result holds what `rag-vqa train --pairs` reports on its own
held-out fifth. It also holds recall on a test with other countries, before and after, with paired
intervals.
"""

import argparse
import json
import platform
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from rag_vqa.demo.questions import questions
from rag_vqa.demo.training.invented_countries import invent_countries
from rag_vqa.demo.world.texts import documents
from rag_vqa.jobs.tune import has_gain, recall_changes
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.retriever.training.query_tuning import TuningResult, tune_query_side
from rag_vqa.retriever.training.source_mixture import open_source
from rag_vqa.retriever.training.training_loop import make_accelerator
from rag_vqa.retriever.training.training_settings import SourceSettings
from rag_vqa.retriever.training.validation import ValidationSet

SIZES = (50, 200, 1000)
TEST = 500  # questions
GERMAN = {
    "region": "In welchem Teil der Welt liegt dieses Land?",
    "area": "Wie groß ist dieses Land?",
    "coast": "Liegt dieses Land am Meer oder ist es ein Binnenland?",
    "neighbours": "Welche Länder grenzen an dieses Land?",
    "neighbour_count": "Wie viele Nachbarländer hat dieses Land?",
    "highest_point": "Was ist der höchste Berg in diesem Land?",
    "population": "Wie viele Einwohner hat dieses Land?",
    "languages": "Welche Sprache ist hier Amtssprache?",
    "largest_city": "Welche Stadt ist hier die größte?",
    "demonym": "Wie nennt man die Leute aus diesem Land?",
    "capital": "Wie heißt die Hauptstadt dieses Landes?",
    "form": "Welche Staatsform hat dieses Land?",
    "independence": "Seit wann ist dieses Land unabhängig?",
    "national_day": "Wann ist hier Nationalfeiertag?",
    "currency": "Mit welcher Währung bezahlt man hier?",
    "currency_code": "Welchen Code hat die Währung dieses Landes?",
    "subunit": "In was ist die Währung dieses Landes unterteilt?",
    "central_bank": "Wie heißt die Zentralbank dieses Landes?",
    "calling_code": "Welche Vorwahl hat dieses Land?",
    "domain": "Worauf enden hier Adressen im Internet?",
    "driving_side": "Auf welcher Seite fährt man hier?",
    "time_zone": "In welcher Zeitzone liegt dieses Land?",
    "country_code": "Welche drei Buchstaben sind das Kürzel dieses Landes?",
    "colours": "Welche Farben hat diese Flagge?",
    "adopted": "Seit wann gibt es diese Flagge?",
}


def pairs(folder: Path, count: int, seed: int) -> Path:
    """Writes a file of pairs: `count` questions, five a country, with their documents."""
    folder.mkdir(parents=True)
    path = folder / "pairs.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number, row in zip(range(count), rows(folder, seed), strict=False):
            file.write(json.dumps({"id": str(number), **row}, ensure_ascii=False) + "\n")
    return path


def rows(folder: Path, seed: int) -> Iterator[dict[str, Any]]:
    """Yields questions on one invented country after another."""
    rng = np.random.default_rng([seed, 2024])
    place = 0
    while True:
        for country in invent_countries(rng, 20):
            photo, drawing = f"{place}-photo.png", f"{place}-drawing.png"
            Image.fromarray(country.photo(rng)).save(folder / photo)
            Image.fromarray(country.drawing(rng)).save(folder / drawing)
            texts = {d.section: d for d in documents(country.entity, rng=rng)}
            asked = [q for q in questions(country.entity) if q.attribute in GERMAN]
            asked = [q for q in asked if q.section in texts]
            for at in rng.permutation(len(asked))[:5]:
                found = texts[asked[at].section]
                document = {"title": found.title, "section": found.section, "text": found.text}
                document["id"] = f"{seed}/{place}/{found.section}"
                question = GERMAN[asked[at].attribute]
                yield {
                    "question": question,
                    "image": photo,
                    "document": document | {"image": drawing},
                }
            place += 1


def compare_checkpoints(start: str, tuned: Path, file: Path) -> TuningResult:
    """Ranks of a file's pairs with both checkpoints."""
    ranks = []
    for checkpoint in (start, str(tuned)):
        encoder = Encoder.load(checkpoint, device="cpu")
        told = (encoder.instruction,) if encoder.instruction else ()
        source = open_source(SourceSettings(format="pairs", questions=file, instructions=told))
        drawn = source.draw(0, range(TEST))
        held_out = ValidationSet(drawn, encoder.model, encoder.processor)
        ranks.append(held_out.ranks())
    passages = tuple(pair.positives[0].rpartition("/")[0] for pair in drawn)  # by country
    return TuningResult(None, tuned, ranks[0], ranks[1], passages, len(held_out.pool))  # type: ignore[arg-type]


def measure_tuning(folder: Path, size: int, seed: int) -> dict[str, Any]:
    """Tunes once. Returns the figures of the held-out fifth and of the test."""
    file = pairs(folder / f"pairs-{size}", size, seed)
    test = folder / "test" / "pairs.jsonl"
    started = time.monotonic()
    tuned = tune_query_side(
        "demo",
        SourceSettings(format="pairs", questions=file),
        folder / f"out-{size}",
        make_accelerator("fp32"),
    )
    seconds = time.monotonic() - started
    found = {"pairs": size, "seconds": round(seconds, 1), "steps": tuned.fitted.step}
    found |= {"best_step": tuned.fitted.best["step"], "kept": has_gain(tuned)}
    return found | {
        "held out": [change.as_json() for change in recall_changes(tuned)],
        "test": [
            change.as_json()
            for change in recall_changes(compare_checkpoints("demo", tuned.folder, test))
        ],
    }


def table(results: dict[str, Any]) -> str:
    """The table in docs/training.md."""
    lines = [
        "| pairs | recall | before | after | difference, 95% | kept | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for run in results["runs"]:
        for row in run["test"]:
            gap = f"{row['low']:+.3f} – {row['high']:+.3f}"
            kept = "yes" if run["kept"] else "no"
            cells = [f"{run['pairs']:,}", row["recall"], f"{row['before']:.3f}"]
            cells += [f"{row['after']:.3f}", gap, kept, f"{run['seconds']:.0f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    runs = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        pairs(folder / "test", TEST, given.seed + 1)
        for size in given.sizes:
            runs.append(measure_tuning(folder, size, given.seed))
            print(json.dumps(runs[-1]), flush=True)
    told = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": platform.processor() or platform.machine(),
        "seed": given.seed,
        "runs": runs,
    }
    if given.json:
        given.json.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
