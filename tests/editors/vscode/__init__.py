"""The extension in the real VS Code, with the real language server."""
