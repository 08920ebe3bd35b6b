"""The command line in this process, with fakes where models would load."""

import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import rag_vqa.demo.walkthrough  # noqa: F401  before its names are patched
from rag_vqa.cli.app import run


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Done]


def _source(model: str | None, role: str) -> str:
    return f"embedded {role}" if model in (None, "demo") else str(model)


@pytest.fixture
def loads() -> list[str]:
    """Which models were loaded, in order."""
    return []


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    encoder: Any,
    reader: Any,
    loads: list[str],
) -> Cli:
    def load_encoder(settings: Any, model: str, commit: str | None, built: Any = None) -> Any:
        loads.append(model)
        return encoder

    def load_reader(model: str, **options: Any) -> Any:
        loads.append(model)
        reader.options = options
        return reader

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr("rag_vqa.jobs.models.load_encoder", load_encoder)
    monkeypatch.setattr("rag_vqa.jobs.models.model_source", _source)
    monkeypatch.setattr("rag_vqa.readers.factory.model_source", _source)
    monkeypatch.setattr(
        "rag_vqa.jobs.download_consent.is_available", lambda m, r=None: m in ("demo", "fake")
    )
    monkeypatch.setattr("rag_vqa.readers.local.reader.LocalReader", load_reader)
    # The fake retriever is no built-in one, and these tests let the built-in reader read for it.
    monkeypatch.setattr("rag_vqa.demo_limits.default_reader", lambda kb: "demo")
    monkeypatch.setattr("rag_vqa.pipeline.warn_once", lambda limits: None)

    def call(*args: object) -> Done:
        capsys.readouterr()
        code = run([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call
