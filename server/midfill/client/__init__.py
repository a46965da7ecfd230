"""A window's end of the wire: an engine found or started, followed, its adapters, and prompts written for it."""
