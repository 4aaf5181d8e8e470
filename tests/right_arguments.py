"""Right values for the arguments of all that is public, by their names, and instances for its methods."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import bnlens
from bnlens import moments, paper
from bnlens.simulate.generalization import draw_training_set, fit_student, simulate_learning_curve
from bnlens.theory import BatchNoise, dynamics, gap_law, generalization, get_distribution, get_unit
from bnlens.theory import Population as FinitePopulation

__all__ = ["INSTANCES", "RIGHT", "SPECIAL"]


def net(kind: type[nn.Module] = bnlens.nn.BatchNorm1d) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), kind(8), nn.ReLU(), nn.Linear(8, 3))


def batches() -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(16, 4, generator=generator), torch.randint(3, (16,), generator=generator)) for _ in range(2)]


@cache
def digits() -> bnlens.train.ImageData:
    return bnlens.train.load_data("digits", samples=40)


def cnn() -> nn.Module:
    return bnlens.train.build_net("cnn", input_shape=(1, 8, 8), num_classes=10, width=1)


@cache
def the_report() -> bnlens.Report:
    loss = nn.functional.cross_entropy
    return bnlens.report(net(), batches(), loss, statistics_batch_size=4, rounds=2, first_order=True, fisher=True)


def sums() -> moments.MomentSums:
    return moments.update_moments(moments.MomentSums.empty(3), torch.eye(3))


def cross() -> moments.CrossSums:
    return moments.update_cross(moments.CrossSums.empty(3), torch.eye(3))


def filled(kind: type[Any]) -> Any:
    streaming = kind(3)
    streaming.update(torch.eye(3))
    return streaming


def streamed() -> nn.Module:
    model = net()
    bnlens.add_streams(model, ["target"])
    return model


def training_set() -> Any:
    return draw_training_set(samples=6, dimension=4)


RIGHT: dict[str, Callable[[Path], Any]] = {
    "R": lambda _: 0.5,
    "L": lambda _: 1.0,
    "alpha": lambda _: np.array([1.5]),
    "batch_size": lambda _: 8,
    "correlation": lambda _: 0.5,
    "data": lambda _: digits(),
    "decay": lambda _: 0.1,
    "device_batch_size": lambda _: 4,
    "dimension": lambda _: 4,
    "distribution": lambda _: "gaussian",
    "estimator": lambda _: generalization.Ridge(decay=0.1, label_noise=0.25),
    "excess_kurtosis": lambda _: 0.0,
    "first": lambda _: sums(),
    "gamma": lambda _: 0.7,
    "input_shape": lambda _: (1, 32, 32),
    "label_noise": lambda _: 0.1,
    "learning_rate": lambda _: 0.5,
    "loader": lambda _: batches(),
    "loss_fn": lambda _: nn.functional.cross_entropy,
    "mean_std": lambda _: 0.9,
    "model": lambda _: net(),
    "network": lambda _: paper.bundled_network().limited(5),
    "noise": lambda _: "mean",
    "num_classes": lambda _: 10,
    "num_features": lambda _: 8,
    "path": lambda folder: folder / "file",
    "point": lambda _: 0.5,
    "report": lambda _: the_report(),
    "samples": lambda _: 6,
    "second": lambda _: sums(),
    "skewness": lambda _: 0.0,
    "statistics_batch_size": lambda _: 8,
    "sums": lambda _: sums(),
    "system": lambda _: dynamics.BatchNorm(unit="linear", learning_rate=0.5, batch_size=8),
    "tau": lambda _: [0.0, 1.0],
    "unit": lambda _: "linear",
    "x": lambda _: 0.5,
    "zeta": lambda _: 0.1,
}


NETWORK = '[{"id": "a", "title": "A", "type": "article-journal"}]'


def seen(x: Any, *_: Any) -> Any:
    return x


def saved(folder: Path, text: str) -> Path:
    path = folder / "saved"
    path.write_text(text, encoding="utf-8")
    return path


def checkpoint(folder: Path) -> Path:
    return bnlens.train.save_checkpoint(net(), folder / "net.pt")


def one_rule(_: Path) -> type[nn.Module]:
    class Scaled(nn.BatchNorm1d):
        pass

    bnlens.conversion.register_rule(Scaled, forward=lambda layer, normalise, x: normalise(x))
    return Scaled


# Where the right value of a name is another one: by the name of the function, or the end of it.
SPECIAL: dict[str, dict[str, Callable[[Path], Any]]] = {
    "Citation": {"items": lambda _: list(paper.works().values())[:1]},
    "Citation.from_csl": {"text": lambda _: paper.Citation(list(paper.works().values())[:1]).to_csl()},
    "Citation.save": {"form": lambda _: "bibtex"},
    "Citation.to_format": {"name": lambda _: "bibtex"},
    "CrossMoments.merge": {"other": lambda _: filled(moments.CrossMoments)},
    "CrossMoments.update": {"batch": lambda _: torch.eye(3)},
    "Distribution": {
        "name": lambda _: "flat",
        "density": lambda _: np.ones_like,
        "lower": lambda _: -1.0,
        "upper": lambda _: 1.0,
        "draw": lambda _: seen,
    },
    "Distribution.expectation": {"function": lambda _: np.square},
    "Distribution.sample": {"generator": lambda _: np.random.default_rng(0), "shape": lambda _: (3,)},
    "Estimate.over": {"other": lambda _: the_report().network.population_loss},
    "Estimate.times": {"other": lambda _: the_report().network.population_loss},
    "Gaps.ratio": {"batch_size": lambda _: 4},
    "Gaps.scale": {"population": lambda _: 32},
    "ImageData": {
        "images": lambda _: torch.zeros(2, 1, 4, 4),
        "labels": lambda _: torch.zeros(2, dtype=torch.int64),
        "class_names": lambda _: ("a", "b"),
        "name": lambda _: "flat",
        "split": lambda _: "train",
        "mean": lambda _: (0.0,),
        "std": lambda _: (1.0,),
    },
    "Kink": {"output": lambda _: 0.0, "jump": lambda _: seen},
    "Moments.merge": {"other": lambda _: filled(moments.Moments)},
    "Moments.update": {"batch": lambda _: torch.eye(3)},
    "Network.limited": {"count": lambda _: 5},
    "Population.density_at": {},
    "Population": {"values": lambda _: np.arange(5.0)},
    "PreActivationResNet": {"depth": lambda _: 8},
    "Report.compare": {"other": lambda _: the_report()},
    "Report.savefig": {"path": lambda folder: folder / "figure.svg"},
    "Report.load": {"path": lambda folder: saved(folder, the_report().to_json())},
    "Report.loads": {"text": lambda _: the_report().to_json()},
    "Report.share_of_gap": {"layer": lambda _: the_report().layers[0], "size": lambda _: 4},
    "SGD.start": {"gamma": lambda _: None},
    "SetStatisticsBatchSize": {"schedule": lambda _: {0: 16, 1000: 64}},
    "SetStatisticsBatchSize.load_state_dict": {
        "state": lambda _: bnlens.integrations.SetStatisticsBatchSize(net(), 8).state_dict()
    },
    "SetStatisticsBatchSize.step": {"done": lambda _: 3},
    "Student.outputs": {"inputs": lambda _: np.ones((2, 4))},
    "Student.overlap": {"teacher": lambda _: np.ones(4)},
    "Student.error": {"data": lambda _: training_set()},
    "Student.training_error": {"data": lambda _: training_set()},
    "TrainingSet": {
        "inputs": lambda _: np.ones((6, 4)),
        "targets": lambda _: np.ones(6),
        "teacher": lambda _: np.ones(4),
    },
    "Unit": {
        "name": lambda _: "mine",
        "risk": lambda _: seen,
        "slope": lambda _: seen,
        "curvature": lambda _: seen,
    },
    "add_streams": {"names": lambda _: ["target"]},
    "build_net": {"name": lambda _: "cnn"},
    "check_data": {"name_or_path": lambda _: "digits", "samples": lambda _: 20},
    "check_net": {"name": lambda _: "cnn"},
    "check_request": {"samples": lambda _: 100},
    "compare_terms": {"weights": lambda _: {"batch": 0.5, "noise": 0.2}},
    "compute_cross": {"sums": lambda _: cross()},
    "convert": {"model": lambda _: net(nn.BatchNorm1d)},
    "evaluate": {"model": lambda _: cnn()},
    "fit": {
        "model": lambda _: cnn(),
        "steps": lambda _: 1,
        "batch_size": lambda _: 16,
        "recalibrate": lambda _: False,
    },
    "fit_student": {"data": lambda _: training_set()},
    "get_works": {"ids": lambda _: ["luo2019towards"]},
    "load_checkpoint": {"path": checkpoint},
    "load_data": {"name_or_path": lambda _: "digits", "samples": lambda _: 20},
    "load_window_state": {"state": lambda _: bnlens.window_state(net())},
    "masked": {"mask": lambda _: torch.ones(2, 1, dtype=torch.bool)},
    "merge_cross": {"first": lambda _: cross(), "second": lambda _: cross()},
    "merge_statistics": {"parts": lambda _: [net(), net()]},
    "moments.all_merge": {"merge": lambda _: moments.merge_moments},
    "parse_network": {"text": lambda _: NETWORK},
    "read_network": {"path": lambda folder: saved(folder, NETWORK)},
    "ready_net": {"model": lambda _: "cnn"},
    "recalibrate": {"model": lambda _: net()},
    "register_rule": {"kind": lambda _: type("Mine", (nn.BatchNorm1d,), {}), "forward": lambda _: seen},
    "report": {"statistics_batch_size": lambda _: 4, "rounds": lambda _: 1},
    "solve_replica": {"alpha": lambda _: 1.5},
    "stream": {"model": lambda _: streamed(), "name": lambda _: "target"},
    "to": {"device": lambda _: "cpu"},
    "theory.dynamics.BatchNorm": {"batch_size": lambda _: 8},
    "train_students": {
        "samples": lambda _: 16,
        "dimension": lambda _: 4,
        "epochs": lambda _: [1, 2],
        "runs": lambda _: 2,
    },
    "unregister_rule": {"kind": one_rule},
    "update_cross": {"sums": lambda _: cross(), "batch": lambda _: torch.eye(3)},
    "update_moments": {"batch": lambda _: torch.eye(3)},
    "shared_statistics": {"inputs": lambda _: torch.randn(16, 4)},
    "simulate_dynamics": {"size": lambda _: 20, "runs": lambda _: 2},
    "simulate_gamma": {"samples": lambda _: 4000},
    "simulate_gap": {"samples": lambda _: 4000},
    "simulate_learning_curve": {"alpha": lambda _: 1.5, "dimension": lambda _: 10, "runs": lambda _: 2},
    **{
        f"nn.{name}": {"model": lambda _: net(bnlens.nn.PopulationBatchNorm1d)}
        for name in ("CurvaturePenalty", "GammaDecay", "Regulariser")
    },
}

INSTANCES: dict[str, Callable[[], Any]] = {
    "BatchNoise": lambda: BatchNoise(8),
    "Citation": lambda: paper.Citation(list(paper.works().values())[:1]),
    "CrossMoments": lambda: filled(moments.CrossMoments),
    "CrossSums": cross,
    "Distribution": lambda: get_distribution("gaussian"),
    "Estimate": lambda: the_report().network.population_loss,
    "GapLaw": lambda: gap_law("linear", "gaussian", gamma=0.7),
    "GapMonitor": lambda: bnlens.integrations.GapMonitor(
        batches(), nn.functional.cross_entropy, statistics_batch_size=4, samples=32
    ),
    "Gaps": lambda: the_report().network.gaps,
    "LearningCurve": lambda: generalization.learning_curve(generalization.Ridge(decay=0.1), 1.5),
    "MomentSums": sums,
    "Moments": lambda: filled(moments.Moments),
    "Network": paper.bundled_network,
    "OptimalDecay": lambda: generalization.optimal_decay(generalization.Ridge(decay=0.1, label_noise=0.25), 1.5),
    "Population": lambda: FinitePopulation(np.arange(5.0)),
    "Predictions": lambda: the_report().predict([8, 16]),
    "Report": the_report,
    "SetStatisticsBatchSize": lambda: bnlens.integrations.SetStatisticsBatchSize(net(), 8),
    "SimulatedCurve": lambda: simulate_learning_curve(generalization.Ridge(decay=0.1), 1.5, dimension=10, runs=2),
    "SimulatedTrajectory": lambda: bnlens.simulate.simulate_dynamics(
        RIGHT["system"](Path()), [0.0, 1.0], size=20, runs=2
    ),
    "Student": lambda: fit_student(generalization.Ridge(decay=0.1), training_set()),
    "Trajectory": lambda: RIGHT["system"](Path()).solve([0.0, 1.0]),
    "Unit": lambda: get_unit("linear"),
    "theory.dynamics.BatchNorm": lambda: RIGHT["system"](Path()),
    "GammaDecay": lambda: dynamics.GammaDecay(unit="linear", learning_rate=0.5, zeta=0.1),
    "SGD": lambda: dynamics.SGD(unit="linear", learning_rate=0.5),
    "WeightNorm": lambda: dynamics.WeightNorm(unit="linear", learning_rate=0.5),
    "theory.generalization.BatchNorm": lambda: generalization.BatchNorm(8),
    "LeastSquares": lambda: generalization.LeastSquares(label_noise=0.1),
    "ReluRidge": lambda: generalization.ReluRidge(decay=0.1, label_noise=0.25),
    "Ridge": lambda: generalization.Ridge(decay=0.1, label_noise=0.25),
    "WeightNormDecay": lambda: generalization.WeightNormDecay(zeta=0.1, label_noise=0.25),
}
