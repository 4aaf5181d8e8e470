"""Three-dimensional networks of monai."""

import pytest
import torch
from conversion_cases import assert_converts

from peers import peer

nets = peer("monai.networks.nets")

NETS = {
    "unet": lambda: nets.UNet(
        spatial_dims=3, in_channels=1, out_channels=2, channels=(4, 8), strides=(2,), norm="BATCH", num_res_units=1
    ),
    "resnet": lambda: nets.ResNet(
        "basic", [1, 1, 1, 1], [4, 8, 8, 8], spatial_dims=3, n_input_channels=1, num_classes=2
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_converts(name):
    torch.manual_seed(0)
    assert_converts(NETS[name](), torch.randn(8, 1, 16, 16, 16))
