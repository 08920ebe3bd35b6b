"""Importing the package and asking for help load no torch. (A clock is never a test.)"""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "bitsandbytes", "faiss", "datasets", "evaluate", "numpy", "PIL")


@pytest.mark.parametrize(
    "code",
    [
        "import rag_vqa",
        "from rag_vqa import Query, Document; import rag_vqa.pipeline, rag_vqa.settings",
        "from rag_vqa.cli.app import run; assert run(['--help']) == 0",
        "from rag_vqa.cli.app import run; assert run(['ask', '--help']) == 0",
        "from rag_vqa.cli.app import run; assert run(['config', 'presets']) == 0",
        "from rag_vqa.cli.app import run; assert run(['ask', 'none.kb', 'why?', '-k', '-1']) == 2",
    ],
)
def test_no_heavy_module_is_imported(code: str) -> None:
    program = f"import sys\n{code}\nprint([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"
