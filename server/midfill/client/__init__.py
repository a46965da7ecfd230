"""A window's end of the wire: finds or starts an engine, follows it, and manages its adapters and the
prompts for it."""
