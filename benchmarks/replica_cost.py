"""What a replica-symmetric learning curve of a ReLU student costs: 40 loads, processor time summed over threads.

Each repetition solves the whole curve anew. The accuracy stands beside the cost: the largest relative difference of the
error from that of a quadrature with 24 nodes in place of 8 on every panel, and twice as many panels.
"""

from __future__ import annotations

import sys

import numpy as np
from shared import parser, reach, save, spread, timed

from bnlens.theory.generalization import ReluRidge, _field_averages, learning_curve, solve_replica

LOADS = 40
DECAY, LABEL_NOISE = 0.25, 0.25
TIME_TARGET, ACCURACY_TARGET = 3.0, 1e-4


def curve(teacher: str, decay: float, alpha: np.ndarray) -> np.ndarray:
    return learning_curve(ReluRidge(decay=decay, label_noise=LABEL_NOISE, teacher=teacher), alpha).error  # type: ignore[arg-type]


def refine() -> None:
    """Make the quadrature of this process finer."""
    steps = np.array(_field_averages._STEPS)
    _field_averages._STEPS = tuple(np.sort(np.concatenate([steps, (steps[1:] + steps[:-1]) / 2])).tolist())
    _field_averages._NODES, _field_averages._WEIGHTS = np.polynomial.legendre.leggauss(24)
    _field_averages._Z_GRID = _field_averages._z_grid()


def main() -> None:
    options = parser(__file__, __doc__, repeats=9).parse_args()
    alpha = np.geomspace(0.2, 10, LOADS)
    cases = [(teacher, decay) for teacher in ("relu", "linear") for decay in (DECAY, 0.05)]
    rows = {}
    for teacher, decay in cases:
        found = [timed(lambda case=(teacher, decay): curve(*case, alpha)) for _ in range(options.repeats)]
        solution = solve_replica(1.0, decay=decay, label_noise=LABEL_NOISE, teacher=teacher)  # type: ignore[arg-type]
        rows[f"{teacher} teacher, decay {decay:g}"] = {
            "processor_seconds": spread([seconds.processor for _, seconds in found]),
            "iterations_from_cold_at_load_1": solution.iterations,
            "errors": found[0][0].tolist(),
        }
    refine()
    for (teacher, decay), row in zip(cases, rows.values(), strict=True):
        finer = curve(teacher, decay, alpha)
        row["largest_relative_difference"] = float(np.max(np.abs(np.array(row.pop("errors")) / finer - 1)))
    result = {
        "config": {"loads": LOADS, "alpha": [0.2, 10.0], "label_noise": LABEL_NOISE, "repeats": options.repeats},
        "time_target_seconds": TIME_TARGET,
        "accuracy_target": ACCURACY_TARGET,
        "curves": rows,
    }
    for name, row in rows.items():
        time_of = row["processor_seconds"]
        print(
            f"{name}: {time_of['median']:.2f} s ({reach(time_of)}) for {LOADS} loads, "
            f"relative difference {row['largest_relative_difference']:.0e}"
        )
    save(options.out, result)
    worst = max(row["largest_relative_difference"] for row in rows.values())
    if worst > ACCURACY_TARGET:
        sys.exit(f"the quadrature is off by {worst:.1e}, more than {ACCURACY_TARGET:.0e}")


if __name__ == "__main__":
    main()
