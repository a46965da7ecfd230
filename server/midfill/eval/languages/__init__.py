"""Suggestions by language: holes in projects of many languages and in new files, and what goes wrong in each."""
