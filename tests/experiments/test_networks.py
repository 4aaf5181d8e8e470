"""The experiments of claims E1 to E7: real runs on few images, measures of neurons against twins, and a run that is cut."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from scipy import stats

from bnlens.experiments import networks
from bnlens.experiments._neurons import measure_neurons, pre_activation_moments
from bnlens.experiments._weights import weight_norms
from bnlens.experiments.networks import train_network
from bnlens.experiments.rates import try_rates
from bnlens.train import build_net, evaluate, fit, load_data

CONFIG = {
    "net": "mlp", "data": "digits", "samples": 300, "epochs": 3, "batch_size": 64, "lr": 0.1, "augment": False,
    "statistics_batch_size": 8, "device_batch_size": 64, "regulariser": None, "noise": None, "dropout": 0.0, "seed": 0,
}  # fmt: skip


RUNS = [
    (networks.train_network, {}),
    (networks.train_network, {"statistics_batch_size": "inf"}),
    (networks.train_network, {"dropout": 0.3, "augment": True}),
    (networks.train_network, {"statistics_batch_size": 64, "device_batch_size": 16}),
    (networks.train_network_with_gamma_decay, {"regulariser": "gamma-decay"}),
    (networks.train_network_with_curvature_penalty, {"regulariser": "curvature"}),
    (networks.train_network_with_noise, {"noise": "mean"}),
    (networks.train_network_with_noise, {"noise": "std", "net": "cnn"}),
]


@pytest.mark.parametrize(("function", "changes"), RUNS)
def test_a_small_run(function, changes):
    result = function(**{**CONFIG, **changes})
    assert json.loads(json.dumps(result)) == result
    assert result["images"] == 300
    assert 0 < result["train_loss"] < 2.3
    assert 0 < result["test_accuracy"] <= 1
    assert [row["epoch"] for row in result["curve"]] == [1, 2, 3]
    assert result["curve"][-1]["steps_loss"] < result["curve"][0]["steps_loss"]
    assert result["curve"][-1]["lr"] < result["curve"][1]["lr"] <= CONFIG["lr"]
    layers = 4 if changes.get("net") == "cnn" else 3
    assert len(result["gamma"]) == len(result["neurons"]["layers"]) == len(result["curve"][0]["weight_norm"]) == layers
    assert (result["gap"] is not None) == (changes == {"statistics_batch_size": "inf"})
    if result["gap"] is not None:
        gap = result["gap"]
        assert gap["exact"] / gap["measured_at"] == pytest.approx(gap["measured"], rel=0.5)


def test_a_seed_makes_pairs():
    one, same, other = (train_network(**{**CONFIG, "seed": seed}) for seed in (0, 0, 1))
    assert one == same
    assert one["train_loss"] != other["train_loss"]


@pytest.mark.parametrize(
    ("function", "config"),
    [
        (train_network, CONFIG),
        (networks.train_network_with_weight_norm, {**CONFIG, "weight_norm": True, "noise": "std", "lr": 0.03}),
    ],
)
def test_a_run_that_was_cut_goes_on(function, config, tmp_path, monkeypatch):
    whole = function(**config)
    steps = 0

    def cutting(model, data, *, observe, **options):
        def stop(step, *rest):
            nonlocal steps
            steps += 1
            if step == 7:
                raise KeyboardInterrupt
            observe(step, *rest)

        return fit(model, data, observe=stop, **options)

    monkeypatch.setattr("bnlens.experiments._training.fit", cutting)
    with pytest.raises(KeyboardInterrupt):
        function(**config, scratch=tmp_path)
    monkeypatch.undo()
    assert (tmp_path / "run.pt").is_file()
    assert function(**config, scratch=tmp_path) == whole
    assert steps == 7


def test_moments_of_pre_activations():
    rng = np.random.default_rng(0)
    x = rng.laplace(size=(50, 4, 3, 2)) + 100
    x[:, 3] = 2 * x[:, 0] + rng.normal(size=(50, 3, 2))
    flat = x.transpose(1, 0, 2, 3).reshape(4, -1)
    kurtosis, correlation = pre_activation_moments(torch.from_numpy(x))
    np.testing.assert_allclose(kurtosis, stats.kurtosis(flat, axis=1), atol=1e-9)
    np.testing.assert_allclose(correlation, np.corrcoef(flat), atol=1e-9)
    x[:, 1] = 5
    kurtosis, correlation = pre_activation_moments(torch.from_numpy(x))
    assert len(kurtosis) == 3
    np.testing.assert_allclose(correlation, np.corrcoef(flat[[0, 2, 3]]), atol=1e-9)


def test_ablation_is_gamma_and_beta_at_zero():
    train, test = load_data("digits", samples=200), load_data("digits", split="test")
    model = build_net("cnn", input_shape=train.input_shape, num_classes=10, width=4)
    fit(model, train, statistics_batch_size=40, batch_size=40, steps=20, lr=0.1)
    for parameter in (model.blocks[0][1].bias, model.blocks[1][1].bias):
        torch.nn.init.normal_(parameter)
    before = copy.deepcopy(model.state_dict())
    found = measure_neurons(model, train, test)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    intact = evaluate(model, test)
    assert found["loss"] == pytest.approx(intact.cross_entropy)
    for number, layer in enumerate(found["layers"]):
        increases = []
        for channel in range(model.blocks[number][1].num_features):
            twin = copy.deepcopy(model)
            with torch.no_grad():
                twin.blocks[number][1].weight[channel] = twin.blocks[number][1].bias[channel] = 0
            increases.append(evaluate(twin, test).cross_entropy - intact.cross_entropy)
        assert layer["loss_increase"] == pytest.approx(np.mean(increases), abs=1e-6)
        assert layer["loss_increase_max"] == pytest.approx(max(increases), abs=1e-6)
    assert [one["share"] for one in found["together"]] == [0.125, 0.25, 0.5]


@pytest.mark.parametrize("normalisation", ["bn", "pn", "none"])
def test_rates(normalisation):
    result = try_rates(
        net="mlp", data="digits", samples=200, steps=30, batch_size=50, rates=[0.05, 1e4], normalisation=normalisation, seed=0
    )  # fmt: skip
    assert json.loads(json.dumps(result)) == result
    calm, wild = result["trials"]
    assert not calm["diverged"]
    assert calm["loss"] < result["chance"] == pytest.approx(math.log(10))
    assert calm["steps"] == 30
    assert 1 < calm["growth"] < 2
    assert wild["diverged"]


def test_norms_leave_the_last_layer_out():
    model = build_net("mlp", input_shape=(1, 8, 8), num_classes=10, width=16)
    weights = [layer[0].weight for layer in model.layers]
    expected = [float((weight.detach() ** 2).sum().sqrt()) for weight in weights]
    assert weight_norms(model) == pytest.approx(expected)
