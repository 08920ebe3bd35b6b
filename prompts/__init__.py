"""Prompts: templates as data, a builder, a budget."""

from rag_vqa.prompts.builder import build_prompt

__all__ = ["build_prompt"]
