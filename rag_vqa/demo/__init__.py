"""The embedded default: the flag world, and how its models are trained."""
