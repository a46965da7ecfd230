"""What besides the current file goes into a prompt."""
