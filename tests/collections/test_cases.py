"""Small collections as people have them: each is built, listed and searched as its case states."""

import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from collection_cases import Case, prepare_case, run_script

from rag_vqa.cli.app import run
from rag_vqa.jobs import models

CASES = sorted(path.parent for path in (Path(__file__).parent / "cases").glob("*/case.json"))
_load_encoder = models.load_encoder


@cache
def _demo_retriever() -> Any:
    from rag_vqa.settings import load_settings

    return _load_encoder(load_settings(), "demo", None)


@pytest.mark.parametrize("place", CASES, ids=lambda place: place.name)
def test_case(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / place.name
    stated = prepare_case(place, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    # One real retriever for all cases: it is the same in all of them, and slow to load.
    monkeypatch.setattr(models, "load_encoder", lambda *_: _demo_retriever())

    def call(args: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(list(args))
        said = capsys.readouterr()
        return code, said.out, said.err

    case = Case(stated, folder, call, lambda path: run_script(path, capsys))
    assert list(case.differences()) == []
