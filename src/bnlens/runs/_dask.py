"""Runs jobs on a Dask cluster: one at a time on each free worker, and again elsewhere when a worker dies."""

from __future__ import annotations

import contextlib
import importlib
import logging
import queue
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from bnlens.errors import ClusterError, UsageError, how_to_install
from bnlens.runs._dask_worker import run_task
from bnlens.runs._worker import Outcome, Task, death

__all__ = ["check_scheduler", "execute"]

_ANSWER = 4.0  # seconds for the scheduler to answer
_PATIENCE = 30.0  # seconds without a worker that can be used
_TICK = 0.5  # seconds between looks at the cluster while nothing arrives
_DEATHS = 3
_DIED = (
    f"{_DEATHS} workers of the cluster died while they ran it, most often because they ran out of memory; "
    "give the workers more memory, or the job less to do"
)
_GO_ON = "finished jobs are stored: run the same command again to go on from there"


def execute(
    tasks: Sequence[Task],
    *,
    scheduler: str,
    at_once: int | None = None,
    on_start: Callable[[int], None] = lambda index: None,
) -> Generator[tuple[int, Outcome], None, None]:
    """Run jobs on the workers of a Dask scheduler, expensive ones first, and yield each outcome as it arrives.

    Each job is bound to one free worker, so that its fate is known: when that worker is gone, the job runs again on
    another one, and is reported as failed once it has lost three workers. Closing the iterator cancels what has not
    begun; what a worker runs already ends there and is dropped.

    Args, and what is yielded, are as in `bnlens.runs._pool.execute`; ``scheduler`` is an address such as
    ``"tcp://10.0.0.1:8786"``, ``at_once`` the largest number of jobs at once, by default one per worker.

    Raises:
        UsageError: the package ``distributed`` is not installed.
        ClusterError: the scheduler does not answer or is lost, no worker can be used, or a worker has another version.
    """
    if not tasks:
        return
    with _client(scheduler) as client:
        yield from _Run(client, scheduler, tasks, on_start).outcomes(at_once or len(tasks))


