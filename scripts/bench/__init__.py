"""Measurements to run manually, because they take torch, a GPU or much time: ``python -m scripts.bench.NAME``."""
