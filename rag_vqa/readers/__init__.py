"""Readers: what turns a Prompt into a Completion."""
