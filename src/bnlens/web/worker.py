"""A process that works for the server, and how the two talk: one order at a time, what it reports meanwhile, how it ended.

Messages are pickles with a length before them, over standard input and output. When the server has gone, the process ends
with all that it has started.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, BinaryIO, Literal, TypeAlias

from bnlens.errors import BnlensError

__all__ = ["Kind", "Process", "Tell", "main"]

Tell: TypeAlias = Callable[[Any], None]
Kind = Literal["result", "sentence", "traceback", "interrupted", "died"]
"""How an order ends: with its result, a `BnlensError`, a fault, by `Process.interrupt`, or with the death of the process."""

_LENGTH = struct.Struct(">Q")
_NICENESS = 10  # pages go first
_PATIENCE = 5.0  # seconds that a process gets to end by itself


class Process:
    """A worker process in a session of its own, at low priority; it is started by its first order."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False
        self._lock = threading.Lock()

    def ask(self, function: Callable[..., Any], *arguments: Any, tell: Tell = lambda event: None) -> tuple[Kind, Any]:
        """Call a function in the process, and wait.

        Args:
            function: of a module, which the process imports; it gets a function that reports to the server, then the arguments.
            *arguments: what can be pickled.
            tell: called with each report.

        Returns:
            How it ended, with the result, the sentence or the traceback; None otherwise.
        """
        try:
            process = self.start()
            _send(process.stdin, (function, arguments))
            while True:
                kind, content = pickle.loads(_receive(process.stdout))  # noqa: S301 - from our own child
                if kind != "report":
                    return kind, content
                tell(content)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):  # it died, or was killed and its pipes closed
            return "died", None

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process unless it was started.

        Raises:
            OSError: it was killed, or the system cannot start it.
        """
        with self._lock:
            if self._killed:
                raise ProcessLookupError("the process was killed")
            if self._process is None:
                threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
                self._process = subprocess.Popen(
                    [sys.executable, "-c", "from bnlens.web.worker import main; main()"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                    start_new_session=True,  # Ctrl-C is the server's to handle
                )
            return self._process

    @property
    def is_alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def interrupt(self) -> None:
        """Interrupt the order at hand as Ctrl-C does."""
        with contextlib.suppress(OSError):
            if self._process is not None:
                self._process.send_signal(signal.SIGINT)

    def end(self) -> int | None:
        """Let the process end and return its exit code; None if it was never started."""
        if self._process is not None:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                assert self._process.stdin is not None  # noqa: S101 - for the type checker
                self._process.stdin.close()
                self._process.wait(_PATIENCE)
        self.kill()
        return None if self._process is None else self._process.returncode

    def kill(self) -> None:
        """End the process with all that it has started, whatever they do."""
        with self._lock:
            self._killed = True
            if self._process is None:
                return
            if self.is_alive:
                with contextlib.suppress(OSError):
                    # it leads a session of its own
                    os.killpg(self._process.pid, signal.SIGKILL) if hasattr(os, "killpg") else self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):
                    if stream is not None:
                        stream.close()


def main() -> None:
    """Answer orders until standard input ends; this is what the process runs."""
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    orders: SimpleQueue[bytes | None] = SimpleQueue()
    working = threading.Event()
    threading.Thread(target=_listen, args=(orders, working), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        while (order := orders.get()) is not None:
            ending = _carry_out(order, lambda report: _send(answers, ("report", report)))
            working.clear()
            _send(answers, ending)


def _listen(orders: SimpleQueue[bytes | None], working: threading.Event) -> None:
    with contextlib.suppress(EOFError):
        while True:
            order = _receive(sys.stdin.buffer)
            working.set()
            orders.put(order)
    if working.is_set():  # the server has gone amid an order
        if hasattr(os, "killpg"):
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(1)
    orders.put(None)


def _carry_out(order: bytes, tell: Tell) -> tuple[Kind, Any]:
    try:
        function, arguments = pickle.loads(order)  # noqa: S301 - from our own parent
        return "result", function(tell, *arguments)
    except KeyboardInterrupt:
        return "interrupted", None
    except BnlensError as error:
        return "sentence", str(error)
    except Exception:  # noqa: BLE001 - it is the server's to report
        return "traceback", traceback.format_exc()


def _send(stream: Any, message: Any) -> None:
    payload = pickle.dumps(message)
    stream.write(_LENGTH.pack(len(payload)) + payload)
    stream.flush()


def _receive(stream: Any) -> bytes:
    """Return a message's bytes; raise EOFError if the other side has gone."""
    return _exactly(stream, _LENGTH.unpack(_exactly(stream, _LENGTH.size))[0])


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data
