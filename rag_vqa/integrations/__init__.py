"""Adapters for the frameworks people already use, each behind its extra."""
