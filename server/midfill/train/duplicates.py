"""Files that are nearly the same: MinHash of word shingles with banding (Broder 1997; for code as in Lee et al. 2022,
"Deduplicating Training Data Makes Language Models Better", arXiv:2107.06499)."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

N_HASHES, N_BANDS = 64, 16  # pairs of Jaccard similarity 0.8 meet in a band with probability 0.9998, of 0.3 with 0.12
SHINGLE = 5  # words
SIMILAR = 0.8
_WORD = re.compile(r"\w+|[^\w\s]")
_PRIME = (1 << 61) - 1


def near_duplicates(texts: Sequence[str]) -> set[int]:
    """Return the indices of texts that are nearly the same as an earlier one."""
    random = np.random.default_rng(1)
    factors = random.integers(1, 1 << 31, N_HASHES, dtype=np.uint64)
    offsets = random.integers(0, 1 << 31, N_HASHES, dtype=np.uint64)
    signatures = [_signature(text, factors, offsets) for text in texts]
    buckets: defaultdict[tuple[int, bytes], list[int]] = defaultdict(list)
    doubled: set[int] = set()
    width = N_HASHES // N_BANDS
    for at, signature in enumerate(signatures):
        bands = [(band, signature[band * width : (band + 1) * width].tobytes()) for band in range(N_BANDS)]
        earlier = {other for band in bands for other in buckets.get(band, ())}
        if any(float((signatures[other] == signature).mean()) >= SIMILAR for other in earlier):
            doubled.add(at)
            continue  # texts similar to this one are similar to the earlier one too
        for band in bands:
            buckets[band].append(at)
    return doubled


def _signature(text: str, factors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the least value of each hash function over the text's shingles. (N_HASHES,) uint64"""
    words = _WORD.findall(text)
    shingles = {" ".join(words[at : at + SHINGLE]) for at in range(max(1, len(words) - SHINGLE + 1))}
    hashes = np.fromiter((zlib.crc32(one.encode("utf-8", "replace")) for one in shingles), np.uint64, len(shingles))
    least: np.ndarray = ((hashes[:, None] * factors + offsets) % np.uint64(_PRIME)).min(axis=0)
    return least
