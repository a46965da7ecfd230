"""The engine process, and how a front end finds, starts and follows it."""
