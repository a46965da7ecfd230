"""Training of LoRA adapters on the user's own code."""
