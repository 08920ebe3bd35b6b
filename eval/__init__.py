"""Scores: answers and retrieval, with intervals."""
