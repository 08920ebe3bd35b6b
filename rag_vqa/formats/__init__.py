"""Files of others, read into Documents and Examples."""
