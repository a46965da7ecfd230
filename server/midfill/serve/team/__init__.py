"""The resident engine for several people: tokens, fair shares, limits, figures for Prometheus, and text prompts."""
