"""``midfill bench``: the engine beside llama.cpp's server and transformers' ``generate()``, interleaved in one run."""
