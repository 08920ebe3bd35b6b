"""A stand-in for BEM, loaded as BEM is."""

from pathlib import Path

import pytest
from bert_files import bert

from rag_vqa.eval.bem import Bem


@pytest.fixture(scope="session")
def bem_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert(tmp_path_factory.mktemp("bem"))


@pytest.fixture(scope="session")
def bem(bem_folder: Path) -> Bem:
    return Bem.load(str(bem_folder), device="cpu", offline=True)
