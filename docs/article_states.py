"""Compute the states that the article's figures show and the numbers in its text.

Core claims are run, or read where they have been run before; those on real images are read from the benchmarks' results.

Run: python docs/article_states.py bnlens-out benchmarks/results   (as `make article` does)
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from article_digits import noise, picture
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize_scalar

from bnlens import theory
from bnlens.claims import get_claims, reproduce, run_data
from bnlens.experiments.unit import make_unit, simulate_gaps
from bnlens.runs import Job
from bnlens.theory import dynamics, generalization
from bnlens.theory.learning_rate import max_learning_rate, stationary_state
from bnlens.web.article.states import PICTURE, STATES

_UNIT_SIZES, _SAMPLES = [8, 16, 32, 64, 128, 256], 500_000
_RATE_SIZES, _SIMULATED_SIZES = (8, 16, 32, 64, 128), (8, 16)
_EPOCHS = [25, 50, 100, 200, 400, 800]
_CORE = ("D1", "D2", "D3", "D4", "D6", "G2", "G3a", "G3b", "L1", "L3a", "L3b", "L4")


def theorem() -> list[dict[str, Any]]:
    """The paper's unit: population loss over gamma, its two terms times M, and where their sum is lowest."""
    found = []
    for name in ("gaussian", "laplace"):
        best = theory.optimal_gamma("softplus_glm", name)
        grid = np.linspace(0.4, 1.6, 61) * best
        laws = [theory.gap_law("softplus_glm", name, gamma=gamma) for gamma in grid]
        loss = np.r_[0, np.cumsum(np.diff(grid) * [a.G_g / 2 + b.G_g / 2 for a, b in pairwise(laws)])]
        mean, std = ([getattr(law.two_term_shares, share) for law in laws] for share in ("mean", "std"))
        total = np.add(mean, std)
        lowest = {M: _lowest(CubicSpline(grid, loss + total / M), grid[0], best) for M in _RATE_SIZES}
        at = theory.gap_law("softplus_glm", name, gamma=best)
        found.append(
            {
                "distribution": name,
                "excess_kurtosis": at.excess_kurtosis,
                "gamma": grid,
                "loss": loss - loss.min(),
                "mean": mean,
                "std": std,
                "optimum": best,
                "at_optimum": [at.two_term_shares.mean, at.two_term_shares.std],
                "lowest": lowest,
            }
        )
    return found


def _lowest(curve: Callable[[float], Any], start: float, end: float) -> float:
    return float(minimize_scalar(lambda place: float(curve(place)), bounds=(start, end)).x)


def units() -> list[dict[str, Any]]:
    """The cases of claim D1: the gap of a unit simulated over M, beside the two-term value and the own-batch law."""
    found = []
    for job in _plan("D1"):
        config = dict(job.config)
        if "statistics" in config:
            continue
        place = {name: config[name] for name in ("unit", "distribution", "at_optimum")}
        unit, point = (
            make_unit(config["unit"], config["at_optimum"]),
            {name: config[name] for name in ("gamma", "beta")},
        )
        law = theory.gap_law(unit, config["distribution"], **point)
        gaps = simulate_gaps(**config | {"batch_sizes": _UNIT_SIZES, "samples": _SAMPLES})
        gap, stderr = ([M * gaps[f"both-M{M}"][key] for M in _UNIT_SIZES] for key in ("gap", "stderr"))
        values = {"law": law.coefficient("own"), "two_term": law.two_term}
        found.append({**place, **values, "M": _UNIT_SIZES, "gap": gap, "stderr": stderr})
    return found


