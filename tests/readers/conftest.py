"""Tiny random checkpoints of the true classes, saved as users would have them."""

from pathlib import Path

import pytest
from tiny_readers import FAMILIES


@pytest.fixture(scope="session", params=FAMILIES)
def family_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _folder(request.param, tmp_path_factory)


@pytest.fixture(scope="session")
def llava_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _folder("llava", tmp_path_factory)


@pytest.fixture(scope="session")
def qwen_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _folder("qwen2_5_vl", tmp_path_factory)


def _folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(f"tiny-{family}")
    FAMILIES[family](folder)
    return folder
