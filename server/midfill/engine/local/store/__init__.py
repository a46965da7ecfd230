"""Models as files on the machine, and making them ready."""
