"""Measurements that are run by hand, with torch or hard texts: each module is a command, ``python -m
scripts.bench.NAME``."""
