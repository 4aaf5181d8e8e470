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
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine_facts
from repetitions import peak_mib, spread
from rich.console import Console
from rich.table import Table

from bnlens._files import write_atomic
from bnlens.simulate import simulate_dynamics
from bnlens.simulate.dynamics import _Draws
from bnlens.theory.dynamics import SGD, BatchNorm, GammaDecay, System, WeightNorm
from bnlens.theory.dynamics._relu_batches import relu_batch_table

UNITS = ("linear", "relu")
CURVE_TARGET, SIMULATION_TARGET = 0.050, 2.5  # seconds, and over drawing alone
CURVE_TAU, CURVE_TIMES = 40.0, 200
TABLE_SIZES = (4, 8, 32, 128, 256)
MEMORY_SIZE, MEMORY_TAU = 1000, 1.0
RIVAL_RUNS = 2
OUT = Path(__file__).parent / "results" / "theory_cost.json"


def systems(unit: str) -> dict[str, System]:
    usual: dict[str, Any] = {"unit": unit, "learning_rate": 1.0, "label_noise": 0.25}
    return {
        "SGD": SGD(**usual),
        "WeightNorm": WeightNorm(**usual),
        "GammaDecay": GammaDecay(**usual, zeta=0.1),
        "BatchNorm": BatchNorm(**usual, batch_size=8),
    }


def start_of(system: System) -> dict[str, float]:
    return {"R": 0.2} if system.tied else {"gamma": 0.3, "R": 0.2}


def processor_seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def measure_curves(repeats: int) -> dict[str, dict[str, float]]:
    times = np.linspace(0, CURVE_TAU, CURVE_TIMES + 1)
    rows = {}
    for unit in UNITS:
        for name, system in systems(unit).items():
            system.solve([0.1], **start_of(system))  # makes the table of BN with a ReLU unit
            seconds = [processor_seconds(lambda s=system: s.solve(times, **start_of(s))) for _ in range(repeats)]
            rows[f"{name} {unit}"] = spread(seconds)
    return rows


def measure_tables(repeats: int) -> dict[str, dict[str, float]]:
    make = relu_batch_table.__wrapped__  # without the cache
    return {str(M): spread([processor_seconds(lambda M=M: make(M)) for _ in range(repeats)]) for M in TABLE_SIZES}


def draw(system: System, tau: float, size: int, runs: int) -> None:
    draws = _Draws(0, range(runs), system.batch_size, size, noisy=system.label_noise > 0)
    draws.weights(0.2, 1.0)
    left = round(tau * size)
    while left > 0:
        draws.samples(min(draws.block, left))
        left -= draws.block


def measure_simulations(tau: float, size: int, runs: int, repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    rows = {}
    for unit in UNITS:
        for name, system in systems(unit).items():
            print(f"{name} {unit}", file=sys.stderr, flush=True)
            whole, alone = [], []
            for _ in range(repeats):
                alone.append(processor_seconds(lambda s=system: draw(s, tau, size, runs)))
                whole.append(
                    processor_seconds(
                        lambda s=system: simulate_dynamics(s, [tau], **start_of(s), size=size, runs=runs, seed=0)
                    )
                )
            rows[f"{name} {unit}"] = {
                "seconds": spread(whole),
                "drawing_seconds": spread(alone),
                "ratio": spread([a / b for a, b in zip(whole, alone, strict=True)]),
            }
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
        start = time.process_time()
        found = OnlineSimulation(config).run(dataset, LinearRegression, RidgeLoss(0.0))
        theirs.append((time.process_time() - start) / RIVAL_RUNS)
        start = time.process_time()
        simulated = simulate_dynamics(system, [tau], size=size, runs=RIVAL_RUNS)
        ours.append((time.process_time() - start) / RIVAL_RUNS)
        overlaps = {
            "statphys-ml": found.experiment_results["trajectories_mean"][-1][0],
            "bnlens": float(simulated.R[-1] * simulated.L[-1]),
        }
    return {
        "statphys_seconds_per_student": spread(theirs),
        "seconds_per_student": spread(ours),
        "ratio": spread([a / b for a, b in zip(theirs, ours, strict=True)]),
        "overlap_at_the_end": overlaps,
    }


def measure_memory(tau: float) -> float:
    """Peak resident set in MiB of a fresh process that simulates to tau."""
    command = [sys.executable, __file__, "--memory-of", str(tau)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603


def memory_of(tau: float) -> float:
    simulate_dynamics(systems("linear")["WeightNorm"], [tau], size=MEMORY_SIZE)
    return peak_mib()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="repetitions of each measurement (default %(default)s)")
    parser.add_argument("--tau", type=float, default=10.0, help="simulated time, steps / N (default %(default)s)")
    parser.add_argument("--size", type=int, default=1000, help="weights N (default %(default)s)")
    parser.add_argument("--runs", type=int, default=16, help="students (default %(default)s)")
    parser.add_argument("--out", type=Path, default=OUT, help="JSON file to write (default %(default)s)")
    parser.add_argument("--statphys", type=Path, metavar="DIR", help="checkout of statphys-ml to measure beside")
    parser.add_argument("--memory-of", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        print(memory_of(options.memory_of))
        return

    result = {
        "benchmark": "theory_cost",
        "machine": machine_facts(),
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
        "peak_mib": [measure_memory(MEMORY_TAU), measure_memory(10 * MEMORY_TAU)],
        "curve_seconds": measure_curves(options.repeats),
        "table_seconds": measure_tables(options.repeats),
        "simulations": measure_simulations(options.tau, options.size, options.runs, options.repeats),
    }
    if options.statphys is not None:
        result["rival"] = measure_rival(options.statphys, options.tau, options.size, options.repeats)
    write_atomic(options.out, json.dumps(result, indent=2) + "\n")
    show(result)
    print(f"written to {options.out}")


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    config = result["config"]
    students = f"{config['runs']} students of {config['size']} weights to tau = {config['tau']:g}"
    table = Table(title=f"curves to tau = {config['curve_tau']:g}; {students}")
    for column in ("system", "curve ms", "target", "simulation s", "drawing s", "ratio", "range", "target"):
        table.add_column(column, justify="left" if column == "system" else "right")
    for name, row in result["simulations"].items():
        table.add_row(
            name,
            f"{1000 * result['curve_seconds'][name]['median']:.1f}",
            f"<= {1000 * result['curve_target_seconds']:.0f}",
            f"{row['seconds']['median']:.2f}",
            f"{row['drawing_seconds']['median']:.2f}",
            f"{row['ratio']['median']:.2f}",
            f"{row['ratio']['min']:.2f} - {row['ratio']['max']:.2f}",
            f"<= {result['simulation_target_ratio']}",
        )
    console = Console(width=120)
    console.print(table)
    tables = ", ".join(f"{row['median']:.2f} (M = {M})" for M, row in result["table_seconds"].items())
    console.print(f"tables of BN with a ReLU unit, seconds: {tables}")
    if rival := result.get("rival"):
        console.print(f"statphys-ml takes {rival['ratio']['median']:.0f} times as long per student")
    console.print("peak MiB to tau = {} and {}: {:.0f} and {:.0f}".format(*config["memory_tau"], *result["peak_mib"]))


if __name__ == "__main__":
    main()
