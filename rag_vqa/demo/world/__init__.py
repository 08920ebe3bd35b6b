"""The flag world: countries, facts, names and texts, real and invented."""
