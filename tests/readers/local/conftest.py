"""Two tiny readers that all tests of the local back end share."""

import pytest

from rag_vqa.readers.local.reader import LocalReader


@pytest.fixture(scope="session", params=["llava", "qwen"])
def reader(request: pytest.FixtureRequest) -> LocalReader:
    folder = request.getfixturevalue(f"{request.param}_folder")
    return LocalReader(folder, device="cpu", max_new_tokens=24, max_images=2)
