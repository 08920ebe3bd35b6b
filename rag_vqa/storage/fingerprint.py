"""Fingerprints: what a job was started with, so that it resumes only with the same options.

Knows JSON trees and files on disk. Does not know what the options mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def describe_changes(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> str:
    """What differs between two trees, as "steps was 10, is 20".

    >>> describe_changes({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})
    'b.c was 2, is 3'
    """
    found = []
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            if inner := describe_changes(old, new, f"{prefix}{name}."):
                found.append(inner)
        elif old != new:
            found.append(f"{prefix}{name} was {old}, is {new}")
    return ", ".join(found)
