"""The resident engine: the only part of the server that knows torch and transformers."""
