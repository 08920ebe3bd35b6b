"""A museum of 200 objects to try things on: texts written for this purpose, pictures drawn.

    python benchmarks/museum.py OUT

writes OUT/museum.jsonl, the same as a registrar's table OUT/catalogue.csv, a picture of each
object, and OUT/questions.jsonl. The texts are in museum.jsonl, the questions in
museum_questions.jsonl: 100 that the texts answer, and others that they do not. Ids that begin with
"dev" may be looked at while something is tuned; "test" may not.

Knows the collection and how its pictures are drawn. Does not know what is tried on it.
"""

from __future__ import annotations

import csv
import json
import math
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFilter

HERE = Path(__file__).parent
SIDE = 384
Colour = tuple[int, int, int]
Points = list[tuple[float, float]]


def read_documents() -> list[dict[str, Any]]:
    """The 200 objects: id, title, text, metadata."""
    return _read_lines(HERE / "museum.jsonl")


def read_questions() -> list[dict[str, Any]]:
    """Questions with `answers` and `document_ids`, or `unanswerable`."""
    return _read_lines(HERE / "museum_questions.jsonl")


def write_museum(folder: Path) -> Path:
    """Writes objects, pictures and questions; returns the path of the objects' file."""
    folder.mkdir(parents=True, exist_ok=True)
    documents = read_documents()
    for document in documents:
        draw_object(document["id"]).save(folder / f"{document['id']}.png")
    records = [{**document, "image": f"{document['id']}.png"} for document in documents]
    _write_lines(folder / "questions.jsonl", read_questions())
    _write_catalogue(folder / "catalogue.csv", records)
    return _write_lines(folder / "museum.jsonl", records)


def draw_object(name: str, photo: int = 0) -> Image.Image:
    """The picture of an object; `photo` 1, 2, … show it as visitors would photograph it.

    Shape, colours and ornament depend on the name only. A photo has another background, angle,
    distance and light.
    """
    look, shot = random.Random(name), random.Random(f"{name} {photo}")
    background = _pick_colour(shot, 90, 235)
    canvas = Image.new("RGB", (SIDE, SIDE), background)
    layer = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    outline = _OUTLINES.get(name.split("-")[0], _blob)(look)
    mask = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(mask).polygon(_to_pixels(outline), fill=255)
    layer.paste(_draw_ornament(look), (0, 0), mask)
    if photo:
        scale = shot.uniform(0.6, 0.95)
        size = round(SIDE * scale)
        layer = layer.rotate(shot.uniform(-12, 12), Image.Resampling.BICUBIC).resize((size, size))
        layer = layer.filter(ImageFilter.GaussianBlur(shot.uniform(0, 1.2)))
    place = ((SIDE - layer.width) // 2, (SIDE - layer.height) // 2)
    canvas.paste(layer, place, layer)
    light = shot.uniform(0.75, 1.1) if photo else 1.0
    return canvas.point(lambda value: min(255, int(value * light)))


def _draw_ornament(look: random.Random) -> Image.Image:
    """The surface of an object: a colour with stripes, dots or lozenges, and a second band."""
    base, mark, band = (_pick_colour(look, 10, 250) for _ in range(3))
    surface = Image.new("RGB", (SIDE, SIDE), base)
    pen = ImageDraw.Draw(surface)
    step, kind = look.randint(24, 64), look.randrange(4)
    for x in range(-SIDE, 2 * SIDE, step):
        if kind == 0:
            pen.line([(x, 0), (x + look.randint(-20, 20), SIDE)], mark, step // 4)
        elif kind == 1:
            pen.line([(x, 0), (x + SIDE, SIDE)], mark, step // 3)
        for y in range(0, SIDE, step) if kind > 1 else ():
            r = step // 4
            sides = 4 if kind == 2 else 12
            pen.regular_polygon((x + (y // step % 2) * r, y, r), sides, fill=mark)
    top = look.randint(90, 240)
    pen.rectangle([0, top, SIDE, top + look.randint(14, 50)], fill=band)
    return surface


def _pick_colour(source: random.Random, low: int, high: int) -> Colour:
    return (source.randint(low, high), source.randint(low, high), source.randint(low, high))


def _to_pixels(points: Points) -> Points:
    return [(SIDE * x, SIDE * y) for x, y in points]


def _turned(look: random.Random) -> Points:
    """What a wheel or a lathe makes: a profile and its mirror image."""
    radii = [look.uniform(0.08, 0.38) for _ in range(7)]
    right = [(0.5 + radius, 0.12 + 0.76 * at / 6) for at, radius in enumerate(radii)]
    return right + [(1 - x, y) for x, y in reversed(right)]


def _framed(look: random.Random) -> Points:
    """What hangs on a wall: a rectangle of some proportion."""
    x, y = look.uniform(0.05, 0.25), look.uniform(0.05, 0.25)
    return [(x, y), (1 - x, y), (1 - x, 1 - y), (x, 1 - y)]


def _blade(look: random.Random) -> Points:
    """A weapon: long, with a guard and a grip."""
    width, guard, at = look.uniform(0.03, 0.1), look.uniform(0.12, 0.3), look.uniform(0.55, 0.75)
    right = [(0.5, 0.04), (0.5 + width, 0.15), (0.5 + width, at), (0.5 + guard, at)]
    right += [(0.5 + guard, at + 0.06), (0.5 + width, at + 0.06), (0.5 + width, 0.95)]
    return right + [(1 - x, y) for x, y in reversed(right)]


def _disc(look: random.Random) -> Points:
    """A coin, more or less round."""
    corners, radius = look.choice([6, 8, 40, 60]), look.uniform(0.25, 0.42)
    angles = [2 * math.pi * n / corners for n in range(corners)]
    return [(0.5 + radius * math.cos(a), 0.5 + radius * math.sin(a)) for a in angles]


def _blob(look: random.Random) -> Points:
    """Anything else: an outline that no other object has."""
    angles = [2 * math.pi * n / 11 for n in range(11)]
    radii = [look.uniform(0.18, 0.45) for _ in angles]
    return [
        (0.5 + r * math.cos(a), 0.5 + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)
    ]


_OUTLINES: dict[str, Callable[[random.Random], Points]] = {
    "cer": _turned, "mus": _turned, "pai": _framed, "pho": _framed, "boo": _framed,
    "tex": _framed, "arm": _blade, "coi": _disc,
}  # fmt: skip


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _write_lines(path: Path, records: list[dict[str, Any]]) -> Path:
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text(lines, "utf-8")
    return path


def _write_catalogue(path: Path, records: list[dict[str, Any]]) -> None:
    """The objects as a table, with the headings of a museum and not those of rag-vqa."""
    headings = ("Inventory no.", "Title", "Description", "Date", "Material", "Place", "Photo")
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(headings)
        for record in records:
            known = record["metadata"]
            facts = [known.get(name, "") for name in ("date", "material", "place")]
            table.writerow(
                [known["inventory"], record["title"], record["text"], *facts, record["image"]]
            )


if __name__ == "__main__":
    print(write_museum(Path(sys.argv[1])))
