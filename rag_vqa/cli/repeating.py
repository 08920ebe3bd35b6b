"""What a run was asked for, as the options that ask for it again: `settings_of` the other way.

It knows options and their settings. It does not know verbs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.cli.options import SETTINGS
from rag_vqa.settings import differences

if TYPE_CHECKING:
    from rag_vqa.settings import Settings


def words_of(settings: Settings, private: bool = False) -> list[str]:
    """The words of a command line that say what `settings` say beyond the defaults, unquoted.

    `private`: files and folders by their last name alone, for who is not to know where they lie.
    """
    left = _flat(differences(settings), private)
    words = [
        word
        for name in ("preset", "offline", "seed")
        for word in _option(name, left.pop(name, None))
    ]
    for name, keys in SETTINGS.items():
        own = [key.replace("__", ".") for key in keys]
        values = [left.get(key) for key in own]
        if all(value == values[0] for value in values):  # --device is of both models
            words += _option(name, values[0])
            left = {key: value for key, value in left.items() if key not in own}
    return words + [word for key, value in left.items() for word in ("--set", f"{key}={value}")]


def _option(name: str, value: Any) -> list[str]:
    flag = f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"
    if value is None:
        return []
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    return [word for each in (value if isinstance(value, list) else [value])
            for word in (flag, str(each))]  # fmt: skip


def _flat(tree: Mapping[str, Any], private: bool, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flat(value, private, f"{prefix}{name}.")
        elif private and isinstance(value, str) and Path(value).exists():
            found[prefix + name] = Path(value).name
        else:
            found[prefix + name] = value
    return found
