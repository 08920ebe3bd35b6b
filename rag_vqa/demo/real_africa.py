"""Flags of Africa by ISO code, coats of arms simplified."""

from __future__ import annotations

from rag_vqa.demo.drawing.colours import parse_colour
from rag_vqa.demo.drawing.flag import FlagSpec
from rag_vqa.demo.drawing.flag_recipes import (
    arms,
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
from rag_vqa.demo.drawing.shapes import Box, Saltire, Stripe

_LOWER = (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)

AFRICA: dict[str, FlagSpec] = {
    "ML": flag(2 / 3, columns("14b53a fcd116 ce1126")),
    "GN": flag(2 / 3, columns("ce1126 fcd116 009460")),
    "CI": flag(2 / 3, columns("f77f00 fff 009e60")),
    "NG": flag(1 / 2, columns("008751 fff 008751")),
    "SL": flag(2 / 3, rows("1eb53a fff 0072c6")),
    "GA": flag(3 / 4, rows("009e60 fcd116 3a75c4")),
    "MU": flag(2 / 3, rows("ea2839 1a206d ffd500 00a551")),
    "GH": flag(2 / 3, rows("ce1126 fcd116 006b3f"), star(0.5, 0.5, 0.17, "000")),
    "BF": flag(2 / 3, rows("ef2b2d 009e49"), star(0.5, 0.5, 0.2, "fcd116")),
    "SN": flag(2 / 3, columns("00853f fdef42 e31b23"), star(0.5, 0.5, 0.17, "00853f")),
    "CM": flag(2 / 3, columns("007a5e ce1126 fcd116"), star(0.5, 0.5, 0.17, "fcd116")),
    "NE": flag(6 / 7, rows("e05206 fff 0db02b"), disc(0.5, 0.5, 0.14, "e05206")),
    "BI": flag(
        3 / 5, rows("ce1126"), poly("1eb53a", (0, 0), (0.5, 0.5), (0, 1)),
        poly("1eb53a", (1, 0), (0.5, 0.5), (1, 1)), Saltire(0.16, parse_colour("fff")),
        disc(0.5, 0.5, 0.27, "fff"),
        stars([(0.5, 0.38), (0.435, 0.58), (0.565, 0.58)], 0.075, "ce1126", "star6"),
    ),
    "SO": flag(2 / 3, rows("4189dd"), star(0.5, 0.5, 0.27, "fff")),
    "LR": flag(
        10 / 19, rows("bf0a30 fff bf0a30 fff bf0a30 fff bf0a30 fff bf0a30 fff bf0a30"),
        rect(0, 0, 0.239, 5 / 11, "002868"), star(0.12, 0.227, 0.15, "fff"),
    ),
    "TG": flag(
        0.618, rows("006a4e ffce00 006a4e ffce00 006a4e"), rect(0, 0, 0.371, 0.6, "d21034"),
        star(0.185, 0.3, 0.2, "fff"),
    ),
    "SS": flag(
        1 / 2, rows("000 fff da121a fff 078930", 6, 1, 6, 1, 6), hoist(0.433, "0f47af"),
        star(0.145, 0.5, 0.17, "fcdd09", -18),
    ),
    "ST": flag(
        1 / 2, rows("12ad2b ffce00 12ad2b", 2, 3, 2), hoist(0.25, "d21034"),
        stars([(0.5, 0.5), (0.75, 0.5)], 0.15, "000"),
    ),
    "CF": flag(
        2 / 3, rows("003082 fff 289728 ffce00"), rect(0.4167, 0, 0.1667, 1, "d21034"),
        star(0.2, 0.125, 0.1, "ffce00"),
    ),
    "MA": flag(2 / 3, rows("c1272d"), emblem("open star", 0.5, 0.5, 0.27, "006233")),
    "MR": flag(
        2 / 3, rows("d01c1f 00a95c d01c1f", 1, 3, 1),
        emblem("thin crescent", 0.5, 0.45, 0.3, "ffd700", -90), star(0.5, 0.36, 0.11, "ffd700"),
    ),
    "TN": flag(
        2 / 3, rows("e70013"), disc(0.5, 0.5, 0.25, "fff"),
        emblem("crescent", 0.49, 0.5, 0.18, "e70013"), star(0.525, 0.5, 0.1, "e70013", -18),
    ),
    "DZ": flag(
        2 / 3, columns("006233 fff"), emblem("crescent", 0.49, 0.5, 0.25, "d21034"),
        star(0.55, 0.5, 0.12, "d21034", -18),
    ),
    "LY": flag(
        1 / 2, rows("e70013 000 239e46", 1, 2, 1),
        emblem("crescent", 0.49, 0.5, 0.125, "fff"), star(0.54, 0.5, 0.07, "fff", -18),
    ),
    "EG": flag(2 / 3, rows("ce1126 fff 000"), emblem("eagle", 0.5, 0.5, 0.16, "c09300")),
    "SD": flag(1 / 2, rows("d21034 fff 000"), hoist(1 / 3, "007229")),
    "DJ": flag(
        2 / 3, rows("6ab2e7 12ad2b"), hoist(0.577, "fff"), star(0.19, 0.5, 0.13, "d7141a"),
    ),
    "KM": flag(
        3 / 5, rows("ffc61e fff ce1126 3a75c4"), hoist(0.52, "3d8e33"),
        emblem("crescent", 0.15, 0.5, 0.19, "fff"),
        stars([(0.2, 0.38), (0.2, 0.46), (0.2, 0.54), (0.2, 0.62)], 0.04, "fff"),
    ),
    "ET": flag(
        1 / 2, rows("078930 fcdd09 da121a"), disc(0.5, 0.5, 0.3, "0f47af"),
        emblem("open star", 0.5, 0.5, 0.24, "fcdd09"),
    ),
    "KE": flag(
        2 / 3, rows("000 fff bb0000 fff 006600", 6, 1, 6, 1, 6),
        emblem("leaf", 0.5, 0.5, 0.34, "bb0000", 90), emblem("leaf", 0.5, 0.5, 0.12, "fff", 90),
        rect(0.44, 0.42, 0.02, 0.16, "000"), rect(0.54, 0.42, 0.02, 0.16, "000"),
    ),
    "RW": flag(
        2 / 3, rows("00a1de fad201 20603d", 2, 1, 1), emblem("sun32", 0.8, 0.25, 0.17, "e5be01"),
    ),
    "MW": flag(
        2 / 3, rows("000 ce1126 339e35"),
        Box(0, 0, 1, 1 / 3, (emblem("sun32", 0.5, 1.0, 0.75, "ce1126"),)),
    ),
    "GW": flag(
        1 / 2, rows("fcd116 009e49"), rect(0, 0, 1 / 3, 1, "ce1126"),
        star(1 / 6, 0.5, 0.19, "000"),
    ),
    "BJ": flag(2 / 3, rows("fcd116 e8112d"), rect(0, 0, 0.4, 1, "008751")),
    "MG": flag(2 / 3, rows("fc3d32 007e3a"), rect(0, 0, 1 / 3, 1, "fff")),
    "GM": flag(2 / 3, rows("ce1126 fff 0c1c8c fff 3a7728", 6, 1, 4, 1, 6)),
    "BW": flag(2 / 3, rows("75aadb fff 000 fff 75aadb", 9, 1, 4, 1, 9)),
    "TZ": flag(
        2 / 3, rows("1eb53a"), poly("00a3dd", *_LOWER), rising(0.36, "fcd116"),
        rising(0.26, "000"),
    ),
    "CD": flag(
        3 / 4, rows("007fff"), rising(0.28, "f7d618"), rising(0.19, "ce1021"),
        star(0.17, 0.22, 0.18, "f7d618"),
    ),
    "CG": flag(
        2 / 3, rows("fbde4a"), poly("009543", (0, 0), (0.667, 0), (0, 1)),
        poly("dc241f", (1, 0), (1, 1), (0.333, 1)),
    ),
    "NA": flag(
        2 / 3, rows("003580"), poly("009543", *_LOWER), rising(0.36, "fff"),
        rising(0.27, "d21034"), emblem("sun12", 0.2, 0.29, 0.18, "ffce00"),
    ),
    "ZA": flag(
        2 / 3, rows("e03c31 fff 007749 fff 001489", 5, 1, 3, 1, 5),
        poly("fff", (0, 0), (0.11, 0), (0.47, 0.5), (0.11, 1), (0, 1)),
        Stripe((0, 0), (0.36, 0.5), 0.2, parse_colour("007749")),
        Stripe((0, 1), (0.36, 0.5), 0.2, parse_colour("007749")),
        rect(0.3, 0.4, 0.7, 0.2, "007749"), rect(0.42, 0.333, 0.58, 0.067, "fff"),
        rect(0.42, 0.6, 0.58, 0.067, "fff"), rect(0.42, 0, 0.58, 0.333, "e03c31"),
        rect(0.42, 0.667, 0.58, 0.333, "001489"),
        hoist(0.36, "ffb81c"), hoist(0.29, "000"),
    ),
    "SC": flag(
        1 / 2, rows("003f87"), poly("fcd856", (0, 1), (1 / 3, 0), (2 / 3, 0)),
        poly("d62828", (0, 1), (2 / 3, 0), (1, 0), (1, 1 / 3)),
        poly("fff", (0, 1), (1, 1 / 3), (1, 2 / 3)), poly("007a3d", (0, 1), (1, 2 / 3), (1, 1)),
    ),
    "CV": flag(
        10 / 17, rows("003893 fff cf2027 fff 003893", 6, 1, 1, 1, 3),
        stars(ring(10, 0.375, 0.625, 0.25, 10 / 17), 0.055, "f7d116"),
    ),
    "AO": flag(
        2 / 3, rows("cc092f 000"), emblem("thick crescent", 0.5, 0.5, 0.22, "ffcb00", 180),
        star(0.48, 0.42, 0.08, "ffcb00"), emblem("sword", 0.5, 0.56, 0.2, "ffcb00", 30),
    ),
    "UG": flag(
        2 / 3, rows("000 fcdc04 d90000 000 fcdc04 d90000"), disc(0.5, 0.5, 0.17, "fff"),
        emblem("bird", 0.5, 0.5, 0.13, "707070"),
    ),
    "GQ": flag(
        2 / 3, rows("3e9a00 fff e32118"), hoist(0.25, "0073ce"),
        arms(0.5, 0.5, 0.11, "b0b0b0 3e9a00"),
    ),
}  # fmt: skip
