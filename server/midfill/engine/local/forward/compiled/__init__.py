"""The forward pass in compiled loops: numba's, with its inner products written in LLVM's vectors.

torch reads int8 weights at the memory's speed, but between its products lie some sixty small operations a layer, and
without VNNI it takes only seven of a weight's eight bits (docs/log.md). Here a step is one call on each thread:

- ``intrinsics``, ``tiles``: what numba lacks, and the inner loops of products;
- ``compiled``, ``cache``: how functions are compiled, and where that is kept;
- ``sharing``, ``team``: threads, and how they share out work;
- ``products``, ``attention``, ``forward``: what they compute;
- ``product``, ``step``: weights for linear_int8.py, and which models and steps go this way.
"""
