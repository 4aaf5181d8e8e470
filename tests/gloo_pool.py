"""Two ranks of a gloo process group in two lasting processes, to run collective code in tests."""

import multiprocessing
import os
import pickle
import socket
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

# Far more than a busy machine needs. A rank that waits for the other gives up first, so that the error names the cause.
_COLLECTIVE_SECONDS = 600
_REPLY_SECONDS = 660
_EXIT_SECONDS = 5


class GlooPool:
    """``run(function, arguments)`` calls ``function(argument)`` on every rank and returns the results in rank order.

    The function must be importable (a module-level function of a test file), its argument and result picklable. The
    ranks start with the first call, meet in a file and talk over the loopback interface only. A failure of any rank
    raises here, with the rank's traceback; the ranks, perhaps out of step, are then ended and the next call starts new
    ones.
    """

    def __init__(self, folder: Path, world_size: int = 2) -> None:
        self.world_size = world_size
        self._folder = folder
        self._starts = 0
        self._ranks: list[tuple[BaseProcess, Connection]] = []

    def run(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        if len(arguments) != self.world_size:
            raise ValueError(f"{len(arguments)} arguments for {self.world_size} ranks")
        if not self._ranks:
            self._start()
        try:
            for (_, connection), argument in zip(self._ranks, arguments, strict=True):
                connection.send_bytes(pickle.dumps((function, argument)))
            return self._receive()
        except BaseException:
            for process, _ in self._ranks:
                process.kill()  # who waits for the rank that failed does not end by itself
            self.close()
            raise

    def close(self) -> None:
        """End the ranks; those that do not follow are killed."""
        for _, connection in self._ranks:
            connection.close()
        for process, _ in self._ranks:
            process.join(timeout=_EXIT_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()
        self._ranks = []

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._starts += 1
        rendezvous = self._folder / f"rendezvous-{self._starts}"
        for rank in range(self.world_size):
            ours, theirs = context.Pipe()
            arguments = (rank, self.world_size, str(rendezvous), theirs)
            process = context.Process(target=_serve, args=arguments, daemon=True, name=f"gloo rank {rank}")
            process.start()
            theirs.close()
            self._ranks.append((process, ours))

    def _receive(self) -> list[Any]:
        """The results in rank order; the first failure raises, though other ranks wait for the one that failed."""
        waiting = {connection: rank for rank, (_, connection) in enumerate(self._ranks)}
        results: dict[int, Any] = {}
        while waiting:
            ready = wait(list(waiting), _REPLY_SECONDS)
            if not ready:
                raise RuntimeError(f"gloo ranks {sorted(waiting.values())} gave no answer")
            for connection in (each for each in list(waiting) if each in ready):
                rank = waiting.pop(connection)
                try:
                    failed, results[rank] = pickle.loads(connection.recv_bytes())
                except EOFError:
                    raise RuntimeError(f"gloo rank {rank} died") from None
                if failed:
                    raise RuntimeError(f"gloo rank {rank} failed:\n{results[rank]}")
        return [results[rank] for rank in range(self.world_size)]


def _serve(rank: int, world_size: int, rendezvous: str, connection: Connection) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{rendezvous}",
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=_COLLECTIVE_SECONDS),
    )
    try:
        while True:
            try:
                function, argument = pickle.loads(connection.recv_bytes())
            except EOFError:  # the pool was closed
                return
            try:
                reply = (False, function(argument))
            except Exception:  # noqa: BLE001 - whatever it is, the test shall see it
                reply = (True, traceback.format_exc())
            connection.send_bytes(pickle.dumps(reply))
    finally:
        dist.destroy_process_group()
