"""The demonstration: a typing session with the real server."""
