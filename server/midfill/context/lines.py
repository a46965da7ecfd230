"""The loop of a child process: a line of JSON in, a line of JSON out, within limits."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from midfill.context import limits

Answer = Callable[[dict[str, Any]], dict[str, Any]]


def run_child(answer: Answer, *, memory: int, cpu_s: float) -> None:
    """Report that this process is ready, then answer each line of standard input until that ends.

    ``memory``: bytes of data that it may take; ``cpu_s``: processor time for one line. The last argument of the command
    is the parent's process id. An answer is the name of the error if there was one.
    """
    limits.take_least()
    limits.end_with_parent(int(sys.argv[-1]))
    limits.limit_memory(memory)
    out = sys.stdout.buffer
    out.write(b'{"ready": true}\n')
    out.flush()
    for line in sys.stdin.buffer:
        out.write(json.dumps(_within(cpu_s, answer, json.loads(line))).encode() + b"\n")
        out.flush()


def _within(cpu_s: float, answer: Answer, message: dict[str, Any]) -> dict[str, Any]:
    limits.limit_time(cpu_s)
    try:
        return answer(message)
    except MemoryError:
        raise  # what is left of the process is of no use
    except Exception as error:  # noqa: BLE001 - one bad text must not end the child
        return {"error": type(error).__name__}
    finally:
        limits.limit_time(0.0)
