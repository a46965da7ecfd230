"""How the loops are compiled, and the numbers that every one of them uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import carray, njit

from midfill.engine.local.forward.compiled import cache
from midfill.engine.local.forward.compiled.intrinsics import bits_of, float_of, pointer

Array = np.ndarray[Any, Any]
F = TypeVar("F", bound=Callable[..., Any])
cache.choose()

# Sums in the order that vectors want. Infinities stay what they are; what comes of NaN is undefined: a model that
# computes it is broken, and says something.
_FAST = {"reassoc", "contract", "nsz", "arcp", "nnan"}
_LOG2_E = np.float32(1.4426950408889634)


def compiled(function: F) -> F:
    """``function`` as machine code that runs without Python's lock."""
    made: F = njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy")(function)
    return made


@compiled
def floats(address: int, n: int) -> Array:
    """The ``n`` float32 at ``address``."""
    found: Array = carray(pointer(address), (n,), np.float32)
    return found


@compiled
def exp(x: Any) -> Any:
    """e to the x, to some 1e-7 of it, times x; x is cut off where float32 ends."""
    power = min(max(x * _LOG2_E, np.float32(-126)), np.float32(126))
    whole = np.floor(power + np.float32(0.5))
    r = power - whole
    p = np.float32(0.0001540353)
    p = p * r + np.float32(0.0013333558)
    p = p * r + np.float32(0.0096181291)
    p = p * r + np.float32(0.0555041087)
    p = p * r + np.float32(0.2402265070)
    p = p * r + np.float32(0.6931471806)
    p = p * r + np.float32(1)
    return p * float_of(np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)))


@compiled
def bfloat(x: Any) -> Any:
    """The upper half of a float32, rounded to even."""
    bits = bits_of(x)
    return np.uint16((bits + np.int32(0x7FFF) + ((bits >> np.int32(16)) & np.int32(1))) >> np.int32(16))


@compiled
def of_bfloat(bits: Any) -> Any:
    """The float32 of which these are the upper half."""
    return float_of(np.int32(np.int32(bits) << np.int32(16)))
