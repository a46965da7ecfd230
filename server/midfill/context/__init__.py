"""What goes into a prompt besides the current file."""
