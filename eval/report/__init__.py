"""What people read of a finished run: its page, its tables, one question in full."""
