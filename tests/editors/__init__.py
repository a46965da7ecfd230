"""Editors, driven end to end."""
