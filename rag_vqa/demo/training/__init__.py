"""Training data and tokenizer of the two demo models."""
