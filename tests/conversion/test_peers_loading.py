"""Loaders of transformers and accelerate on models that hold our layers: they train as fresh ones do."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

import bnlens
import bnlens.nn
from peers import define_torchvision_operators, peer

define_torchvision_operators()
transformers = peer("transformers")
accelerate = peer("accelerate")
safetensors = peer("safetensors.torch")


class Config(transformers.PretrainedConfig):
    model_type = "peer"

    def __init__(self, M=None, late=False, **kwargs):
        super().__init__(**kwargs)
        self.M, self.late = M, late


class Net(transformers.PreTrainedModel):
    config_class = Config

    def __init__(self, config):
        super().__init__(config)
        M = math.inf if config.M == "inf" else config.M  # a configuration is JSON
        self.norm = nn.BatchNorm1d(4) if config.late else bnlens.nn.BatchNorm1d(4, statistics_batch_size=M)
        if config.late:
            bnlens.convert(self, statistics_batch_size=M)
        self.post_init()

    def forward(self, x):
        return self.norm(x)


def assert_fresh(layer: nn.Module) -> None:
    M = layer.statistics_batch_size
    fresh = bnlens.nn.BatchNorm1d(4, statistics_batch_size=M)
    assert int(layer.skipped_batches) == 0
    assert layer.window is None or not layer.window.any()
    for x in torch.randn(3, 8, 4, generator=torch.Generator().manual_seed(0)):
        torch.testing.assert_close(layer(x), fresh(x))
    assert int(layer.skipped_batches) == 0


@pytest.fixture
def no_memory_is_zero():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize("M", [None, 3, 20, "inf"])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.usefixtures("no_memory_is_zero")
@pytest.mark.filterwarnings("ignore")
def test_from_pretrained(tmp_path: Path, M, late):
    Net(Config(M=M, late=late)).save_pretrained(tmp_path)
    assert_fresh(Net.from_pretrained(tmp_path).train().norm)


@pytest.mark.parametrize("M", [None, 3, 20, math.inf])
@pytest.mark.parametrize("include_buffers", [False, True])
@pytest.mark.parametrize("convert", [False, True])
@pytest.mark.usefixtures("no_memory_is_zero")
@pytest.mark.filterwarnings("ignore")
def test_init_empty_weights_and_load_checkpoint_and_dispatch(tmp_path: Path, M, include_buffers, convert):
    file = tmp_path / "model.safetensors"
    safetensors.save_file(nn.Sequential(nn.BatchNorm1d(4)).state_dict(), file, metadata={"format": "pt"})
    with accelerate.init_empty_weights(include_buffers=include_buffers):
        model = nn.Sequential(nn.BatchNorm1d(4) if convert else bnlens.nn.BatchNorm1d(4, statistics_batch_size=M))
        if convert:
            bnlens.convert(model, statistics_batch_size=M)
    model = accelerate.load_checkpoint_and_dispatch(model, str(tmp_path), device_map={"": "cpu"})
    assert_fresh(model.train()[0])
