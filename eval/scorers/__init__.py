"""Scorers: the rules of benchmarks, put to Examples."""
