"""How a retriever is trained."""

from __future__ import annotations
