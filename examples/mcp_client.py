"""Starts `rag-vqa mcp` as MCP clients do, and uses its tools.

rag-vqa demo --kb flags.kb --photo flag.png
python examples/mcp_client.py flags.kb flag.png
"""

import asyncio
import sys
from pathlib import Path

from mcp import Client, MCPError, StdioServerParameters


async def main(kb: str, photo: str) -> None:
    picture = Path(photo).resolve()
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "rag_vqa", "mcp", kb, "--images", str(picture.parent), "-k", "3", "--quiet"],
    )
    async with Client(server) as client:
        print("tools:", [tool.name for tool in (await client.list_tools()).tools])
        asked = {"text": "capital", "image_file": picture.name}
        for found in (await client.call_tool("search", asked)).structured_content["documents"]:
            print(f"{found['score']:.2f} {found['id']}: {found['text'][:60]}")
        asked = {"question": "What is the capital of this country?", "image_file": picture.name}
        told = (await client.call_tool("ask", asked)).structured_content
        print(told["answer"], "cites", told["citations"])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    ended = False
    try:
        asyncio.run(main(*sys.argv[1:]))
    except* MCPError:  # the server ended and printed the reason
        ended = True
    if ended:
        sys.exit(1)
