"""Students on fixed training sets: learning curves, and batch norm and gamma decay beside ridge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bnlens.theory.generalization import Estimator

__all__ = [
    "LABEL_NOISE",
    "compare_batch_norm",
    "compare_gamma_decay",
    "make_estimator",
    "simulate_curve",
    "train_by_sgd",
]

LABEL_NOISE = 0.25


def make_estimator(kind: str, *, dimension: int | None = None, **parameters: Any) -> Estimator:
    """Return an estimator of the theory with the label noise of the claims; `dimension` where its law knows finite N."""
    from bnlens.theory import generalization as theory

    kinds = {
        "least squares": theory.LeastSquares,
        "ridge": theory.Ridge,
        "gamma decay": theory.WeightNormDecay,
        "batch norm": theory.BatchNorm,
        "relu": theory.ReluRidge,
    }
    if kind in ("least squares", "batch norm"):
        parameters["dimension"] = dimension
    estimator: Estimator = kinds[kind](label_noise=LABEL_NOISE, **parameters)
    return estimator


def simulate_curve(
    *, estimator: Mapping[str, Any], alpha: Sequence[float], dimension: int, runs: int, seed: int, start: str = "small"
) -> dict[str, Any]:
    """Simulate mean errors and training objectives per sample over training sets, with standard errors, one per load."""
    from bnlens.simulate.generalization import simulate_learning_curve

    more: dict[str, Any] = {"dimension": dimension, "runs": runs, "seed": seed, "start": start}
    simulated = simulate_learning_curve(make_estimator(**estimator), alpha, **more)
    found = {"error": simulated.error, "stderr": simulated.error_stderr, "norm": simulated.norm}
    found["training_error"] = simulated.training_error
    return {name: values.tolist() for name, values in found.items()}


def compare_gamma_decay(*, zeta: float, alpha: Sequence[float], dimension: int, runs: int, seed: int) -> dict[str, Any]:
    """Compare gamma decay descended in (w, gamma) beside ridge, on the same training sets.

    Returns per load the largest distance |v - v_ridge| / |v_ridge| over the runs, and the mean error with its standard
    error.
    """
    import numpy as np

    from bnlens.simulate.generalization import draw_training_set, fit_student
    from bnlens.theory.generalization import gamma_decay_to_ridge

    result: dict[str, Any] = {"distance": [], "error": [], "stderr": []}
    for load in alpha:
        decayed = make_estimator("gamma decay", zeta=zeta)
        ridge = make_estimator("ridge", decay=gamma_decay_to_ridge(zeta, load))
        distances, errors = [], []
        for run in range(runs):
            P = round(load * dimension)
            generator = np.random.default_rng([seed, P, run])
            data = draw_training_set(samples=P, dimension=dimension, label_noise=LABEL_NOISE, seed=generator)
            student, target = fit_student(decayed, data, seed=generator), fit_student(ridge, data)
            length = np.linalg.norm(target.weights)
            distances.append(float(np.linalg.norm(student.weights - target.weights) / length))
            errors.append(student.error(data))
        result["distance"].append(max(distances))
        result["error"].append(float(np.mean(errors)))
        result["stderr"].append(float(np.std(errors, ddof=1) / np.sqrt(runs)))
    return result


def train_by_sgd(
    *,
    kind: str,
    parameters: Mapping[str, Any],
    alpha: Sequence[float],
    epochs: Sequence[int],
    dimension: int,
    runs: int,
    seed: int,
) -> dict[str, Any]:
    """Train students by SGD with the label noise of the claims; the errors are by load, then by epoch, then by run."""
    from bnlens.experiments.dynamics import make_system
    from bnlens.simulate.generalization import train_students

    system = make_system(kind, label_noise=LABEL_NOISE, **parameters)
    more: dict[str, Any] = {"dimension": dimension, "epochs": epochs, "runs": runs, "seed": seed}
    return {"errors": [train_students(system, samples=round(load * dimension), **more).tolist() for load in alpha]}


def compare_batch_norm(
    *, batch_size: int, alpha: Sequence[float], dimension: int, runs: int, seed: int
) -> dict[str, Any]:
    """Compare batch norm at its stationary point with least squares, whole and shrunken, and ridge, on the same training sets.

    Errors are medians over the runs, because near P = N means hang on few of them; the standard error of a median is
    1.25 times that of a mean of Gaussian runs with the same interquartile range. Least squares and ridge have an
    intercept fitted, as batch norm has one; shrunken least squares is it times c_M/c_P. Cosines and norms are means.
    """
    import numpy as np

    from bnlens.simulate.generalization import Student, draw_training_set, fit_student
    from bnlens.theory import mean_std
    from bnlens.theory.generalization import paper_gamma_decay

    estimators = {
        "batch norm": make_estimator("batch norm", batch_size=batch_size),
        "least squares": make_estimator("least squares"),
        "ridge": make_estimator("gamma decay", zeta=paper_gamma_decay(batch_size)),
    }
    per_load = []
    for load in alpha:
        P = round(load * dimension)
        columns: dict[str, list[float]] = {}
        for run in range(runs):
            generator = np.random.default_rng([seed, P, run])
            data = draw_training_set(samples=P, dimension=dimension, label_noise=LABEL_NOISE, seed=generator)
            students = {}
            for name, estimator in estimators.items():
                student = fit_student(estimator, data if name == "batch norm" else data.centred(), seed=generator)
                intercept = float(np.mean(data.targets) - np.mean(data.inputs, axis=0) @ student.weights)
                students[name] = Student(student.weights, student.intercept or intercept)
                columns.setdefault(name, []).append(students[name].error(data))
            shrink = float(mean_std(batch_size)) / float(mean_std(P))
            shrunken = Student(shrink * students["least squares"].weights, shrink * students["least squares"].intercept)
            columns.setdefault("shrunken least squares", []).append(shrunken.error(data))
            weights = {name: student.weights for name, student in students.items()}
            for name in ("least squares", "ridge"):
                columns.setdefault(f"cosine with {name}", []).append(_cosine(weights["batch norm"], weights[name]))
            norms = {name: np.linalg.norm(found) for name, found in weights.items()}
            columns.setdefault("norm ratio", []).append(float(norms["batch norm"] / norms["least squares"]))
        quartiles = np.percentile(columns["batch norm"], [25, 75])
        errors = [*estimators, "shrunken least squares"]
        row = {
            name: float(np.median(values) if name in errors else np.mean(values)) for name, values in columns.items()
        }
        row["stderr"] = float(1.2533 * (quartiles[1] - quartiles[0]) / 1.349 / np.sqrt(runs))
        per_load.append(row)
    return {"loads": per_load, "dimension": dimension}


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the cosine of two vectors."""
    return float(a @ b / ((a @ a) * (b @ b)) ** 0.5)
