"""Engines elsewhere: midfill's own, vLLM, SGLang, llama.cpp, and endpoints that take only text."""
