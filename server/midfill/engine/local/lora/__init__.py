"""LoRA adapters: their files, their weights, and how they come into the engine."""
