"""Asks a rag-vqa server with OpenAI's own client and streams the answer.

rag-vqa demo --kb flags.kb --photo flag.png
rag-vqa serve flags.kb
python examples/http_client.py http://127.0.0.1:8000 flag.png
"""

import base64
import os
import sys
from pathlib import Path

from openai import OpenAI


def main(server: str, photo: str) -> None:
    # A server on 127.0.0.1 needs no token, but the client requires a value.
    client = OpenAI(base_url=f"{server}/v1", api_key=os.environ.get("RAG_VQA_TOKEN", "none"))
    picture = base64.b64encode(Path(photo).read_bytes()).decode()
    stream = client.chat.completions.create(
        model=client.models.list().data[0].id,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is the capital of this country?"},
                    {
                        "type": "image_url",
                        "image_url": {"url": f"data:image/png;base64,{picture}"},
                    },
                ],
            }
        ],
        stream=True,
        extra_body={"rag_vqa": {"k": 3}},
    )
    for chunk in stream:
        more = (chunk.model_extra or {}).get("rag_vqa", {})
        for hit in more.get("hits", []):  # the first chunk has the hits
            print(f"{hit['score']:.2f} {hit['document']['id']}")
        for choice in chunk.choices:
            print(choice.delta.content or "", end="", flush=True)
    print("\ncites", more["citations"])  # from the last chunk


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