def network(trained: Sequence[Mapping[str, Any]], reach: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The two trained networks of claim D5: gap, shares of the layers, layers alone, and two-term values; nats per image."""
    found = []
    for net in ("cnn", "resnet"):
        report = next(row for row in reach if row["case"] == f"d5 {net}")
        for M in (16, 64):
            same = [row for row in trained if row["network"] == f"{net}-seed0" and row["M"] == M]
            paper = {row["layer"]: row["two-term"] for row in same}
            columns = (report[name] for name in ("names", f"shares at {M}", f"alone at {M}"))
            layers = [
                {"layer": name, "share": share, "alone": alone, "two_term": paper[name]}
                for name, share, alone in zip(*columns, strict=True)
            ]
            gap = [report[f"gap at {M}"], report[f"gap stderr at {M}"]]
            found.append({"net": net, "M": M, "gap": gap, "two_term": paper["(network)"], "layers": layers})
    return found


def rates() -> list[dict[str, Any]]:
    """Where training at frozen norm ends over the learning rate, and gamma over time, for BN, its model and WN."""
    found = []
    for unit in ("linear", "relu"):
        for M in _RATE_SIZES:
            arguments: dict[str, Any] = {"unit": unit, "learning_rate": 1.0, "batch_size": M}
            batch_norm, weight_norm = dynamics.BatchNorm(**arguments), dynamics.WeightNorm(**arguments)
            systems = {"batch_norm": batch_norm, "gamma_decay": batch_norm.as_gamma_decay(), "weight_norm": weight_norm}
            found.append({"unit": unit, "M": M, "systems": {name: _system(one) for name, one in systems.items()}})
    return found


def _system(system: dynamics.System) -> dict[str, Any]:
    from bnlens.simulate import simulate_dynamics

    largest, M = max_learning_rate(system), system.batch_size
    relative = sorted({*np.linspace(0.1, 1.8, 18).round(3).tolist(), round(largest / (2 * M), 4)})
    ends = [stationary_state(replace(system, learning_rate=2 * M * rate)).R for rate in relative]
    tau, times = np.linspace(0, 12, 25), [1.0, 2.0, 4.0, 6.0, 9.0, 12.0]
    start: dict[str, Any] = {"gamma": 0.3, "R": 0.2, "freeze_norm": True}
    drawn: dict[str, Any] = {"size": 200, "runs": 12, "seed": 7}
    path = system.solve(tau, **start)
    found = {"largest": largest, "rate": relative, "R": ends, "tau": tau, "gamma": path.gamma}
    if M in _SIMULATED_SIZES:
        students = simulate_dynamics(system, times, **start, **drawn)
        found |= {"times": times, "simulated": students.gamma, "stderr": students.gamma_stderr}
    if min(_SIMULATED_SIZES) == M:
        tried = [0.6, 0.8, 1.0, 1.2, 1.4, 1.7]
        start = {"gamma": 1.0, "R": 0.9, "freeze_norm": True}
        fast = [replace(system, learning_rate=2 * M * rate) for rate in tried]
        found |= {"tried": tried, "settled": [simulate_dynamics(one, [20.0], **start, **drawn).R[0] for one in fast]}
    return found


def students(ended: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The linear students of claim G3a after more and fewer epochs, and where training ends: closed curves and claim G3b."""
    jobs = {job.name: job for job in _plan("G3a")}
    trained = {}
    for name in ("BN", "decay", "SGD"):
        job = jobs[f"{name}-linear"]
        errors = np.array(job.function(**{**job.config, "epochs": _EPOCHS})["errors"])  # (loads, epochs, runs)
        stderr = errors.std(-1, ddof=1).T / errors.shape[-1] ** 0.5
        trained[name] = {"error": errors.mean(-1).T, "stderr": stderr, "loads": job.config["alpha"]}
    config = jobs["decay-linear"].config["parameters"]
    noisy: dict[str, Any] = {"label_noise": 0.25}  # as the claims have it
    curves: dict[str, generalization.Estimator] = {
        "BN": generalization.BatchNorm(batch_size=config["batch_size"], **noisy),
        "decay": generalization.WeightNormDecay(zeta=config["zeta"], **noisy),
        "SGD": generalization.LeastSquares(**noisy),
    }
    alpha = np.unique(np.r_[np.linspace(0.4, 0.95, 18), 1 + np.linspace(-0.04, 0.04, 8), np.geomspace(1.06, 4, 26)])
    ends = {name: generalization.learning_curve(one, alpha).error for name, one in curves.items()}
    at_one = generalization.learning_curve(curves["decay"], [1.0]).error[0]
    last = [row for row in ended if row["M"] == config["batch_size"]]
    columns = {"loads": "load", "error": "batch norm", "stderr": "batch norm stderr"}
    return {
        "epochs": _EPOCHS,
        "trained": trained,
        "alpha": alpha,
        "ends": ends,
        "decay_at_one": at_one,
        "ended": {name: [row[column] for row in last] for name, column in columns.items()},
    }


def ratios(findings: Mapping[str, Mapping[str, Any]]) -> dict[str, list[float]]:
    """The paper's value over the computed one, lowest and highest, for the picture at the start; and the slopes of claim D2."""

    def rows(name: str, **wanted: Any) -> list[Mapping[str, Any]]:
        return [row for row in findings[name]["rows"] if all(row[key] == value for key, value in wanted.items())]

    plain = [row for row in rows("D1", at="optimum") if row["pre-activations"] != "exponential"]
    shrunk = [
        row
        for row in rows("D3")
        if row["unit"] in ("linear", "ReLU", "softplus GLM") and row["pre-activations"] != "exponential"
    ]
    nets = {whole: [row for row in rows("D5") if (row["layer"] == "(network)") == whole] for whole in (True, False)}
    rated = rows("L4", **{"trained by": "BN"})
    trained = [row for row in rows("G3a", unit="linear") if row["load"] >= 1]
    ended = [row for row in rows("G3b") if row["load"] >= 1]
    pairs: dict[str, Iterable[float]] = {
        "slope": (row["slope"] for row in rows("D2")),
        "own noise": (row["two-term / gap"] for row in rows("D6", at="optimum")),
        "optimum": (row["two-term / gap"] for row in plain),
        "away": (row["two-term / gap"] for row in rows("D1", at="away from it")),
        "shrink": (row["decay / shrink"] for row in shrunk),
        "networks": (row["two-term / measured"] for row in nets[True]),
        "layers": (row["two-term / measured"] for row in nets[False]),
        "largest rate": (row["claimed at least"] / row["η_max"] for row in rows("L3b")),
        "effective rate": (row["claimed at least"] / row["η_eff, simulated"] for row in rated),
        "100 epochs": (row["curve, 1/(2M)"] / row["BN"] for row in trained),
        "end": (row["ridge, λ = 3α/(2M)"] / row["batch norm"] for row in ended),
    }
    return {name: [min(values), max(values)] for name, values in ((name, list(some)) for name, some in pairs.items())}


def read_findings(folder: Path, results: Path) -> dict[str, Mapping[str, Any]]:
    """The core claims at scale quick, which are run if ``folder`` has them not, and those on CIFAR-10; by id."""
    core = reproduce(get_claims(_CORE), out=folder, workers=1)
    trained = [_read(results / name)["claims"] for name in ("d5_cifar10.json", "dial_cifar10.json")]
    return {one["id"]: one for some in ([run_data(run) for run in core.runs], *trained) for one in some}


def compute(folder: Path, results: Path, progress: Callable[[str], object] = print) -> dict[str, Any]:
    """Return everything that the article shows, as JSON data with four significant digits.

    Args:
        folder: where `bnlens reproduce` writes.
        results: folder of the benchmarks' results.
        progress: is told the scene that is begun.
    """
    findings = read_findings(folder, results)
    headline = ("verdict", "measured", "predicted", "stderr")
    reach = _read(results / "report_reach.json")["rows"]
    scenes: dict[str, Callable[[], Any]] = {
        "claims": lambda: {name: {key: one[key] for key in headline} for name, one in findings.items()},
        "ratios": partial(ratios, findings),
        "noise": noise,
        "theorem": theorem,
        "units": units,
        "network": partial(network, findings["D5"]["rows"], reach),
        "rates": rates,
        "students": partial(students, findings["G3b"]["rows"]),
    }
    found = {}
    for name, scene in scenes.items():
        progress(name)
        found[name] = _plain(scene())
    return found


def _plan(name: str) -> Sequence[Job]:
    (claim,) = get_claims([name])
    return claim.plan()


def _plain(value: Any) -> Any:
    """Return JSON data with floats to four significant digits."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(each) for each in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.4g}") if np.isfinite(value) else None
    return value


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    states = compute(Path(sys.argv[1]), Path(sys.argv[2]))
    PICTURE.write_bytes(picture())
    STATES.write_text(json.dumps(states, separators=(",", ":"), ensure_ascii=False) + "\n", encoding="utf-8")
