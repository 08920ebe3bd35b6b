"""Searches a knowledge base and answers from it through LangChain.

rag-vqa demo --kb flags.kb --photo flag.png
python examples/langchain_rag.py flags.kb flag.png
"""

import base64
import sys
from pathlib import Path

from langchain_core.messages import HumanMessage
from transformers.utils.logging import disable_progress_bar

from rag_vqa import RagVqa
from rag_vqa.integrations.langchain import ChatRagVqa, ReTRetriever, rag_chain

QUESTION = "What is the capital of this country?"


def main(kb: str, photo: str) -> None:
    disable_progress_bar()  # while weights load
    print("== a retriever")
    for document in ReTRetriever(kb=kb).invoke(QUESTION, k=3, image=photo):
        print(f"{document.metadata['score']:.2f} {document.id}: {document.page_content[:60]}")

    rag = RagVqa(kb, reader="demo", k=3)
    print("== a chain")
    found = rag_chain(rag).invoke({"question": QUESTION, "image": photo})
    print(found["answer"], "out of", [document.id for document in found["documents"]])

    print("== a chat model, streaming")
    picture = base64.b64encode(Path(photo).read_bytes()).decode()
    asked = HumanMessage(
        [
            {"type": "text", "text": QUESTION},
            {"type": "image", "base64": picture, "mime_type": "image/png"},
        ]
    )
    for chunk in ChatRagVqa(rag=rag).stream([asked]):
        print(chunk.text, end="", flush=True)
    print("\nevidence:", chunk.response_metadata["rag_vqa"]["kept"])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
