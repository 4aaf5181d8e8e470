"""A Dask cluster on this machine for tests: a scheduler and workers, each a process of its own that can be killed."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toy_claims import wait_until

import bnlens

HERE = Path(__file__).parent


class DaskCluster:
    """A scheduler on loopback; ``start_worker`` adds a worker, ``kill`` ends a process as a crash does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self.address = self._read_from_log("scheduler-0", r"Scheduler at: +(tcp://[\d.:]+)\s")

    def start_worker(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a worker of one thread without a nanny, so that its process is the one returned."""
        number = len(self.processes)
        more = arguments or ("--nthreads", "1")
        worker = self._start("worker", self.address, "--no-nanny", "--no-dashboard", *more)
        self._read_from_log(f"worker-{number}", r"(Registered to:)")
        return worker

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()

    def _start(self, role: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{role}-{len(self.processes)}").open("wb")
        source = Path(bnlens.__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(source), str(HERE)])}
        command = [sys.executable, "-m", "dask", role, *arguments]
        with log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=self.folder)
        self.processes.append(process)
        return process

    def _read_from_log(self, name: str, pattern: str) -> str:
        log, process = self.folder / name, self.processes[-1]
        wait_until(lambda: re.search(pattern, log.read_text()) is not None or process.poll() is not None)
        found = re.search(pattern, log.read_text())
        assert found is not None, log.read_text()
        return found[1]


@contextmanager
def dask_cluster(folder: Path) -> Iterator[DaskCluster]:
    cluster = DaskCluster(folder)
    try:
        yield cluster
    finally:
        for process in cluster.processes:
            cluster.kill(process)
