"""`python -m rag_vqa` is `rag-vqa`."""

from rag_vqa.cli import main

main()
