"""How a retriever is trained."""
