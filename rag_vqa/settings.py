"""Settings: one frozen tree, merged from layers.

Knows precedence: flag > --set > RAG_VQA_* > file > preset. Does not know models, loads none, and
imports no torch.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from rag_vqa.errors import UsageError
from rag_vqa.settings_schema import Section, Settings

SHOW_COMMAND = "rag-vqa config show"
ENVIRONMENT_PREFIX = "RAG_VQA_"
# Not part of the tree: RAG_VQA_CONFIG and RAG_VQA_DEBUG control the command line itself;
# RAG_VQA_API_KEY and RAG_VQA_TOKEN are secrets, which settings never hold.
_RESERVED_NAMES = {"config", "debug", "api_key", "token"}
# Settings of one model, which do not apply to another model that replaces it.
_MODEL_SPECIFIC = (
    "revision", "tokenizer", "image_processor", "instruction",
    "max_pixels", "max_images", "max_context",
)  # fmt: skip
Layer: TypeAlias = Mapping[str, Any]
_AnySection = TypeVar("_AnySection", bound=Section)


def load_settings(
    flags: Layer | None = None,
    assignments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """The settings of one run.

    Args:
        flags: nested, only those given: `{"reader": {"model": "…"}}`.
        assignments: `a.b=c` from --set; later ones win.
        environment: None for that of the process; RAG_VQA_READER__MODEL sets reader.model.
        file: YAML with the same tree.

    In each of them, null counts as not given.

    Returns:
        The settings. `model_fields_set` of the tree and of each section holds the keys that were
        given explicitly, not by the preset.

    Raises:
        UsageError: an unknown key (the message names the nearest), an invalid value, or a missing
            file.
    """
    from rag_vqa.presets import preset_layer

    sources = [
        _read_file(file) if file else {},
        _from_environment(os.environ if environment is None else environment),
        # Both are of one command line: a model there does not drop what is set beside it.
        _merge(_without_nulls(_from_assignments(assignments)), _without_nulls(flags or {})),
    ]
    layers = [_without_nulls(layer) for layer in sources]
    preset = next((layer["preset"] for layer in reversed(layers) if "preset" in layer), None)
    explicit: dict[str, Any] = {}
    merged = _without_nulls(preset_layer(preset))
    for layer in layers:
        explicit, merged = _overlay(explicit, layer), _overlay(merged, layer)
    return _mark_explicit(validate_settings(merged), explicit)


def explicit_keys(settings: Settings) -> list[str]:
    """Dotted keys that were given explicitly, not by the preset."""
    return [
        key
        for key in setting_keys()
        for section, _, name in [key.rpartition(".")]
        if name in (getattr(settings, section) if section else settings).model_fields_set
    ]


def differences(settings: Settings) -> dict[str, Any]:
    """The settings that differ from their preset, as a tree that can be loaded and overridden."""
    preset = {"preset": settings.preset}
    base = load_settings(preset, environment={}).model_dump(mode="json")
    tree: dict[str, Any] = dict(_without_nulls(preset))
    for name, value in settings.model_dump(mode="json").items():
        if isinstance(value, dict):
            value = {key: v for key, v in value.items() if v != base[name][key]}
        if value != base[name] and value != {}:
            tree[name] = value
    return _without_nulls(tree)


def load_tree(
    kind: type[_AnySection], file: Path | None, assignments: Sequence[str], flags: Layer, see: str
) -> _AnySection:
    """A tree of another type than Settings, merged from a file, assignments and flags.

    Args:
        see: the command that shows the possible settings, for errors.

    Raises:
        UsageError: as `load_settings`.
    """
    base = _read_file(file, see) if file else {}
    return _validate_as(kind, _merge(_merge(base, _from_assignments(assignments)), flags), see)


def validate_settings(tree: Layer) -> Settings:
    """The tree as Settings. Raises UsageError of one line for the first error in it."""
    return _validate_as(Settings, tree, SHOW_COMMAND)


def _validate_as(kind: type[_AnySection], tree: Layer, see: str) -> _AnySection:
    try:
        return kind.model_validate(dict(tree))
    except ValidationError as error:
        first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        key = _full_key(key, first["input"])
        raise UsageError(f"There is no setting {key}.{_suggest_key(key, kind, see)}")
    if first["type"] == "missing":
        raise UsageError(f"{key} is missing. See: {see}")
    if first["type"] == "tuple_type" and isinstance(first["input"], Mapping):
        raise UsageError(f"{key} is a list, which --set cannot change: set it in the file.")
    raise UsageError(f"{key} = {first['input']!r}: {first['msg']}. See: {see}")


def _mark_explicit(section: _AnySection, explicit: Layer) -> _AnySection:
    """The section with `model_fields_set` of the keys in `explicit`."""
    values = {
        name: _mark_explicit(value, explicit.get(name, {})) if isinstance(value, Section) else value
        for name, value in section
    }
    return type(section).model_construct(_fields_set=set(explicit), **values)


def setting_keys(section: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Every dotted key of the tree, in order. A list of sections counts as one section."""
    found: list[str] = []
    for name, field in section.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        kind = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
        if kind is not None:
            found += setting_keys(kind, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found


def _overlay(below: Layer, above: Layer) -> dict[str, Any]:
    """`above` merged over `below`; a new model drops the settings of the model that it replaces."""
    base = dict(below)
    for name, value in above.items():
        lower, model = base.get(name), value.get("model") if isinstance(value, Mapping) else None
        if model is not None and isinstance(lower, Mapping) and model != lower.get("model"):
            base[name] = {key: v for key, v in lower.items() if key not in _MODEL_SPECIFIC}
    return _merge(base, above)


def _merge(below: Layer, above: Layer) -> dict[str, Any]:
    """Merges two trees key by key; `above` wins."""
    merged = dict(below)
    for name, value in above.items():
        lower = merged.get(name)
        if isinstance(value, Mapping) and isinstance(lower, Mapping):
            value = _merge(lower, value)
        merged[name] = value
    return merged


def _without_nulls(layer: Layer, prefix: str = "") -> dict[str, Any]:
    """The layer without known keys that are null. Unknown keys stay, so that they are refused."""
    known = setting_keys()
    return {
        name: _without_nulls(value, f"{prefix}{name}.") if isinstance(value, Mapping) else value
        for name, value in layer.items()
        if value is not None or not any(f"{key}.".startswith(f"{prefix}{name}.") for key in known)
    }


def _read_file(path: Path, see: str = SHOW_COMMAND) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        start = f"A start: {see} > {path}" if see == SHOW_COMMAND else f"See: {see}"
        raise UsageError(f"{path}: no such settings file. {start}")
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if tree is not None and not isinstance(tree, dict):
        raise UsageError(f"{path}: expected keys such as `k: 5`. See: {see}")
    return tree or {}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in sorted(environment.items()):
        key = name.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name.startswith(ENVIRONMENT_PREFIX) and key not in _RESERVED_NAMES:
            path = key.split("__")
            if not any(f"{known}.".startswith(f"{'.'.join(path)}.") for known in setting_keys()):
                dotted = ".".join(path)
                raise UsageError(
                    f"There is no setting {dotted}, which {name} in the environment sets."
                    f"{_suggest_key(dotted)}"
                )
            tree = _merge(tree, _nest(path, value))
    return tree


def _from_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for assignment in assignments:
        key, sign, value = assignment.partition("=")
        if not sign or not key:
            raise UsageError(f"--set {assignment}: expected key=value, for instance --set k=3")
        tree = _merge(tree, _nest(key.split("."), value))
    return tree


def _nest(path: Sequence[str], value: Any) -> dict[str, Any]:
    return {path[0]: _nest(path[1:], value) if len(path) > 1 else value}


def _full_key(key: str, value: Any) -> str:
    """The key, extended by the first key inside `value` while that is a section."""
    while isinstance(value, Mapping) and value:
        name, value = next(iter(value.items()))
        key = f"{key}.{name}"
    return key


def _suggest_key(key: str, kind: type[BaseModel] = Settings, see: str = SHOW_COMMAND) -> str:
    known = setting_keys(kind)
    key = ".".join(part for part in key.split(".") if not part.isdigit())  # without list positions
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    # The right name in the wrong section: `model` or `reader.k`.
    close = close or [name for name in known if name.split(".")[-1] == key.split(".")[-1]][:1]
    return f" Did you mean {close[0]}?" if close else f" See: {see}"
