"""Benchmarks, one file each: documents, questions, scorer, template, official figures, tasks."""
