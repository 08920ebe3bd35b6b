"""The command line that asks in the same way: settings written as options again.

Knows which option sets a setting. Does not know what the settings do.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.cli.options import READING, RETRIEVAL, SETTING_OPTIONS

if TYPE_CHECKING:
    from rag_vqa.settings_schema import Settings


def write_ask_command(path: Path, settings: Settings, public: bool) -> str:
    """The beginning of a command line that asks with the same settings.

    `public`: leave out folders, for readers who should not learn where files lie.
    """
    name = path.resolve().name if public else str(path)
    return shlex.join(["rag-vqa", "ask", name, *settings_to_args(settings, public)])


def settings_to_args(settings: Settings, private: bool = False) -> list[str]:
    """The command-line arguments that ask for these settings, as far as they are no defaults.

    Args:
        private: write files and folders by their last name only, for readers who should not learn
            where they lie.
    """
    from rag_vqa.settings import differences

    left = _flatten_tree(differences(settings), private)
    args = [
        arg
        for name in ("preset", "offline", "seed")
        for arg in _option_args(name, left.pop(name, None))
    ]
    for name in dict.fromkeys((*RETRIEVAL, *READING)):
        keys = SETTING_OPTIONS[name].keys
        values = [left.get(key) for key in keys]
        if all(value == values[0] for value in values):  # --device sets that of both models
            args += _option_args(name, values[0])
            left = {key: value for key, value in left.items() if key not in keys}
    return args + [arg for key, value in left.items() for arg in ("--set", f"{key}={value}")]


def _option_args(name: str, value: Any) -> list[str]:
    flag = f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"
    if value is None:
        return []
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    values = (value or [""]) if isinstance(value, list) else [value]
    return [arg for each in values for arg in (flag, str(each))]


def _flatten_tree(tree: Mapping[str, Any], private: bool, prefix: str = "") -> dict[str, Any]:
    """The leaves of a tree of settings by their dotted keys."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flatten_tree(value, private, f"{prefix}{name}.")
        elif private and isinstance(value, str) and Path(value).exists():
            found[prefix + name] = Path(value).name
        else:
            found[prefix + name] = value
    return found
