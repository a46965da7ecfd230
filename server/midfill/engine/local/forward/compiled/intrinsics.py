"""What numba lacks, in LLVM's instructions: addresses, counters shared by threads, and bits as numbers."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as untyped_intrinsic

I8, I16, I32, I64, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()


def intrinsic(function: Callable[..., Any]) -> Any:
    """numba's decorator: ``function`` gets types, and returns a signature and the function
    that writes the instructions."""
    return untyped_intrinsic(function)


def at(builder: Any, address: Any, kind: ir.Type) -> Any:
    """Return ``address`` as a pointer to a ``kind``."""
    return builder.inttoptr(address, kind.as_pointer())


@intrinsic
def address_of(_context: Any, array: Any) -> Any:
    """The address of an array's data."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.ptrtoint(made.data, I64)

    return types.int64(array), generate


@intrinsic
def pointer(_context: Any, address: Any) -> Any:
    """``address`` for numba's carray."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], I8.as_pointer())

    return types.voidptr(types.int64), generate


@intrinsic
def fetch_add(_context: Any, address: Any, amount: Any) -> Any:
    """Add ``amount`` to the int64 at ``address`` atomically; return the earlier value."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", at(builder, arguments[0], I64), arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def load(_context: Any, address: Any) -> Any:
    """The int64 at ``address``; everything its writer wrote before is then visible, too."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(at(builder, arguments[0], I64), "acquire", 8)

    return types.int64(types.int64), generate


def _yield_core() -> int:
    """Return the address of the system's function that lets another thread run."""
    if sys.platform == "win32":
        function = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return ctypes.cast(function, ctypes.c_void_p).value or 0


llvmlite.binding.add_symbol("midfill_yield_core", _yield_core())


@intrinsic
def yield_core(_context: Any) -> Any:
    """Let another thread run, if one waits for this core."""

    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        kind = ir.FunctionType(I32, [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "midfill_yield_core"), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def float_of(_context: Any, bits: Any) -> Any:
    """The float32 with the bits of an int32."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], F32)

    return types.float32(types.int32), generate


@intrinsic
def bits_of(_context: Any, number: Any) -> Any:
    """The bits of a float32, as an int32."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], I32)

    return types.int32(types.float32), generate


@intrinsic
def pause(_context: Any) -> Any:
    """Tell the core that its thread waits in a loop, if the core has an instruction for that."""

    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        if platform.machine().lower() in ("x86_64", "amd64"):
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), generate
