"""Runs: put questions to a pipeline under several conditions; store everything; resume."""
