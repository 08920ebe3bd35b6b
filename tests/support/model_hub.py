"""The hub of benchmarks/hub.py for tests: for this process, or for processes with its variables."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))
try:
    from hub import Fault, Hub, Model, Request  # noqa: F401  for the tests
finally:  # the scripts there have names of libraries: `evaluate`, `datasets`
    sys.path.remove(str(BENCHMARKS))


def write_model(root: Path, id: str, **files: bytes) -> Path:
    """A folder of `root` that the hub serves as model `id`; "__" in a name stands for a dot."""
    folder = root / id
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_bytes(content)
    return folder


def use_hub(patch: pytest.MonkeyPatch, hub: Any, home: Path, token: str = "") -> None:
    """Lets huggingface_hub use this hub in this process, with an empty cache below `home`."""
    from huggingface_hub import constants, hf_api
    from huggingface_hub.utils import _http

    for name, value in hub.environment(home, token).items():
        patch.setenv(name, value)
    if not token:
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            patch.delenv(name, raising=False)
    patch.setattr(constants, "ENDPOINT", hub.address)
    template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HOME", str(home))
    patch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    patch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    patch.setattr(hf_api.api, "endpoint", hub.address)
    pattern = _http.REPO_API_REGEX.pattern.replace("^https://", r"^https?://")
    patch.setattr(_http, "REPO_API_REGEX", re.compile(pattern, re.VERBOSE))
    origin = _http._url_origin(hub.address)
    patch.setattr(_http, "_HUB_ORIGINS", frozenset({*_http._HUB_ORIGINS, origin}))
    _http.close_session()  # a session that was opened offline stays offline


@contextmanager
def running(root: Path, **about: Any) -> Iterator[Any]:
    """A hub over the folders OWNER/NAME below `root`."""
    with Hub.of(root, **about) as hub:
        yield hub
