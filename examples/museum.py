"""Writes a made-up museum's list, museum.csv, and 200 pictures to try your first build with.

    python examples/museum.py museum
    rag-vqa kb build museum/museum.csv --out museum.kb --map id=Inv --map title=Title \\
        --text "{Title}. {Description}\\nMade by {Artist} in {Year}." --show Artist,Year,Licence
    rag-vqa ask museum.kb "Who made the blue vase?"
    rag-vqa serve museum.kb
"""

import csv
import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

COUNT = 200
KINDS = ("vase", "bowl", "plate", "jug", "tile")
COLOURS = {
    "blue": "#2b5fa8",
    "red": "#b3392f",
    "green": "#3f7f4f",
    "black": "#2a2a2e",
    "gold": "#c79a2b",
}
MOTIFS = ("cranes", "peonies", "a river in fog", "two fishermen", "waves", "a walled city")
ARTISTS = ("Li Ming", "Judith van Ruys", "Ana Ferreira", "Workshop of the Three Wells", "")
LICENCES = ("CC0", "CC BY 4.0", "In copyright")


def write_museum(folder: Path, count: int = COUNT) -> Path:
    """Write the list and its pictures; returns the list."""
    chance = random.Random(7)
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    rows = [_object(folder, number, chance) for number in range(1, count + 1)]
    with (folder / "museum.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(rows)
    return folder / "museum.csv"


def _object(folder: Path, number: int, chance: random.Random) -> dict[str, str]:
    """One row: one in six has no year, one in five no artist, one in ten no picture."""
    kind, colour, motif = chance.choice(KINDS), chance.choice([*COLOURS]), chance.choice(MOTIFS)
    picture = "" if chance.random() < 0.1 else f"pictures/{number:03}.jpg"
    if picture:
        _draw(kind, COLOURS[colour], chance).save(folder / picture, quality=90)
    return {
        "Inv": f"M-{number:03}",
        "Title": f"{colour.capitalize()} {kind} with {motif}",
        "Description": f"A {colour} {kind}, {chance.randint(8, 60)} cm high. It shows {motif}.",
        "Artist": chance.choice(ARTISTS),
        "Year": "" if chance.random() < 1 / 6 else str(chance.randint(1580, 1910)),
        "Licence": chance.choice(LICENCES),
        "Image": picture,
    }


def _draw(kind: str, colour: str, chance: random.Random) -> Image.Image:
    image = Image.new("RGB", (320, 320), chance.choice(("#ece7dd", "#dfe5ea", "#f3f1ec")))
    pen, edge = ImageDraw.Draw(image), {"outline": "#00000055", "width": 3}
    if kind == "vase":
        pen.rectangle((135, 50, 185, 120), fill=colour, **edge)
        pen.ellipse((85, 100, 235, 285), fill=colour, **edge)
    elif kind == "bowl":
        pen.pieslice((50, 40, 270, 260), 0, 180, fill=colour, **edge)
    elif kind == "plate":
        pen.ellipse((40, 40, 280, 280), fill=colour, **edge)
        pen.ellipse((90, 90, 230, 230), fill="#ffffffaa", **edge)
    elif kind == "jug":
        pen.arc((190, 110, 270, 230), 270, 90, fill=colour, width=16)
        pen.rounded_rectangle((95, 70, 215, 280), 40, fill=colour, **edge)
    else:
        pen.rectangle((60, 60, 260, 260), fill=colour, **edge)
        pen.line((60, 160, 260, 160), fill="white", width=6)
    return image


if __name__ == "__main__":
    print(write_museum(Path(sys.argv[1] if len(sys.argv) > 1 else "museum")))
