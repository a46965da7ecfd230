"""The names that the code at the cursor may use, from the language's own tools: no answer waits for them."""
