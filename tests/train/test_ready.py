import pytest
import torch
from torch import nn

from bnlens.errors import ModelError
from bnlens.train import build_net, fit, load_data, ready_net, save_checkpoint


@pytest.fixture(scope="module")
def data():
    return load_data("digits", samples=100)


def test_a_named_net_is_built_and_trained(data):
    ready = ready_net("mlp", data, steps=2, seed=3)
    net = build_net("mlp", input_shape=data.input_shape, num_classes=10, seed=3)
    fit(net, data, statistics_batch_size=16, batch_size=96, steps=2, lr=0.1, seed=3)
    torch.testing.assert_close(ready.state_dict(), net.state_dict())


def test_a_given_net_gets_its_weights_from_a_file_alone(data, tmp_path):
    net, other = (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)) for _ in range(2))
    before = net[1].weight.detach().clone()
    assert ready_net(net, data, steps=2) is net
    assert torch.equal(net[1].weight, before)
    ready_net(net, data, checkpoint=save_checkpoint(other, tmp_path / "other.pt"))
    assert torch.equal(net[1].weight, other[1].weight)
    with pytest.raises(ModelError, match="'Linear' cannot be run on images of 1x8x8"):
        ready_net(nn.Linear(3, 10), data)
