"""Coats of arms and seals: simplified, and worked out in as many ways as there are artists.

Knows right colours and place only: what is on a shield differs between drawings of one flag.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from rag_vqa.demo.pen import Pen
from rag_vqa.demo.shades import Colour


@dataclass(frozen=True, slots=True)
class Arms:
    """A coat of arms or seal, simplified: right colours and place, worked out by the style."""

    x: float
    y: float
    size: float
    colours: tuple[Colour, ...]
    form: str = "shield"  # the emblem at its heart

    def paint(self, pen: Pen) -> None:
        """Paint onto the pen's frame."""
        first, *others = self.colours
        second = others[0] if others else first
        dice = random.Random(pen.style.detail)
        name = self.form
        if pen.style.detail and dice.random() < 0.3:
            name = dice.choice(("shield", "eagle", "disc", "square", "star8", "double eagle"))
        if len(others) > 1:
            pen.outline("wreath", self.x, self.y, self.size, others[-1])
        pen.outline(name, self.x, self.y, self.size * (0.8 if len(others) > 1 else 1), first)
        pen.outline("diamond" if name == "shield" else "disc",
                    self.x, self.y, self.size * 0.38, second)  # fmt: skip
        if pen.style.detail:
            self._work_out(pen, dice)

    def _work_out(self, pen: Pen, dice: random.Random) -> None:
        """Small marks in the arms' colours, now and then in gold, white, brown or black."""
        extra: tuple[Colour, ...] = ((230, 190, 60), (255, 255, 255), (110, 70, 40), (20, 20, 20))
        for _ in range(dice.randint(2, 10)):
            angle, far = dice.uniform(0, 2 * math.pi), dice.uniform(0.1, 0.9) * self.size
            x = self.x + far * math.cos(angle) * pen.unit / pen.w
            y = self.y + far * math.sin(angle) * pen.unit / pen.h
            colour = dice.choice(self.colours if dice.random() < 0.7 else extra)
            name = dice.choice(("disc", "leaf", "star", "square", "plus"))
            pen.outline(
                name, x, y, self.size * dice.uniform(0.06, 0.22), colour, dice.uniform(0, 90)
            )
