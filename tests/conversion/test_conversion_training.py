import copy
from functools import partial

import conversion_cases
import pytest
import torch
from conversion_cases import image_net, images, sync_net
from torch import nn

import bnlens

OPTIMIZERS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-2),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=1e-2, momentum=0.9, weight_decay=1e-2),
}


def loss_at(model, step):
    x = images(seed=step)
    return nn.functional.cross_entropy(model(x), (x.flatten(1).sum(1) > 0).long())


losses = partial(conversion_cases.losses, loss_at=loss_at)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("build", [image_net, sync_net])
def test_a_run_goes_on_through_conversion_and_back(build, make):
    torch.manual_seed(0)
    model = build()
    plain = copy.deepcopy(model)
    expected = losses(plain, make(plain.parameters()), range(30))
    optimizer = make(model.parameters())
    got = losses(model, optimizer, range(10))
    bnlens.convert(model, optimizer=optimizer)
    got += losses(model, optimizer, range(10, 20))
    bnlens.revert(model, optimizer=optimizer)
    got += losses(model, optimizer, range(20, 30))
    assert got == pytest.approx(expected, abs=1e-6)
    assert expected[-1] != pytest.approx(expected[0], abs=0.05)  # it does train


def test_adams_state_matters_to_that_run():
    """Without it, the curve above would not be met: the test can fail."""
    torch.manual_seed(0)
    model = image_net()
    plain = copy.deepcopy(model)
    expected = losses(plain, OPTIMIZERS["adam"](plain.parameters()), range(20))
    got = losses(model, OPTIMIZERS["adam"](model.parameters()), range(10))
    bnlens.convert(model)
    got += losses(model, OPTIMIZERS["adam"](model.parameters()), range(10, 20))
    assert got[:11] == pytest.approx(expected[:11], abs=1e-6)
    assert got[12:] != pytest.approx(expected[12:], abs=1e-3)


def test_another_statistics_batch_size_trains_differently():
    torch.manual_seed(0)
    model = image_net()
    plain = copy.deepcopy(model)
    bnlens.convert(model, statistics_batch_size=4)
    got = losses(model, OPTIMIZERS["sgd"](model.parameters()), range(3))
    assert got[0] != pytest.approx(losses(plain, OPTIMIZERS["sgd"](plain.parameters()), range(1))[0], abs=1e-3)
