"""Whether the words of one text stand in another, whole and in order. Knows normalised texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def hold(prediction: str, references: Iterable[str], normalize: Callable[[str], str]) -> bool:
    """Whether any reference, normalised, stands in the normalised prediction as whole words.

    >>> hold("It is Oslo, Norway", ["oslo"], str.lower), hold("Oslofjord", ["oslo"], str.lower)
    (False, False)
    >>> hold("It is Oslo", ["oslo"], str.lower)
    True
    """
    within = f" {normalize(prediction)} "
    wanted = (normalize(reference) for reference in references)
    return any(f" {text} " in within for text in wanted if text)
