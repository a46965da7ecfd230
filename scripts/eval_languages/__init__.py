"""The projects that ``midfill eval languages`` measures on: see README.md."""