class _Run:
    """The jobs that wait, those that run on a worker, and how many workers each has lost."""

    def __init__(self, client: Any, scheduler: str, tasks: Sequence[Task], on_start: Callable[[int], None]) -> None:
        self._client, self._scheduler, self._tasks, self._on_start = client, scheduler, tasks, on_start
        self._waiting = deque(sorted(range(len(tasks)), key=lambda index: -tasks[index].cost))
        self._running: dict[str, tuple[int, Any]] = {}  # by address of the worker: a job and its future
        self._ended: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._deaths: Counter[int] = Counter()
        self._last_seen = time.monotonic()

    def outcomes(self, at_once: int) -> Generator[tuple[int, Outcome], None, None]:
        try:
            while self._waiting or self._running:
                workers = self._workers()
                yield from self._lost(workers)
                free = [address for address, busy in workers.items() if not busy and address not in self._running]
                for address in free[: max(0, at_once - len(self._running))]:
                    if self._waiting:
                        self._submit(self._waiting.popleft(), address)
                yield from self._arrived()
        finally:
            with contextlib.suppress(Exception):  # the scheduler may be the very thing that was lost
                self._client.cancel([future for _, future in self._running.values()], force=True)

    def _workers(self) -> dict[str, bool]:
        """Return the workers that can be used, and whether each is busy."""
        try:
            threads = self._client.nthreads()
            tasks = self._client.processing()
        except Exception as error:  # whatever a broken connection raises, down to its event loop
            raise self._lost_scheduler() from error
        usable = {address: bool(tasks.get(address)) for address, count in threads.items() if count == 1}
        if usable:
            self._last_seen = time.monotonic()
        elif threads:
            address, count = next(iter(threads.items()))
            raise ClusterError(
                f"worker {address} has {count} threads, and jobs of one process would disturb each other; "
                "start the workers with --nthreads 1"
            )
        elif time.monotonic() - self._last_seen > _PATIENCE:
            raise ClusterError(
                f"the Dask scheduler at {self._scheduler} has had no worker for {_PATIENCE:g} s; "
                f"start some with `dask worker {self._scheduler} --nthreads 1` ({_GO_ON})"
            )
        return usable

    def _lost(self, workers: dict[str, bool]) -> Iterator[tuple[int, Outcome]]:
        """Queue the jobs of dead workers again; yield those that have lost too many."""
        for address in [address for address in self._running if address not in workers]:
            yield from self._lose(address)

    def _lose(self, address: str) -> Iterator[tuple[int, Outcome]]:
        index, future = self._running.pop(address)
        future.cancel(force=True)
        self._deaths[index] += 1
        if self._deaths[index] < _DEATHS:
            self._waiting.append(index)  # behind the others: should it kill every worker, they are done
        else:
            yield index, death(_DIED)

    def _submit(self, index: int, address: str) -> None:
        task = self._tasks[index]
        try:
            future = self._client.submit(
                run_task, task, key=f"bnlens-{task.key}-{uuid.uuid4().hex}", workers=[address], pure=False
            )
        except Exception as error:  # as above
            raise self._lost_scheduler() from error
        self._running[address] = index, future
        future.add_done_callback(lambda done: self._ended.put((address, done)))
        self._on_start(index)

    def _arrived(self) -> Iterator[tuple[int, Outcome]]:
        """Wait a moment for a job to end; yield it, and all others that have."""
        timeout = _TICK
        while True:
            try:
                address, future = self._ended.get(timeout=timeout)
            except queue.Empty:
                return
            timeout = 0.0
            if address in self._running and self._running[address][1] is future:
                yield from self._take(address, future)

    def _take(self, address: str, future: Any) -> Iterator[tuple[int, Outcome]]:
        from distributed import KilledWorker
        from distributed import TimeoutError as NoAnswerError

        if future.cancelled():
            raise self._lost_scheduler()
        index = self._running[address][0]
        try:
            found = future.result(timeout=_ANSWER)
        except KilledWorker:
            yield from self._lose(address)
            return
        except (TimeoutError, NoAnswerError):  # the worker died with the result: `_lost` will find out
            self._ended.put((address, future))
            return
        except Exception as error:
            if self._client.status != "running":
                raise self._lost_scheduler() from error
            raise ClusterError(
                f"worker {address} cannot run jobs of bnlens ({' '.join(str(error).split()) or type(error).__name__}); "
                "install this version of bnlens on every worker"
            ) from error
        if isinstance(found, str):
            raise ClusterError(f"worker {address} {found}; {_GO_ON}")
        del self._running[address]
        yield index, found

    def _lost_scheduler(self) -> ClusterError:
        return ClusterError(f"the Dask scheduler at {self._scheduler} was lost or started anew; {_GO_ON}")


def check_scheduler(scheduler: str) -> None:
    """Raise where no scheduler answers at that address.

    Raises:
        ClusterError: see above.
        UsageError: the package distributed is not installed.
    """
    with _client(scheduler):
        pass


@contextlib.contextmanager
def _client(scheduler: str) -> Iterator[Any]:
    try:
        dask_config = importlib.import_module("dask.config")
        distributed: Any = importlib.import_module("distributed")
    except ImportError as error:
        raise UsageError(f"--scheduler needs the package distributed; {how_to_install('cluster')} brings it") from error
    patience = {"distributed.comm.timeouts.connect": f"{_ANSWER:g}s"}
    with _quiet("distributed"), dask_config.set(patience):
        try:
            client = distributed.Client(scheduler, timeout=_ANSWER, set_as_default=False, name="bnlens")
        except Exception as error:  # a wrong address, name or port, or another program behind it
            raise ClusterError(
                f"no Dask scheduler answers at {scheduler}; start one with `dask scheduler`, or give its address, "
                "such as tcp://127.0.0.1:8786"
            ) from error
        try:
            yield client
        finally:
            with contextlib.suppress(Exception):
                client.close(timeout=_ANSWER)


@contextlib.contextmanager
def _quiet(package: str) -> Iterator[None]:
    """Keep a package's log from standard error: what matters of it becomes an error with one sentence."""
    names = [package, *(name for name in logging.root.manager.loggerDict if name.startswith(f"{package}."))]
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
