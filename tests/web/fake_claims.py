"""The claims of bnlens with jobs that take no time: each says which verdict it wants.

The process of a run imports `register` by name and inherits the environment, so a gate is named there: a job that waits
goes on when that file exists.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from bnlens import render
from bnlens.claims import Claim, Finding, Results, Setup, claims
from bnlens.runs import Job

GATE = "BNLENS_TEST_GATE"
PATIENCE = 600.0  # seconds after which a job that waits for a gate fails

# Claim -> verdict at scale quick; those not listed hold.
VERDICTS = {
    "D2": "holds approximately",
    **dict.fromkeys(("D3", "G3a", "E1"), "does not hold here"),
    "N4": "premise not met",
}
PARTS = {"D1": {"at the optimum": "holds", "away from the optimum": "does not hold here"}}
FAILS = "D4"
WAITS = "L1"


def measure(claim: str, verdict: str, value: float) -> dict[str, Any]:
    return {"claim": claim, "verdict": verdict, "value": value}


def fail(claim: str) -> dict[str, Any]:
    raise ValueError("the matrix is singular")


def wait(claim: str, gate: str) -> dict[str, Any]:
    end = time.monotonic() + PATIENCE
    while not Path(gate).exists():
        if time.monotonic() > end:
            raise TimeoutError("nobody opened the gate")
        time.sleep(0.02)
    return {"verdict": "holds", "value": 3.0}


def register() -> Mapping[str, Claim]:
    changes = {"judge": judge, "figure": figure, "parameters": None}
    return {name: replace(claim, jobs=Jobs(name), **changes) for name, claim in claims().items()}


class Jobs:
    """What a claim computes; quick and full differ in the number, and G1 also in the verdict."""

    def __init__(self, claim: str) -> None:
        self.claim = claim

    def __call__(self, setup: Setup) -> Sequence[Job]:
        claim, full = self.claim, setup.scale == "full"
        verdict = "does not hold here" if (claim, full) == ("G1", True) else VERDICTS.get(claim, "holds")
        jobs = [Job("first", measure, {"claim": claim, "verdict": verdict, "value": 2.0 if full else 1.0}, cost=9)]
        if claim == FAILS:
            jobs.append(Job("bad", fail, {"claim": claim}))
        if claim == WAITS:
            jobs.append(Job("gate", wait, {"claim": claim, "gate": os.environ.get(GATE, "")}))
        return jobs


def judge(results: Results) -> Finding:
    first, *_ = found = [result for _, result in results]
    rows = [{"job": number, "value": result["value"], "note": "a < b, =c"} for number, result in enumerate(found)]
    parts = PARTS.get(first["claim"], {})
    return Finding(first["verdict"], first["value"], 1.0, 0.25, f"It is {first['value']}.", rows, parts=parts)


def figure(results: Results) -> go.Figure:
    fig = render.new_figure(x="job", y="value")
    fig.add_scatter(y=[result["value"] for _, result in results])
    return fig
