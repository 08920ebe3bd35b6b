"""Searches a knowledge base through LlamaIndex.

rag-vqa demo --kb flags.kb --photo flag.png
python examples/llamaindex_search.py flags.kb flag.png
"""

import sys

from llama_index.core.schema import ImageNode, QueryBundle
from transformers.utils.logging import disable_progress_bar

from rag_vqa.integrations.llamaindex import ReTRetriever


def main(kb: str, photo: str) -> None:
    disable_progress_bar()  # while weights load
    retriever = ReTRetriever(kb, k=3)
    query = QueryBundle("What is the capital of this country?", image_path=photo)
    for found in retriever.retrieve(query):
        node = found.node
        picture = "with a picture" if isinstance(node, ImageNode) else "text alone"
        print(f"{found.score:.2f} {node.node_id} ({picture}): {node.get_content()[:60]}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
