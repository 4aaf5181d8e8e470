"""Opacus, whose validator finds layers that mix samples by their exact class."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import bnlens
import bnlens.nn
from bnlens.errors import NotYetConvertibleError
from peers import peer

validators = peer("opacus.validators")


class Plain(nn.BatchNorm2d):
    """A subclass that adds nothing."""


class Activated(nn.BatchNorm2d):
    """A subclass that is more than normalisation."""

    def forward(self, x):
        return super().forward(x).relu()


def net(layer):
    return nn.Sequential(nn.Conv2d(3, 8, 3), layer, nn.ReLU())


BUILT = {
    "converted": lambda M: bnlens.convert(net(nn.BatchNorm2d(8)), statistics_batch_size=M),
    "converted subclass": lambda M: bnlens.convert(net(Plain(8)), statistics_batch_size=M),
    "converted SyncBatchNorm": lambda M: bnlens.convert(net(nn.SyncBatchNorm(8)), statistics_batch_size=M),
    "built": lambda M: net(bnlens.nn.BatchNorm2d(8, statistics_batch_size=M)),
    "population": lambda M: net(bnlens.nn.PopulationBatchNorm2d(8)),
    "deeper": lambda M: nn.Sequential(net(bnlens.nn.BatchNorm2d(8, statistics_batch_size=M)), nn.Flatten()),
}


@pytest.mark.parametrize("M", [None, 16])
@pytest.mark.parametrize("name", BUILT)
def test_found_and_replaced_as_torchs(name, M):
    model = BUILT[name](M)
    (error,) = validators.ModuleValidator.validate(model)
    assert "BatchNorm cannot support training with differential privacy" in str(error)
    fixed = validators.ModuleValidator.fix(model)
    assert validators.ModuleValidator.is_valid(fixed)
    assert [m.num_channels for m in fixed.modules() if isinstance(m, nn.GroupNorm)] == [8]
    assert any(isinstance(m, bnlens.nn.DialBatchNorm) for m in model.modules())


def test_a_layer_that_does_more_is_found_and_not_replaced():
    for model in (
        bnlens.convert(net(Activated(8))),
        net(
            type("Ours", (bnlens.nn.BatchNorm2d,), {"forward": lambda self, x: 2 * super(type(self), self).forward(x)})(
                8
            )
        ),
    ):
        assert not validators.ModuleValidator.is_valid(model)
    model = bnlens.convert(net(Activated(8)))
    with pytest.raises(NotYetConvertibleError, match="more than normalise"):
        validators.ModuleValidator.fix(model)


@pytest.mark.filterwarnings("ignore:Secure RNG turned off")
def test_the_engine_refuses_it():
    from opacus import PrivacyEngine
    from opacus.validators.errors import UnsupportedModuleError

    model = BUILT["converted"](4)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(8, 3, 6, 6)), batch_size=4)
    with pytest.raises((UnsupportedModuleError, NotImplementedError)):
        PrivacyEngine().make_private(
            module=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            data_loader=loader,
            noise_multiplier=1.0,
            max_grad_norm=1.0,
        )


def test_found_also_where_opacus_is_imported_last():
    program = """
import warnings
warnings.simplefilter("ignore")
import bnlens, torch
model = bnlens.convert(torch.nn.Sequential(torch.nn.BatchNorm1d(4)))
from opacus.validators import ModuleValidator
print(ModuleValidator.is_valid(model), type(ModuleValidator.fix(model)[0]).__name__)
"""
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["False", "GroupNorm"]
