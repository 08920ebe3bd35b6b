"""docs/training.md shows of tuning what was measured."""

import json
import runpy
from pathlib import Path


def test_the_page_has_the_table_of_the_figures(root: Path) -> None:
    table = runpy.run_path(str(root / "benchmarks" / "tune.py"))["table"]
    results = json.loads((root / "benchmarks" / "results" / "tune.json").read_text("utf-8"))
    page = (root / "docs" / "training.md").read_text("utf-8")
    shown = page.partition("<!-- tuned -->\n")[2].partition("<!-- /tuned -->")[0]
    assert shown == table(results)
