"""What tree-sitter knows about a text: parsers, and what is built on them."""
