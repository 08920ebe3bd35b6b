"""Routes: one file for chat, one for the knowledge base, one for the server's own state."""
