"""What a reader can take. The reader states it, the prompt's budget keeps it.

It knows two numbers. It does not know how they are found or kept, and imports nothing.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one prompt may hold.

    Attributes:
        images: pictures in one prompt, the question's among them.
        context: tokens of one prompt, image tokens among them; room for the answer is off.
    """

    images: int
    context: int
