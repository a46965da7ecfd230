"""Programs that are run by hand from a checkout: ``python -m scripts.…`` in the folder of the repository."""
