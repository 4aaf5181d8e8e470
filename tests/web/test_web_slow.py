"""Simulations run beside the pages: bounded, stoppable, and out of the way."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from anyio import CapacityLimiter

from bnlens.errors import UsageError
from bnlens.web.errors import GoneError, OverloadedError
from bnlens.web.labs.answers import Answers
from bnlens.web.labs.lab import LABS
from bnlens.web.slow import Limits, in_process

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
        assert answers.slow.asked == 0

    asyncio.run(go())


async def at_work(answers: Answers) -> None:
    """Wait until a computation has begun."""
    while not answers.slow.asked:
        await asyncio.sleep(0.01)


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
        await at_work(answers)
        left.set()
        with pytest.raises(GoneError):
            await task
        result = await answers.find(GAP, SHORT, gone=stays)  # the place is free again
        assert result.rows

    play(act, workers=1)


def test_cheap_answers_do_not_wait_for_simulations():
    async def act(answers: Answers) -> None:
        long = [asyncio.create_task(answers.find(DYNAMICS, ENDLESS, gone=stays)) for _ in range(2)]
        await at_work(answers)
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
    async def act(answers: Answers) -> None:
        with pytest.raises(UsageError, match="That cannot be"):
            await answers.slow.answer(refuse, gone=stays)

    play(act, workers=1)


def refuse() -> None:
    raise UsageError("That cannot be.")


def fail() -> None:
    raise ZeroDivisionError("of nothing")


def die() -> None:
    os._exit(3)


def wait(pipe: Path) -> None:
    """Hold the pipe until the process ends."""
    with pipe.open("w"):
        time.sleep(600)


def priority() -> int:
    return os.nice(0)


def in_turn(*functions: Callable[[], Any]) -> list[Any]:
    """Results of functions in one worker process, or what they raised."""

    async def go() -> list[Any]:
        return await asyncio.gather(*(in_process(one, function) for function in functions), return_exceptions=True)

    one = CapacityLimiter(1)
    return asyncio.run(go())


def test_a_process_answers_again_whatever_happened_before():
    first, refused, failed, died, last = in_turn(os.getpid, refuse, fail, die, os.getpid)
    assert (type(refused), str(refused)) == (UsageError, "That cannot be.")
    assert str(failed).splitlines()[-1] == "ZeroDivisionError: of nothing"
    assert "ended before" in str(died)
    assert len({os.getpid(), first, last}) == 3


def test_a_worker_makes_way_for_pages():
    assert in_turn(priority)[0] > os.nice(0)


def test_a_cancelled_caller_ends_the_process(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")

    async def go() -> None:
        task = asyncio.create_task(in_process(CapacityLimiter(1), wait, tmp_path / "pipe"))
        with await asyncio.to_thread((tmp_path / "pipe").open) as pipe:  # opens when the other side does
            task.cancel()
            assert await asyncio.to_thread(pipe.read) == ""  # nobody holds it any more
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())


SERVER = """
import asyncio, sys
sys.path[:0] = {path!r}
from anyio import CapacityLimiter
from bnlens.web.slow import in_process
from web.test_web_slow import wait
from pathlib import Path
if __name__ == "__main__":
    asyncio.run(in_process(CapacityLimiter(1), wait, Path({pipe!r})))
"""


def test_a_server_that_is_killed_leaves_no_process(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    script = tmp_path / "server.py"
    script.write_text(SERVER.format(path=sys.path, pipe=str(tmp_path / "pipe")))
    server = subprocess.Popen([sys.executable, script])
    with (tmp_path / "pipe").open() as pipe:
        server.kill()
        server.wait()
        assert pipe.read() == ""
