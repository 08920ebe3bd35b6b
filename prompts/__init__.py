"""Prompts: templates as data, a builder, a budget."""

from rag_vqa.prompts.builder import build

__all__ = ["build"]
