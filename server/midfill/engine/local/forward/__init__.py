"""Forward passes: token ids in, logits out."""
