"""Simulations run beside the pages: bounded, stoppable, and out of the way."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bnlens.errors import UsageError
from bnlens.web import worker
from bnlens.web.errors import GoneError, OverloadedError
from bnlens.web.labs.answers import Answers, Limits
from bnlens.web.labs.lab import LABS
from bnlens.web.worker import Process, Tell

DYNAMICS = next(lab for lab in LABS if lab.id == "dynamics")
GAP = LABS[0]
ENDLESS = DYNAMICS.read({"simulate": "yes", "size": "400", "runs": "16", "tau": "100", "batch_size": "8"})
SHORT = GAP.read({"simulate": "yes", "samples": "50000"})


async def stays() -> bool:
    return False


def play(act: Callable[[Answers], Awaitable[None]], **limits: Any) -> None:
    """Have readers act on answers within limits, after which nothing is at work."""

    async def go() -> None:
        answers = Answers(Limits(**limits))
        await act(answers)
        assert not running(answers)
        assert answers.workers.asked == 0
        answers.workers.close()

    asyncio.run(go())


def running(answers: Answers) -> list:
    """Live worker processes that are at work."""
    return [process for process in answers.workers.busy if process.is_alive]


def test_time_is_limited_and_the_process_ends():
    async def act(answers: Answers) -> None:
        with pytest.raises(OverloadedError, match="longer than 0"):
            await answers.find(DYNAMICS, ENDLESS, gone=stays)

    play(act, workers=1, seconds=0.5)


def test_a_reader_who_leaves_stops_the_computation():
    async def act(answers: Answers) -> None:
        left = asyncio.Event()

        async def gone() -> bool:
            return left.is_set()

        task = asyncio.create_task(answers.find(DYNAMICS, ENDLESS, gone=gone))
        while not running(answers):
            await asyncio.sleep(0.01)
        left.set()
        with pytest.raises(GoneError):
            await task
        assert not running(answers)
        result = await answers.find(GAP, SHORT, gone=stays)  # the place is free again
        assert result.result.rows

    play(act, workers=1)


def test_cheap_answers_do_not_wait_for_simulations():
    async def act(answers: Answers) -> None:
        long = [asyncio.create_task(answers.find(DYNAMICS, ENDLESS, gone=stays)) for _ in range(2)]
        while not running(answers):
            await asyncio.sleep(0.01)
        for batch_size in range(4, 40):
            await answers.find(GAP, GAP.read({"batch_size": str(batch_size)}), gone=stays)
        assert not any(task.done() for task in long)
        with pytest.raises(OverloadedError, match="waiting"):
            await answers.find(GAP, SHORT, gone=stays)
        for task in long:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    play(act, workers=1, waiting=1)


def test_answers_are_remembered_up_to_a_number():
    async def act(answers: Answers) -> None:
        states = [GAP.read({"batch_size": size}) for size in ("8", "16", "64")]
        first = await answers.find(GAP, states[0], gone=stays)
        assert await answers.find(GAP, states[0], gone=stays) is first
        for state in states[1:]:
            await answers.find(GAP, state, gone=stays)
        assert await answers.find(GAP, states[0], gone=stays) is not first

    play(act, memory=2)


def test_library_errors_cross_the_process():
    given = {"system": "sgd", "learning_rate": "50", "batch_size": "1", "simulate": "yes", "size": "100", "runs": "2"}

    async def act(answers: Answers) -> None:
        with pytest.raises(UsageError, match="diverges"):
            await answers.find(DYNAMICS, DYNAMICS.read(given), gone=stays)

    play(act, workers=1)


def count(tell: Tell, end: int) -> int:
    for number in range(end):
        tell(number)
    sys.stdout.write("this is no answer")
    return end


def die(tell: Tell, code: int) -> None:
    os._exit(code)


def fail(tell: Tell) -> None:
    raise ZeroDivisionError("of nothing")


def refuse(tell: Tell) -> None:
    raise UsageError("That cannot be.")


def wait(tell: Tell, pipe: Path) -> None:
    """Have a process of its own hold the pipe."""
    subprocess.Popen([sys.executable, "-c", f"pipe = open({str(pipe)!r}, 'w'); import time; time.sleep(600)"])
    tell("waiting")
    time.sleep(600)


def test_a_process_answers_orders_until_it_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, "_PATIENCE", 600.0)  # a busy machine may need more than a server waits
    process, told = Process(), []
    assert process.ask(count, 3, tell=told.append) == ("result", 3)
    assert told == [0, 1, 2]
    assert process.ask(refuse) == ("sentence", "That cannot be.")
    kind, content = process.ask(fail)
    assert (kind, content.splitlines()[-1]) == ("traceback", "ZeroDivisionError: of nothing")
    assert process.ask(count, 1) == ("result", 1)
    assert process.end() == 0
    assert process.ask(count, 1) == ("died", None)


def test_the_death_of_a_process_is_told():
    process = Process()
    assert process.ask(die, 3) == ("died", None)
    assert process.end() == 3


@pytest.mark.parametrize(
    ("stop", "kind"),
    [
        (Process.interrupt, "interrupted"),
        (Process.kill, "died"),
        (lambda process: process.start().stdin.close(), "died"),  # as when the server has gone
    ],
    ids=["interrupt", "kill", "gone"],
)
def test_an_order_is_stopped(tmp_path: Path, stop, kind: str):
    os.mkfifo(tmp_path / "pipe")
    process, waiting, found = Process(), threading.Event(), []
    order = threading.Thread(
        target=lambda: found.append(process.ask(wait, tmp_path / "pipe", tell=lambda told: waiting.set()))
    )
    order.start()
    with (tmp_path / "pipe").open() as pipe:  # opens when the other side does
        assert waiting.wait(60)
        stop(process)
        order.join()
        assert found == [(kind, None)]
        process.kill()
        assert pipe.read() == ""  # nobody holds it any more
