"""Flags and imitated photographs of them, drawn."""
