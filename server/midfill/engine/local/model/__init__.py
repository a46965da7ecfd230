"""The decoder as a value, and how it is read from files."""
