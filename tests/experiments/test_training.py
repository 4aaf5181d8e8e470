"""The runs of claims N1 to N4 on few images."""

import json

import pytest

from bnlens.experiments.training import train_net, train_net_with_curvature_penalty, train_net_with_gamma_decay

FUNCTIONS = {"curvature": train_net_with_curvature_penalty, "gamma-decay": train_net_with_gamma_decay, None: train_net}
KINDS = [(4, 256, None, False), (16, 4, None, False), (16, 4, None, True), ("inf", 256, None, False)]
KINDS += [(4, 256, name, False) for name in ("curvature", "gamma-decay")]


@pytest.mark.parametrize(("M", "device", "regulariser", "shared"), KINDS)
def test_a_small_run(M, device, regulariser, shared):
    result = FUNCTIONS[regulariser](
        net="mlp", data="digits", samples=300, steps=8, lr=0.1, statistics_batch_size=M, device_batch_size=device,
        share_statistics=shared, regulariser=regulariser, seed=0,
    )  # fmt: skip
    assert json.loads(json.dumps(result)) == result
    assert result["images"] == 300
    assert 0 < result["train_loss"] < result["test_loss"] < 2.3
    assert all(0.2 < gamma < 2 for gamma in result["gamma"])
