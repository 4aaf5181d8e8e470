"""The process of a job: its threads, and how it keeps memory.

Equal numbers of threads give equal results, since sums of floats depend on how they are split.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from threadpoolctl import threadpool_limits

from bnlens._environment import environment

__all__ = ["limited_threads", "worker_environment"]

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
# glibc gives large tensors back to the system, which clears the pages of the next one; other C libraries know none of these
_MEMORY = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}


@contextlib.contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Give the numerical libraries this many threads: those that are loaded, and those that load meanwhile."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    with environment(_of_threads(threads)), threadpool_limits(threads):
        if torch:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)


def worker_environment(threads: int) -> contextlib.AbstractContextManager[None]:
    """Give processes that start meanwhile this many threads, and let them keep the memory of one tensor for the next."""
    return environment(_of_threads(threads) | {name: os.environ.get(name, value) for name, value in _MEMORY.items()})


def _of_threads(threads: int) -> dict[str, str]:
    return dict.fromkeys(_THREADS, str(threads))
