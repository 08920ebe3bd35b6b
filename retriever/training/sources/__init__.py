"""Where pairs to train on come from: files of others, packed once, read row by row."""
