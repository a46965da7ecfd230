"""How the loops are compiled, and the number functions that they all use."""

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

# Sums in the order that vectors need. Infinities stay; results from NaN are undefined: a model that computes NaN is
# broken, and generates something anyway.
_FAST = {"reassoc", "contract", "nsz", "arcp", "nnan"}
_LOG2_E = np.float32(1.4426950408889634)


def compiled(function: F) -> F:
    """Return ``function`` as machine code that runs without Python's lock."""
    made: F = njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy")(function)
    return made


@compiled
def floats(address: int, n: int) -> Array:
    """Return the ``n`` float32 at ``address``."""
    found: Array = carray(pointer(address), (n,), np.float32)
    return found


@compiled
def exp(x: Any) -> Any:
    """Return e to the x, with a relative error of some 1e-7 times x; x is limited to the range of float32."""
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
    """Return the upper half of a float32, rounded to even."""
    bits = bits_of(x)
    return np.uint16((bits + np.int32(0x7FFF) + ((bits >> np.int32(16)) & np.int32(1))) >> np.int32(16))


@compiled
def of_bfloat(bits: Any) -> Any:
    """Return the float32 that has these bits as its upper half."""
    return float_of(np.int32(np.int32(bits) << np.int32(16)))
