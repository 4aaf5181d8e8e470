"""The number of threads of a job: equal numbers give equal results, since sums of floats depend on how they are split."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from threadpoolctl import threadpool_limits

__all__ = ["limited_threads", "threads_in_environment"]

_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@contextlib.contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Give the numerical libraries this many threads: those that are loaded, and those that load meanwhile."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    with threads_in_environment(threads), threadpool_limits(threads):
        if torch:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)


@contextlib.contextmanager
def threads_in_environment(threads: int) -> Iterator[None]:
    """Set the variables that numerical libraries read when they load, here and in processes started meanwhile."""
    before = {name: os.environ.get(name) for name in _VARIABLES}
    os.environ.update(dict.fromkeys(_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
