"""ReT and what it searches.

Importing it registers ReT with transformers' AutoModel and AutoProcessor, which imports torch. The
command line and the processes that only open pictures skip that, because it takes seconds; there,
and here, `modeling/model.py` and `modeling/processor.py` register when they are first used.
"""

import multiprocessing
import sys
from importlib import import_module

if "rag_vqa.cli" not in sys.modules and multiprocessing.parent_process() is None:
    import_module("rag_vqa.retriever.modeling.model")
