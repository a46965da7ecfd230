"""One sequence of tokens: what is cached of it, and how it continues."""
