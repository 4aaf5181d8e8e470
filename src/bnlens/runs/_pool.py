"""A process pool that outlives its workers: one that dies takes down the job that killed it, and no other."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from bnlens.runs._environment import worker_environment
from bnlens.runs._worker import Outcome, Task, call, death, prepare

__all__ = ["available_cores", "execute"]

_DIED = (
    "its worker process died without an error, most often because the system ran out of memory; "
    "run again with fewer jobs at once"
)


def available_cores() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def execute(
    tasks: Sequence[Task], *, workers: int, on_start: Callable[[int], None] = lambda index: None
) -> Generator[tuple[int, Outcome], None, None]:
    """Run jobs in worker processes, expensive ones first, and yield each outcome as it arrives.

    No more jobs are handed out than there are workers, so when a worker dies the jobs at hand are the suspects. They
    run again one at a time, each in a process of its own; the one that kills its process is reported, the others are
    not harmed. Closing the iterator, as an exception in its consumer does, ends the workers at once.

    Args:
        tasks: what to run.
        workers: number of processes.
        on_start: called with the index of a job when it is handed out.

    Yields:
        The index of a job in ``tasks``, and its outcome.
    """
    pending = deque(sorted(range(len(tasks)), key=lambda index: -tasks[index].cost))
    suspects: deque[int] = deque()
    while pending or suspects:
        at_once = 1 if suspects else min(workers, len(pending))
        batch = deque([suspects.popleft()]) if suspects else pending
        lost = yield from _drain(tasks, batch, at_once, on_start)
        if len(lost) == 1:
            yield lost[0], death(_DIED)
        else:
            suspects.extend(lost)


def _drain(
    tasks: Sequence[Task], waiting: deque[int], workers: int, on_start: Callable[[int], None]
) -> Generator[tuple[int, Outcome], None, list[int]]:
    """Run until ``waiting`` is empty or a worker dies; return the jobs that were at hand when it died."""
    running: dict[Future[Outcome], int] = {}
    lost: list[int] = []
    with _pool(workers, max(task.threads for task in tasks)) as pool:
        while (waiting and not lost) or running:
            while waiting and not lost and len(running) < workers:
                index = waiting.popleft()
                try:
                    running[_submit(pool, tasks[index])] = index
                except BrokenProcessPool:
                    lost.append(index)
                    break
                on_start(index)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                index = running.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    lost.append(index)
                else:
                    yield index, outcome
    return lost


def _submit(pool: ProcessPoolExecutor, task: Task) -> Future[Outcome]:
    with _sigint_blocked():
        future = pool.submit(call, task)
        # The executor may miss the death of a worker that it started for a task until the next task comes: send one.
        with contextlib.suppress(BrokenProcessPool):
            pool.submit(os.getpid)
    return future


@contextlib.contextmanager
def _pool(workers: int, threads: int) -> Iterator[ProcessPoolExecutor]:
    others = set(multiprocessing.active_children())
    with worker_environment(threads):  # read before the first job runs
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), prepare)
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - others:
                child.kill()
            raise
        pool.shutdown(wait=True)


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Start workers deaf to Ctrl-C: it reaches the whole process group, and the parent alone decides what ends."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
