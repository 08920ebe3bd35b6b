"""ReT and what it searches."""
