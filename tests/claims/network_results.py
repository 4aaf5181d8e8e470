"""Results of training runs and of `try_rates` made by hand, for the judges of claims N1 to N4, E1 to E7 and E9."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bnlens.claims import Results

NOISE = 0.002 * np.array([1.0, -1.0, 0.5, -0.5])  # over four seeds

Job = tuple[dict[str, Any], dict[str, Any]]


def run(
    kind: int,
    seed: int,
    *,
    train: float,
    test: float,
    accuracy: float | None = None,
    neurons: tuple[float, float, float] = (0.1, 1.0, 0.2),
    gap: float | None = None,
    gamma: float = 1.0,
    M: int | str = "inf",
    **config: Any,
) -> Job:
    """One run; each kind has its own order of noise over seeds, so that paired differences vary."""
    off = float(np.roll(NOISE, kind)[seed])
    full = {
        "net": "cnn", "samples": 1000, "epochs": 2, "batch_size": 256, "lr": 0.3, "augment": False,
        "statistics_batch_size": M, "device_batch_size": 256, "regulariser": None, "noise": None, "dropout": 0.0,
    }  # fmt: skip
    loss, kurtosis, correlation = neurons
    layer = {
        "loss_increase": loss + off, "loss_increase_max": 2 * loss, "accuracy_drop": loss / 2 + off,
        "kurtosis": kurtosis + off, "kurtosis_mean": kurtosis + off, "correlation": correlation + off,
    }  # fmt: skip
    right = 1 - test / 2 if accuracy is None else accuracy
    result = {
        "data": "made up", "images": 1000, "steps": 6, "train_accuracy": 0.9, "test_accuracy": right + off,
        "train_loss": train + off, "test_loss": test + off,
        "curve": [
            {"epoch": epoch, "steps_loss": train / epoch + off, "lr": 0.3 / epoch, "test_loss": test + off,
             "test_accuracy": 0.5, "weight_norm": [1.0 + off, 2.0 * epoch]}
            for epoch in (1, 2)
        ],
        "gamma": [gamma, gamma, 1.4],
        "neurons": {
            "layers": [{"layer": "a", **layer}, {"layer": "b", **layer}],
            "together": [{"share": 0.25, "loss": 2.0 + off, "accuracy": 0.4 + off}],
            "loss": test, "accuracy": right,
        },
        "gap": None if gap is None else dict.fromkeys(("exact", "fisher", "two_term", "measured"), gap * (1 + 10 * off)),
    }  # fmt: skip
    return {**full, **config, "seed": seed}, result


def runs(kinds: Sequence[dict[str, Any]], seeds: int = 4, others: Sequence[Job] = ()) -> Results:
    """Results of other jobs and of kinds given as arguments of `run`."""
    made = [run(index, seed, **kind) for index, kind in enumerate(kinds) for seed in range(seeds)]
    return Results([*others, *made])


def trials(normalisation: str, seed: int, rates: Sequence[float], largest: float) -> Job:
    """A job of `try_rates` in which all rates above ``largest`` diverge."""
    found = [
        {"lr": rate, "diverged": rate > largest, "loss": 1.0 if rate <= largest else None, "steps": 40, "growth": 1.1}
        for rate in rates
    ]
    config = {"normalisation": normalisation, "seed": seed, "rates": list(rates)}
    return config, {**config, "data": "made up", "images": 1000, "batch_size": 256, "chance": 2.3, "trials": found}
