"""An hour's drive: sessions typed into the real editors with the real model, and what was shown at each pause."""
