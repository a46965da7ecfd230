"""One sequence of tokens: what is kept of it, and what comes next."""
