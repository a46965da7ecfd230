"""Engines: token ids in, text out, cancellable at every step."""
