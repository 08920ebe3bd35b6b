"""What people read of a finished run: its page, its tables, two runs beside each other."""
