"""Measures how good the suggestions are: holes in real code, pass@1, a typing replay, paired comparisons."""
