"""An hour driven: sessions typed into the real editors with the real model, and what was seen at each pause."""
