"""What has to be in the environment of a child process before it starts. Standard library only."""

from __future__ import annotations

from collections.abc import MutableMapping

# How long OpenMP's threads wait in a loop before they sleep (libgomp): longer than the pause between two products of a
# step, shorter than the one between two steps (docs/log.md).
SPIN_COUNT = "50000"
# Weights in large pages: fewer misses of the TLB. One arena for all threads: another thread's gives the memory of each
# layer back to the system and takes it again (docs/log.md).
MALLOC = "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1"


def complete(env: MutableMapping[str, str]) -> None:
    """Add to ``env`` what the user has not set."""
    if "OMP_WAIT_POLICY" not in env:
        env.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    env.setdefault("GLIBC_TUNABLES", MALLOC)
