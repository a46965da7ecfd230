"""What must be in the environment of a child process before it starts. Standard library only."""

from __future__ import annotations

from collections.abc import MutableMapping

# How long OpenMP's threads wait in a loop before they sleep (libgomp): longer than the pause between two products of a
# step, shorter than the pause between two steps (docs/log.md).
SPIN_COUNT = "50000"
# Weights in large pages: fewer TLB misses. One arena for all threads: another thread's arena returns the memory of each
# layer to the system and takes it again (docs/log.md).
MALLOC = "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1"


def complete(env: MutableMapping[str, str]) -> None:
    """Add to ``env`` the variables that the user has not set."""
    if "OMP_WAIT_POLICY" not in env:
        env.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    env.setdefault("GLIBC_TUNABLES", MALLOC)
