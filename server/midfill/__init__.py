"""midfill: a local code-completion language server."""

from midfill import safe_path as _safe_path  # noqa: F401 - first: what follows must not come from the working directory

__version__ = "0.2.0"
