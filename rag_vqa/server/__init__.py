"""The HTTP server and its web page: many clients, one model."""
