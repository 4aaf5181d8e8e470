"""What the learning curves of `bnlens.theory.dynamics` cost, and the simulations of `bnlens.simulate` beside drawing alone.

- curves: seconds of processor time for one solution to tau = 40 at 200 times, per system and unit, on one core; for BN with a
  ReLU unit also the table that is made once per batch size.
- simulations: processor time of `simulate_dynamics` over that of drawing the same random numbers with the same generators
  in the same blocks. The two take turns, and a ratio is taken within a repetition.
- memory: peak resident set of a fresh process that simulates to tau and to ten times tau.
- rival, with ``--statphys DIR``: processor time of a student of `simulate_dynamics` and of one of the online simulation of
  statphys-ml (github.com/Yuma-Ichikawa/StatPhysMLSimPlayground, a checkout in DIR), both SGD on a linear teacher.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from shared import of_fresh_process, parser, peak_mib, ratios, reach, save, spread, table, take_turns, timed

from bnlens.simulate import simulate_dynamics
from bnlens.simulate.dynamics import _Draws
from bnlens.theory.dynamics import SGD, BatchNorm, GammaDecay, System, WeightNorm
from bnlens.theory.dynamics._relu_batches import relu_batch_table

CURVE_TARGET, SIMULATION_TARGET = 0.050, 2.5  # seconds, and over drawing alone
CURVE_TAU, CURVE_TIMES = 40.0, 200
TABLE_SIZES = (4, 8, 32, 128, 256)
MEMORY_SIZE, MEMORY_TAU = 1000, 1.0
RIVAL_RUNS = 2


def systems() -> dict[str, System]:
    kinds: dict[type[System], dict[str, Any]] = {
        SGD: {},
        WeightNorm: {},
        GammaDecay: {"zeta": 0.1},
        BatchNorm: {"batch_size": 8},
    }
    return {
        f"{kind.__name__} {unit}": kind(unit=unit, learning_rate=1.0, label_noise=0.25, **more)
        for unit in ("linear", "relu")
        for kind, more in kinds.items()
    }


def start_of(system: System) -> dict[str, float]:
    return {"R": 0.2} if system.tied else {"gamma": 0.3, "R": 0.2}


def measure_curves(repeats: int) -> dict[str, dict[str, float]]:
    moments = np.linspace(0, CURVE_TAU, CURVE_TIMES + 1)
    # the turn that warms up makes the table of BN with a ReLU unit
    found = take_turns({name: partial(s.solve, moments, **start_of(s)) for name, s in systems().items()}, repeats)
    return {name: spread(times.processor) for name, times in found.items()}


def measure_tables(repeats: int) -> dict[str, dict[str, float]]:
    make = relu_batch_table.__wrapped__  # without the cache
    found = take_turns({str(M): partial(make, M) for M in TABLE_SIZES}, repeats, warm_up=False)
    return {M: spread(times.processor) for M, times in found.items()}


def draw(system: System, tau: float, size: int, runs: int) -> None:
    draws = _Draws(0, range(runs), system.batch_size, size, noisy=system.label_noise > 0)
    draws.weights(0.2, 1.0)
    left = round(tau * size)
    while left > 0:
        draws.samples(min(draws.block, left))
        left -= draws.block


def measure_simulations(tau: float, size: int, runs: int, repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    rows = {}
    for name, system in systems().items():
        variants = {
            "drawing": partial(draw, system, tau, size, runs),
            "whole": partial(simulate_dynamics, system, [tau], **start_of(system), size=size, runs=runs, seed=0),
        }
        alone, whole = (
            times.processor for times in take_turns(variants, repeats, title=f"{name}: ", warm_up=False).values()
        )
        rows[name] = {"seconds": spread(whole), "drawing_seconds": spread(alone), "ratio": spread(ratios(whole, alone))}
    return rows


def measure_rival(checkout: Path, tau: float, size: int, repeats: int) -> dict[str, Any]:
    """Seconds per student, theirs and ours in turns, and their ratio.

    Both report w . w* / N at the end, which comes to |w*|^2 / N: 1 here, and what they draw there.
    """
    sys.path.insert(0, str(checkout / "src"))
    from statphys.dataset import GaussianDataset
    from statphys.loss import RidgeLoss
    from statphys.model import LinearRegression
    from statphys.simulation import OnlineSimulation, SimulationConfig

    config = SimulationConfig.for_online(
        t_max=tau, t_steps=2, n_seeds=RIVAL_RUNS, lr=1.0, reg_param=0.0, verbose=False, use_theory=False
    )
    dataset = GaussianDataset(d=size, rho=1.0, eta=0.25)
    system = SGD(unit="linear", learning_rate=1.0, label_noise=0.25)
    theirs, ours, overlaps = [], [], {}
    for _ in range(repeats):
        found, seconds = timed(lambda: OnlineSimulation(config).run(dataset, LinearRegression, RidgeLoss(0.0)))
        theirs.append(seconds.processor / RIVAL_RUNS)
        simulated, seconds = timed(lambda: simulate_dynamics(system, [tau], size=size, runs=RIVAL_RUNS))
        ours.append(seconds.processor / RIVAL_RUNS)
        overlaps = {
            "statphys-ml": found.experiment_results["trajectories_mean"][-1][0],
            "bnlens": float(simulated.R[-1] * simulated.L[-1]),
        }
    return {
        "statphys_seconds_per_student": spread(theirs),
        "seconds_per_student": spread(ours),
        "ratio": spread(ratios(theirs, ours)),
        "overlap_at_the_end": overlaps,
    }


def memory_of(tau: float) -> float:
    """Peak resident set in MiB of a process that simulates to tau."""
    simulate_dynamics(systems()["WeightNorm linear"], [tau], size=MEMORY_SIZE)
    return peak_mib()


def main() -> None:
    arguments = parser(__file__, __doc__, repeats=3)
    arguments.add_argument("--tau", type=float, default=10.0, help="simulated time, steps / N (default %(default)s)")
    arguments.add_argument("--size", type=int, default=1000, help="weights N (default %(default)s)")
    arguments.add_argument("--runs", type=int, default=16, help="students (default %(default)s)")
    arguments.add_argument("--statphys", type=Path, metavar="DIR", help="checkout of statphys-ml to measure beside")
    arguments.add_argument("--memory-of", type=float, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        print(memory_of(options.memory_of))
        return

    result = {
        "config": {
            "repeats": options.repeats,
            "curve_tau": CURVE_TAU,
            "tau": options.tau,
            "size": options.size,
            "runs": options.runs,
            "seed": 0,
            "memory_size": MEMORY_SIZE,
            "memory_tau": [MEMORY_TAU, 10 * MEMORY_TAU],
        },
        "curve_target_seconds": CURVE_TARGET,
        "simulation_target_ratio": SIMULATION_TARGET,
        "peak_mib": [of_fresh_process(__file__, "--memory-of", str(tau)) for tau in (MEMORY_TAU, 10 * MEMORY_TAU)],
        "curve_seconds": measure_curves(options.repeats),
        "table_seconds": measure_tables(options.repeats),
        "simulations": measure_simulations(options.tau, options.size, options.runs, options.repeats),
    }
    if options.statphys is not None:
        result["rival"] = measure_rival(options.statphys, options.tau, options.size, options.repeats)
    show(result)
    save(options.out, result)


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    config = result["config"]
    students = f"{config['runs']} students of {config['size']} weights to tau = {config['tau']:g}"
    shown = table(
        *("system", "curve ms", "target", "simulation s", "drawing s", "ratio", "range", "target"),
        title=f"curves to tau = {config['curve_tau']:g}; {students}",
    )
    for name, row in result["simulations"].items():
        shown.add_row(
            name,
            f"{1000 * result['curve_seconds'][name]['median']:.1f}",
            f"<= {1000 * result['curve_target_seconds']:.0f}",
            f"{row['seconds']['median']:.2f}",
            f"{row['drawing_seconds']['median']:.2f}",
            f"{row['ratio']['median']:.2f}",
            reach(row["ratio"]),
            f"<= {result['simulation_target_ratio']}",
        )
    console = Console(width=120)
    console.print(shown)
    tables = ", ".join(f"{row['median']:.2f} (M = {M})" for M, row in result["table_seconds"].items())
    console.print(f"tables of BN with a ReLU unit, seconds: {tables}")
    if rival := result.get("rival"):
        console.print(f"statphys-ml takes {rival['ratio']['median']:.0f} times as long per student")
    console.print("peak MiB to tau = {} and {}: {:.0f} and {:.0f}".format(*config["memory_tau"], *result["peak_mib"]))


if __name__ == "__main__":
    main()
