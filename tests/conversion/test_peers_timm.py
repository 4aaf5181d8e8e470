"""Networks of timm, whose BatchNormAct2d has drop and activation in the layer."""

import pytest
import torch
from conversion_cases import assert_converts
from torch import nn

import bnlens
import bnlens.nn
from peers import define_torchvision_operators, peer

define_torchvision_operators()
timm = peer("timm")
norm_act = peer("timm.layers.norm_act")


@pytest.mark.parametrize("name", ["regnetx_002", "efficientnet_lite0", "densenet121"])
def test_converts(name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3)
    assert_converts(model, torch.randn(8, 3, 32, 32))


def test_drop_and_activation_stay_in_the_layer():
    layer = norm_act.BatchNormAct2d(3, act_layer=nn.Hardtanh, drop_layer=nn.Dropout)
    x = torch.randn(8, 3, 4, 4)
    bnlens.convert(layer, statistics_batch_size=4)
    assert isinstance(layer, norm_act.BatchNormAct2d)
    assert isinstance(layer, bnlens.nn.BatchNorm2d)
    torch.manual_seed(0)
    y = layer(x)
    torch.manual_seed(0)
    dropped = nn.Dropout()(torch.cat([nn.BatchNorm2d(3)(part) for part in x.split(4)]))
    torch.testing.assert_close(y, nn.Hardtanh()(dropped))
    assert type(bnlens.revert(layer)) is norm_act.BatchNormAct2d


def test_the_synchronised_kind():
    layer = norm_act.SyncBatchNormAct(3)
    layer.act, layer.drop = nn.ReLU(), nn.Identity()
    y = bnlens.convert(layer, statistics_batch_size=4)(torch.randn(8, 3, 4, 4))
    assert y.min() == 0
    assert type(bnlens.revert(layer)) is norm_act.SyncBatchNormAct
