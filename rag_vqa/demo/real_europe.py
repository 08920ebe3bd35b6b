"""Flags of Europe by ISO code, coats of arms simplified."""

from __future__ import annotations

from rag_vqa.demo.drawing.colours import parse_colour
from rag_vqa.demo.drawing.flag import FlagSpec
from rag_vqa.demo.drawing.flag_recipes import (
    UNION,
    arms,
    columns,
    cross,
    disc,
    emblem,
    flag,
    hoist,
    poly,
    rect,
    rows,
    stars,
)
from rag_vqa.demo.drawing.shapes import Box, Rays, Weave

EUROPE: dict[str, FlagSpec] = {
    "PL": flag(5 / 8, rows("fff dc143c")),
    "UA": flag(2 / 3, rows("0057b7 ffd700")),
    "FR": flag(2 / 3, columns("0055a4 fff ef4135")),
    "IT": flag(2 / 3, columns("009246 fff ce2b37")),
    "BE": flag(13 / 15, columns("000 fdda24 ef3340")),
    "IE": flag(1 / 2, columns("169b62 fff ff883e")),
    "RO": flag(2 / 3, columns("002b7f fcd116 ce1126")),
    "DE": flag(3 / 5, rows("000 dd0000 ffce00")),
    "RU": flag(2 / 3, rows("fff 0039a6 d52b1e")),
    "NL": flag(2 / 3, rows("ae1c28 fff 21468b")),
    "LU": flag(3 / 5, rows("ed2939 fff 00a1de")),
    "HU": flag(1 / 2, rows("cd2a3e fff 436f4d")),
    "BG": flag(3 / 5, rows("fff 00966e d62612")),
    "AT": flag(2 / 3, rows("ed2939 fff ed2939")),
    "LT": flag(3 / 5, rows("fdb913 006a44 c1272d")),
    "EE": flag(7 / 11, rows("0072ce 000 fff")),
    "LV": flag(1 / 2, rows("9e3039 fff 9e3039", 2, 1, 2)),
    "DK": flag(28 / 37, rows("c8102e"), cross(0.143, "fff", 0.378)),
    "SE": flag(5 / 8, rows("006aa7"), cross(0.2, "fecc02", 0.375)),
    "NO": flag(8 / 11, rows("ba0c2f"), cross(0.25, "fff", 0.364), cross(0.125, "00205b", 0.364)),
    "FI": flag(11 / 18, rows("fff"), cross(0.27, "003580", 0.361)),
    "IS": flag(18 / 25, rows("02529c"), cross(0.222, "fff", 0.36), cross(0.111, "dc1e35", 0.36)),
    "CH": flag(1, rows("d52b1e"), emblem("plus", 0.5, 0.5, 0.3125, "fff")),
    "GB": flag(1 / 2, *UNION),
    "GE": flag(
        2 / 3, rows("fff"), cross(0.2, "ff0000"),
        stars([(0.22, 0.2), (0.78, 0.2), (0.22, 0.8), (0.78, 0.8)], 0.09, "ff0000", "plus"),
    ),
    "GR": flag(
        2 / 3, rows("0d5eaf fff 0d5eaf fff 0d5eaf fff 0d5eaf fff 0d5eaf"),
        Box(0, 0, 0.3704, 5 / 9, (rows("0d5eaf"), cross(0.2, "fff"))),
    ),
    "CZ": flag(2 / 3, rows("fff d7141a"), hoist(0.5, "11457e")),
    "BA": flag(
        1 / 2, rows("002395"), poly("fecb00", (0.265, 0), (0.765, 0), (0.765, 1)),
        stars([(0.185 + 0.0645 * i, 0.01 + 0.125 * i) for i in range(9)], 0.075, "fff"),
    ),
    "MT": flag(
        2 / 3, columns("fff cf142b"), emblem("plus", 0.15, 0.2, 0.14, "cf142b"),
        emblem("plus", 0.15, 0.2, 0.12, "b0b0b0"),
    ),
    "LI": flag(3 / 5, rows("002b7f ce1126"), emblem("crown", 0.25, 0.25, 0.16, "ffd83d")),
    "MK": flag(
        1 / 2, rows("d20000"), Rays(0.5, 0.5, 8, parse_colour("ffe600"), 0.32),
        disc(0.5, 0.5, 0.2, "d20000"), disc(0.5, 0.5, 0.165, "ffe600"),
    ),
    "AL": flag(5 / 7, rows("e41e20"), emblem("double eagle", 0.5, 0.5, 0.4, "000")),
    "ES": flag(
        2 / 3, rows("aa151b f1bf00 aa151b", 1, 2, 1), arms(0.33, 0.5, 0.19, "ad1519 c8b100"),
    ),
    "PT": flag(
        2 / 3, columns("006600 ff0000", 2, 3), disc(0.4, 0.5, 0.235, "ffe600"),
        emblem("shield", 0.4, 0.5, 0.17, "ff0000"), emblem("shield", 0.4, 0.5, 0.11, "fff"),
        stars([(0.4, 0.44), (0.4, 0.5), (0.4, 0.56), (0.375, 0.5), (0.425, 0.5)], 0.02, "003399",
              "disc"),
    ),
    "SK": flag(
        2 / 3, rows("fff 0b4ea2 ee1c25"), emblem("shield", 0.32, 0.5, 0.30, "fff"),
        emblem("shield", 0.32, 0.5, 0.27, "ee1c25"), emblem("plus", 0.32, 0.42, 0.13, "fff"),
        emblem("plus", 0.32, 0.52, 0.15, "fff"), disc(0.32, 0.7, 0.07, "0b4ea2"),
    ),
    "SI": flag(
        1 / 2, rows("fff 005da4 ed1c24"), emblem("shield", 0.27, 0.335, 0.17, "ed1c24"),
        emblem("shield", 0.27, 0.33, 0.15, "005da4"), emblem("triangle", 0.27, 0.38, 0.1, "fff"),
        stars([(0.255, 0.25), (0.285, 0.25), (0.27, 0.28)], 0.025, "ffdd00", "star6"),
    ),
    "HR": flag(
        1 / 2, rows("ff0000 fff 171796"), emblem("shield", 0.5, 0.52, 0.24, "fff"),
        stars([(0.43 + 0.035 * i, 0.36 + 0.07 * j) for i in range(5) for j in range(5)
               if (i + j) % 2 == 0], 0.05, "ff0000", "square"),
        emblem("crown", 0.5, 0.26, 0.16, "0093dd"),
    ),
    "BY": flag(
        1 / 2, rows("ce1720 007c30", 2, 1), rect(0, 0, 0.11, 1, "fff"),
        Weave(0.008, 0, 0.094, 1, 9, 2, parse_colour("ce1720")),
    ),
}  # fmt: skip
