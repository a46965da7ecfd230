"""What the code at the cursor may name, told by the language's own tools: nothing of an answer waits for it."""
