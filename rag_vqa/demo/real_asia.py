"""Flags of Asia and Oceania by ISO code, coats of arms simplified."""

from __future__ import annotations

from rag_vqa.demo.flag import FlagSpec, colour
from rag_vqa.demo.recipes import (
    UNION_CANTON,
    columns,
    disc,
    emblem,
    flag,
    hoist,
    poly,
    rect,
    ring,
    rising,
    rows,
    star,
    stars,
)
from rag_vqa.demo.shapes import Border, Serration, Weave

ASIA: dict[str, FlagSpec] = {
    "ID": flag(2 / 3, rows("ff0000 fff")),
    "AM": flag(1 / 2, rows("d90012 0033a0 f2a800")),
    "YE": flag(2 / 3, rows("ce1126 fff 000")),
    "TH": flag(2 / 3, rows("a51931 f4f5f8 2d2a4a f4f5f8 a51931", 1, 1, 2, 1, 1)),
    "MM": flag(2 / 3, rows("fecb00 34b233 ea2839"), star(0.5, 0.53, 0.37, "fff")),
    "IN": flag(2 / 3, rows("ff9933 fff 138808"), emblem("wheel", 0.5, 0.5, 0.145, "000080")),
    "LA": flag(2 / 3, rows("ce1126 002868 ce1126", 1, 2, 1), disc(0.5, 0.5, 0.2, "fff")),
    "JP": flag(2 / 3, rows("fff"), disc(0.5, 0.5, 0.3, "bc002d")),
    "BD": flag(3 / 5, rows("006a4e"), disc(0.45, 0.5, 0.333, "f42a41")),
    "VN": flag(2 / 3, rows("da251d"), star(0.5, 0.5, 0.3, "ffff00")),
    "CN": flag(
        2 / 3, rows("ee1c25"), star(1 / 6, 0.25, 0.15, "ffff00"),
        star(1 / 3, 0.1, 0.05, "ffff00", 23), star(0.4, 0.2, 0.05, "ffff00", 46),
        star(0.4, 0.35, 0.05, "ffff00", 0), star(1 / 3, 0.45, 0.05, "ffff00", 20),
    ),
    "TL": flag(
        1 / 2, rows("dc241f"), hoist(0.5, "ffc726"), hoist(1 / 3, "000"),
        star(0.12, 0.5, 0.13, "fff", -20),
    ),
    "TR": flag(
        2 / 3, rows("e30a17"), emblem("crescent", 1 / 3, 0.5, 0.25, "fff"),
        star(0.475, 0.5, 0.125, "fff", -18),
    ),
    "PK": flag(
        2 / 3, rows("01411c"), rect(0, 0, 0.25, 1, "fff"),
        emblem("crescent", 0.61, 0.52, 0.3, "fff", -42), star(0.71, 0.36, 0.1, "fff", 25),
    ),
    "MY": flag(
        1 / 2, rows(" ".join(["cc0001", "fff"] * 7)), rect(0, 0, 0.5, 8 / 14, "010066"),
        emblem("crescent", 0.19, 0.286, 0.2, "ffcc00"),
        emblem("star14", 0.29, 0.286, 0.18, "ffcc00"),
    ),
    "SG": flag(
        2 / 3, rows("ed2939 fff"), emblem("crescent", 0.16, 0.25, 0.19, "fff"),
        stars(ring(5, 0.27, 0.25, 0.1, 2 / 3), 0.045, "fff"),
    ),
    "MV": flag(
        2 / 3, rows("007e3a"), Border(0.25, colour("d21034")),
        emblem("thick crescent", 0.54, 0.5, 0.19, "fff", 180),
    ),
    "AZ": flag(
        1 / 2, rows("00b5e2 ef3340 509e2f"), emblem("crescent", 0.48, 0.5, 0.15, "fff"),
        emblem("star8", 0.545, 0.5, 0.08, "fff"),
    ),
    "UZ": flag(
        1 / 2, rows("0099b5 ce1126 fff ce1126 1eb53a", 32, 2, 32, 2, 32),
        emblem("crescent", 0.12, 0.165, 0.12, "fff"),
        stars([(0.2 + 0.045 * i, 0.08 + 0.085 * j) for j in range(3) for i in range(5)
               if i >= 2 - j], 0.03, "fff"),
    ),
    "KZ": flag(
        1 / 2, rows("00afca"), emblem("sun32", 0.5, 0.4, 0.24, "fec50c"),
        emblem("bird", 0.5, 0.7, 0.17, "fec50c"), Weave(0.02, 0, 0.05, 1, 12, 2, colour("fec50c")),
    ),
    "KG": flag(
        3 / 5, rows("e8112d"), emblem("sun32", 0.5, 0.5, 0.33, "ffef00"),
        emblem("thin ring", 0.5, 0.5, 0.17, "e8112d"), emblem("wheel", 0.5, 0.5, 0.13, "e8112d"),
    ),
    "TJ": flag(
        1 / 2, rows("cc0000 fff 006600", 2, 3, 2), emblem("crown", 0.5, 0.53, 0.1, "f8c300"),
        stars([(0.43, 0.5), (0.443, 0.43), (0.465, 0.38), (0.5, 0.36), (0.535, 0.38),
               (0.557, 0.43), (0.57, 0.5)], 0.028, "f8c300"),
    ),
    "QA": flag(
        11 / 28, rows("8a1538"), Serration(0.29, 9, 0.09, colour("fff")),
    ),
    "BH": flag(3 / 5, rows("ce1126"), Serration(0.25, 5, 0.15, colour("fff"))),
    "KW": flag(
        1 / 2, rows("007a3d fff ce1126"), poly("000", (0, 0), (0.25, 1 / 3), (0.25, 2 / 3), (0, 1)),
    ),
    "AE": flag(1 / 2, rows("00732f fff 000"), rect(0, 0, 0.25, 1, "ff0000")),
    "JO": flag(
        1 / 2, rows("000 fff 007a3d"), hoist(0.5, "ce1126"),
        emblem("star7", 0.165, 0.5, 0.1, "fff"),
    ),
    "IQ": flag(2 / 3, rows("ce1126 fff 000"), emblem("script", 0.5, 0.5, 0.33, "007a3d")),
    "IR": flag(
        4 / 7, rows("239f40 fff da0000"),
        stars([(0.0227 * (2 * i + 1), y) for i in range(22) for y in (0.32, 0.68)], 0.018, "fff",
              "square"),
        emblem("crown", 0.5, 0.5, 0.13, "da0000"), emblem("sword", 0.5, 0.5, 0.13, "da0000", 90),
    ),
    "IL": flag(
        8 / 11, rows("fff 0038b8 fff 0038b8 fff", 15, 25, 80, 25, 15),
        emblem("open triangle", 0.5, 0.5, 0.2, "0038b8"),
        emblem("open triangle", 0.5, 0.5, 0.2, "0038b8", 180),
    ),
    "LB": flag(
        2 / 3, rows("ed1c24 fff ed1c24", 1, 2, 1), emblem("cedar", 0.5, 0.5, 0.235, "00a651"),
    ),
    "SA": flag(
        2 / 3, rows("006c35"), emblem("script", 0.5, 0.42, 0.45, "fff"),
        emblem("sword", 0.5, 0.72, 0.36, "fff"),
    ),
    "NP": flag(
        1.219, rows("fff"), poly("003893", (0, 0), (1, 0.52), (0.42, 0.52), (0.96, 1), (0, 1)),
        poly("dc143c", (0.04, 0.065), (0.83, 0.485), (0.32, 0.485), (0.86, 0.965), (0.04, 0.965)),
        emblem("crescent", 0.24, 0.36, 0.14, "fff", -90), emblem("sun8", 0.24, 0.36, 0.09, "fff"),
        emblem("sun12", 0.24, 0.73, 0.16, "fff"),
    ),
    "KP": flag(
        1 / 2, rows("024fa2 fff ed1c27 fff 024fa2", 6, 2, 22, 2, 6), disc(1 / 3, 0.5, 0.22, "fff"),
        star(1 / 3, 0.5, 0.21, "ed1c27"),
    ),
    "KR": flag(
        2 / 3, rows("fff"), disc(0.5, 0.5, 0.25, "0047a0"),
        emblem("yin", 0.5, 0.5, 0.25, "cd2e3a", 33.7),
        emblem("heaven", 0.246, 0.246, 0.125, "000", -56.3),
        emblem("earth", 0.754, 0.754, 0.125, "000", -56.3),
        emblem("water", 0.754, 0.246, 0.125, "000", 56.3),
        emblem("fire", 0.246, 0.754, 0.125, "000", 56.3),
    ),
    "PH": flag(
        1 / 2, rows("0038a8 ce1126"), hoist(0.433, "fff"),
        emblem("sun8", 0.145, 0.5, 0.19, "fcd116"),
        stars([(0.04, 0.13), (0.04, 0.87), (0.37, 0.5)], 0.06, "fcd116"),
    ),
    "PW": flag(5 / 8, rows("4aadd6"), disc(0.4375, 0.5, 0.3, "ffde00")),
    "AU": flag(
        1 / 2, rows("012169"), UNION_CANTON, emblem("star7", 0.25, 0.75, 0.15, "fff"),
        stars([(0.75, 0.17), (0.63, 0.44), (0.86, 0.37), (0.75, 0.83)], 0.075, "fff", "star7"),
        star(0.8, 0.55, 0.04, "fff"),
    ),
    "NZ": flag(
        1 / 2, rows("012169"), UNION_CANTON,
        stars([(0.75, 0.2), (0.65, 0.45), (0.85, 0.4), (0.75, 0.8)], 0.085, "fff"),
        stars([(0.75, 0.2), (0.65, 0.45), (0.85, 0.4), (0.75, 0.8)], 0.06, "c8102e"),
    ),
    "TV": flag(
        1 / 2, rows("5aaee0"), UNION_CANTON,
        stars([(0.93, 0.17), (0.93, 0.45), (0.83, 0.3), (0.83, 0.58), (0.76, 0.67), (0.7, 0.82),
               (0.65, 0.68), (0.58, 0.92), (0.57, 0.78)], 0.055, "fcd116"),
    ),
    "FM": flag(
        10 / 19, rows("75b2dd"),
        stars([(0.5, 0.2), (0.66, 0.5), (0.5, 0.8), (0.34, 0.5)], 0.09, "fff"),
    ),
    "WS": flag(
        1 / 2, rows("ce1126"), rect(0, 0, 0.5, 0.5, "002b7f"),
        stars([(0.25, 0.08), (0.18, 0.22), (0.32, 0.2), (0.25, 0.42)], 0.055, "fff"),
        star(0.285, 0.3, 0.035, "fff"),
    ),
    "TO": flag(
        1 / 2, rows("c10000"), rect(0, 0, 0.417, 0.5, "fff"),
        emblem("plus", 0.208, 0.25, 0.19, "c10000"),
    ),
    "NR": flag(
        1 / 2, rows("002b7f ffc61e 002b7f", 11, 2, 11), emblem("star12", 0.25, 0.77, 0.18, "fff"),
    ),
    "MH": flag(
        10 / 19, rows("003893"), poly("dd7500", (0, 0.98), (1, 0.02), (1, 0.22)),
        poly("fff", (0, 0.98), (1, 0.22), (1, 0.42)), emblem("star24", 0.2, 0.3, 0.2, "fff"),
    ),
    "SB": flag(
        1 / 2, rows("0051ba"), poly("215b33", (1, 0), (1, 1), (0, 1)), rising(0.09, "fcd116"),
        stars([(0.08, 0.14), (0.27, 0.14), (0.175, 0.28), (0.08, 0.42), (0.27, 0.42)], 0.07, "fff"),
    ),
    "MN": flag(
        1 / 2, columns("c4272f 015197 c4272f"), emblem("crown", 0.165, 0.24, 0.1, "f9cf02"),
        disc(0.165, 0.46, 0.08, "f9cf02"), rect(0.09, 0.36, 0.03, 0.42, "f9cf02"),
        rect(0.21, 0.36, 0.03, 0.42, "f9cf02"), emblem("diamond", 0.165, 0.66, 0.11, "f9cf02"),
    ),
    "KH": flag(
        16 / 25, rows("032ea1 e00025 032ea1", 1, 2, 1), rect(0.36, 0.57, 0.28, 0.09, "fff"),
        rect(0.4, 0.47, 0.2, 0.12, "fff"), poly("fff", (0.46, 0.48), (0.5, 0.31), (0.54, 0.48)),
        poly("fff", (0.4, 0.48), (0.425, 0.38), (0.45, 0.48)),
        poly("fff", (0.55, 0.48), (0.575, 0.38), (0.6, 0.48)),
    ),
}  # fmt: skip
