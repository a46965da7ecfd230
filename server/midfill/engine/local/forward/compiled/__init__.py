"""The forward pass in loops compiled by numba, with inner products written in LLVM's vectors.

torch reads int8 weights at the memory's speed, but between its products there are some sixty small
operations per layer, and without VNNI it uses only seven of a weight's eight bits (docs/log.md). Here a
step is one call on each thread:

- ``intrinsics``, ``tiles``: what numba lacks, and the inner loops of products;
- ``compiled``, ``cache``: how functions are compiled, and where the result is kept;
- ``sharing``, ``team``: threads, and how they divide work;
- ``products``, ``attention``, ``forward``: the computation;
- ``product``, ``step``: weights for linear_int8.py, and which models and steps use this pass.
"""
