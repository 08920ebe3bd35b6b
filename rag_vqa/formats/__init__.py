"""File formats: files of users and benchmarks, read into Documents and Examples."""
