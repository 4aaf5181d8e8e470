"""Networks of transformers, by configuration, with random weights."""

import pytest
import torch
from conversion_cases import assert_converts

from peers import peer

transformers = peer("transformers")

NETS = {
    "resnet": lambda: transformers.ResNetForImageClassification(
        transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3
        )
    ),
    "regnet": lambda: transformers.RegNetForImageClassification(
        transformers.RegNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], groups_width=4, num_labels=3)
    ),
    "mobilenet": lambda: transformers.MobileNetV2ForImageClassification(
        transformers.MobileNetV2Config(depth_multiplier=0.25, image_size=32, num_labels=3)
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_converts(name):
    torch.manual_seed(0)
    assert_converts(NETS[name](), torch.randn(8, 3, 64, 64), lambda result: result.logits)
