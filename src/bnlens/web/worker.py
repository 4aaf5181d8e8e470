"""What runs in a worker process: reads jobs from standard input, writes answers to standard output, as pickles with a length.

Started by `bnlens.web.jobs`, which alone writes to it.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
import traceback
from typing import Any, BinaryIO

__all__ = ["LENGTH", "main", "receive", "send"]

LENGTH = struct.Struct(">Q")
_NICENESS = 10


def send(stream: BinaryIO, message: Any) -> None:
    """Write a message."""
    payload = pickle.dumps(message)
    stream.write(LENGTH.pack(len(payload)) + payload)
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """Read a message.

    Raises:
        EOFError: the other side has gone.
    """
    head = _exactly(stream, LENGTH.size)
    return pickle.loads(_exactly(stream, LENGTH.unpack(head)[0]))  # noqa: S301 - from our own parent or child


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def main() -> None:
    """Answer jobs until standard input ends."""
    if hasattr(os, "nice"):
        os.nice(_NICENESS)  # pages go first
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    from bnlens.errors import BnlensError
    from bnlens.web.labs import LABS

    labs = {lab.id: lab for lab in LABS}
    while True:
        try:
            name, state = receive(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer: tuple[str, Any] = ("result", labs[name].compute(state))
        except BnlensError as error:
            answer = ("sentence", str(error))
        except Exception:  # noqa: BLE001 - it is the parent's to report
            answer = ("traceback", traceback.format_exc())
        send(answers, answer)
