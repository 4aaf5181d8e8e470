"""Simulations run beside the pages: bounded, stoppable, and out of the way."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from bnlens.errors import UsageError
from bnlens.web.answers import Answers
from bnlens.web.jobs import GoneError, Limits, OverloadedError
from bnlens.web.labs import LABS

DYNAMICS = next(lab for lab in LABS if lab.id == "dynamics")
GAP = LABS[0]
ENDLESS = DYNAMICS.read({"simulate": "yes", "size": "400", "runs": "16", "tau": "100", "batch_size": "8"})
SHORT = GAP.read({"simulate": "yes", "samples": "50000"})


async def stays() -> bool:
    return False


def running(answers: Answers) -> list:
    """Live worker processes that are at work."""
    return [process for process in answers.workers.busy if process.is_alive]


def test_time_is_limited_and_the_process_ends():
    async def go() -> None:
        answers = Answers(Limits(workers=1, seconds=0.5))
        with pytest.raises(OverloadedError, match="longer than 0"):
            await answers.find(DYNAMICS, ENDLESS, gone=stays)
        assert not running(answers)
        assert answers.workers.asked == 0
        answers.close()

    asyncio.run(go())


def test_a_reader_who_leaves_stops_the_computation():
    async def go() -> None:
        answers = Answers(Limits(workers=1))
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
        answers.close()

    asyncio.run(go())


def test_cheap_answers_do_not_wait_for_simulations():
    async def go() -> None:
        answers = Answers(Limits(workers=1, waiting=1))
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
        assert not running(answers)
        assert answers.workers.asked == 0
        answers.close()

    asyncio.run(go())


def test_answers_are_remembered_up_to_a_number():
    async def go() -> None:
        answers = Answers(Limits(memory=2))
        states = [GAP.read({"batch_size": size}) for size in ("8", "16", "64")]
        first = await answers.find(GAP, states[0], gone=stays)
        assert await answers.find(GAP, states[0], gone=stays) is first
        for state in states[1:]:
            await answers.find(GAP, state, gone=stays)
        assert await answers.find(GAP, states[0], gone=stays) is not first
        answers.close()

    asyncio.run(go())


def test_library_errors_cross_the_process():
    async def go() -> None:
        answers = Answers(Limits(workers=1))
        state = DYNAMICS.read(
            {"system": "sgd", "learning_rate": "50", "batch_size": "1", "simulate": "yes", "size": "100", "runs": "2"}
        )
        with pytest.raises(UsageError, match="diverges"):
            await answers.find(DYNAMICS, state, gone=stays)
        answers.close()

    asyncio.run(go())
