"""The engine: one pipeline answers the questions of many clients at once."""
