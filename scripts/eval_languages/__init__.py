"""The projects that ``midfill eval languages`` is measured on: see README.md."""
