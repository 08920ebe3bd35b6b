"""HTTP routes: chat, the knowledge base, and the server's own state."""
