"""Runs: questions put to a pipeline under several conditions, resumable, with everything kept."""
