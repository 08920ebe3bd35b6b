"""The Python snippet in docs/serving.md runs against a server with fake models."""

import contextlib
import io
import re
from pathlib import Path

from served import picture, running

DOCS = Path(__file__).resolve().parents[2] / "docs" / "serving.md"


def test_the_clients_snippet_runs(make, tmp_path, monkeypatch) -> None:
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text("utf-8"), re.M | re.S)
    assert "http://127.0.0.1:8000" in snippet
    monkeypatch.chdir(tmp_path)
    Path("flag.png").write_bytes(picture())
    printed = io.StringIO()
    with running(make()) as address, contextlib.redirect_stdout(printed):
        names: dict[str, object] = {}
        exec(snippet.replace("http://127.0.0.1:8000", address), names)
        names["client"].close()
    assert printed.getvalue() == "In burrows [1]. [1]\n"
