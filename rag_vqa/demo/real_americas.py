"""Flags of the Americas by ISO code, coats of arms simplified."""

from __future__ import annotations

from rag_vqa.demo.drawing.colours import parse_colour
from rag_vqa.demo.drawing.flag import FlagSpec
from rag_vqa.demo.drawing.flag_recipes import (
    arms,
    columns,
    cross,
    disc,
    emblem,
    flag,
    hoist,
    poly,
    rect,
    rising,
    rows,
    star,
    stars,
)
from rag_vqa.demo.drawing.shapes import Box, Saltire, Stripe

AMERICAS: dict[str, FlagSpec] = {
    "PE": flag(2 / 3, columns("d91023 fff d91023")),
    "CO": flag(2 / 3, rows("fcd116 003893 ce1126", 2, 1, 1)),
    "BO": flag(15 / 22, rows("d52b1e f9e300 007934")),
    "CR": flag(3 / 5, rows("002b7f fff ce1126 fff 002b7f", 1, 1, 2, 1, 1)),
    "AR": flag(
        5 / 8, rows("74acdf fff 74acdf"), emblem("sun32", 0.5, 0.5, 0.15, "f6b40e"),
    ),
    "HN": flag(
        1 / 2, rows("00bce4 fff 00bce4"),
        stars([(0.5, 0.5), (0.42, 0.42), (0.58, 0.42), (0.42, 0.58), (0.58, 0.58)], 0.065,
              "00bce4"),
    ),
    "GT": flag(
        5 / 8, columns("4997d0 fff 4997d0"), arms(0.5, 0.5, 0.2, "e8d9a0 c6282d 448127", "square"),
    ),
    "SV": flag(
        4 / 7, rows("0047ab fff 0047ab"), arms(0.5, 0.5, 0.16, "ffcc00 0047ab 1e5b31", "triangle"),
    ),
    "DO": flag(
        5 / 8, rows("ce1126"), rect(0, 0, 0.5, 0.5, "002d62"), rect(0.5, 0.5, 0.5, 0.5, "002d62"),
        cross(0.2, "fff"), arms(0.5, 0.5, 0.09, "002d62 ce1126 006b3f"),
    ),
    "CL": flag(
        2 / 3, rows("fff d52b1e"), rect(0, 0, 1 / 3, 0.5, "0039a6"),
        star(0.1667, 0.25, 0.125, "fff"),
    ),
    "CU": flag(
        1 / 2, rows("002a8f fff 002a8f fff 002a8f"), hoist(0.433, "cf142b"),
        star(0.145, 0.5, 0.17, "fff"),
    ),
    "US": flag(
        10 / 19, rows(" ".join(["b22234", "fff"] * 6 + ["b22234"])),
        Box(0, 0, 0.4, 7 / 13, (
            rows("3c3b6e"),
            stars([((i + 1) / 12, (j + 1) / 10) for i in range(11) for j in range(9)
                   if (i + j) % 2 == 0], 0.058, "fff"),
        )),
    ),
    "PA": flag(
        2 / 3, rows("fff"), rect(0.5, 0, 0.5, 0.5, "d21034"), rect(0, 0.5, 0.5, 0.5, "005293"),
        star(0.25, 0.25, 0.13, "005293"), star(0.75, 0.75, 0.13, "d21034"),
    ),
    "VE": flag(
        2 / 3, rows("ffcc00 00247d cf142b"),
        stars([(0.335, 0.59), (0.352, 0.52), (0.393, 0.46), (0.455, 0.42), (0.545, 0.42),
               (0.607, 0.46), (0.648, 0.52), (0.665, 0.59)], 0.042, "fff"),
    ),
    "UY": flag(
        2 / 3, rows("fff 0038a8 fff 0038a8 fff 0038a8 fff 0038a8 fff"),
        rect(0, 0, 1 / 3, 5 / 9, "fff"), emblem("sun", 0.167, 0.278, 0.23, "fcd116"),
    ),
    "BR": flag(
        7 / 10, rows("009c3b"),
        poly("ffdf00", (0.5, 0.12), (0.915, 0.5), (0.5, 0.88), (0.085, 0.5)),
        disc(0.5, 0.5, 0.25, "002776"),
        poly("fff", (0.335, 0.43), (0.45, 0.43), (0.57, 0.48), (0.67, 0.56), (0.66, 0.6),
             (0.56, 0.53), (0.45, 0.48), (0.332, 0.475)),
        stars([(0.4, 0.56), (0.45, 0.62), (0.5, 0.58), (0.55, 0.66), (0.58, 0.6), (0.5, 0.7),
               (0.57, 0.42)], 0.02, "fff"),
    ),
    "GY": flag(
        3 / 5, rows("009e49"), hoist(1.0, "fff"), hoist(0.94, "fcd116"), hoist(0.52, "000"),
        hoist(0.46, "ce1126"),
    ),
    "TT": flag(
        3 / 5, rows("da1a35"), Stripe((0.11, 0), (0.89, 1), 0.36, parse_colour("fff")),
        Stripe((0.11, 0), (0.89, 1), 0.25, parse_colour("000")),
    ),
    "JM": flag(
        1 / 2, rows("009b3a"), poly("000", (0, 0), (0.5, 0.5), (0, 1)),
        poly("000", (1, 0), (0.5, 0.5), (1, 1)), Saltire(0.17, parse_colour("fed100")),
    ),
    "BS": flag(1 / 2, rows("00778b ffc72c 00778b"), hoist(0.433, "000")),
    "BB": flag(
        2 / 3, columns("00267f ffc726 00267f"), emblem("trident", 0.5, 0.5, 0.24, "000"),
    ),
    "HT": flag(
        3 / 5, rows("00209f d21034"), rect(0.39, 0.34, 0.22, 0.32, "fff"),
        arms(0.5, 0.5, 0.12, "016a16 f1b517", "tree"),
    ),
    "LC": flag(
        1 / 2, rows("65cfff"), poly("fff", (0.5, 0.1), (0.7, 0.9), (0.3, 0.9)),
        poly("000", (0.5, 0.19), (0.675, 0.9), (0.325, 0.9)),
        poly("fcd116", (0.5, 0.5), (0.7, 0.9), (0.3, 0.9)),
    ),
    "VC": flag(
        2 / 3, columns("0072c6 fcd116 009e60", 1, 2, 1),
        stars([(0.41, 0.42), (0.59, 0.42), (0.5, 0.66)], 0.17, "009e60", "diamond"),
    ),
    "AG": flag(
        2 / 3, rows("ce1126"), poly("000", (0, 0), (1, 0), (0.5, 1)),
        Box(0, 0, 1, 0.43, (emblem("sun", 0.5, 1.0, 0.62, "fcd116"),)),
        poly("0072c6", (0.215, 0.43), (0.785, 0.43), (0.665, 0.67), (0.335, 0.67)),
        poly("fff", (0.335, 0.67), (0.665, 0.67), (0.5, 1)),
        poly("ce1126", (0, 0), (0.5, 1), (0, 1)), poly("ce1126", (1, 0), (1, 1), (0.5, 1)),
    ),
    "KN": flag(
        2 / 3, rows("009e49"), poly("ce1126", (1, 0), (1, 1), (0, 1)), rising(0.42, "fcd116"),
        rising(0.32, "000"), star(0.3, 0.68, 0.13, "fff", -34), star(0.7, 0.32, 0.13, "fff", -34),
    ),
    "CA": flag(
        1 / 2, columns("ff0000 fff ff0000", 1, 2, 1), emblem("maple", 0.5, 0.5, 0.39, "ff0000"),
    ),
    "MX": flag(
        4 / 7, columns("006847 fff ce1126"), arms(0.5, 0.5, 0.17, "8c5a2b c8a060 4d7d3a", "eagle"),
    ),
    "EC": flag(
        2 / 3, rows("ffdd00 034ea2 ed1c24", 2, 1, 1),
        arms(0.5, 0.47, 0.27, "7ec8e8 8c6a3a 404040", "shield"),
    ),
    "SR": flag(
        2 / 3, rows("377e3f fff b40a2d fff 377e3f", 2, 1, 4, 1, 2), star(0.5, 0.5, 0.2, "ecc81d"),
    ),
    "PY": flag(
        11 / 20, rows("d52b1e fff 0038a8"), emblem("thin ring", 0.5, 0.5, 0.15, "404040"),
        arms(0.5, 0.5, 0.1, "009b3a fedf00", "disc"),
    ),
}  # fmt: skip
