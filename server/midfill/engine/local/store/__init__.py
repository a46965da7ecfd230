"""Models as files on the machine, and their preparation."""
