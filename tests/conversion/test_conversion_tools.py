"""Converted layers, whose classes are made as they are converted, in the hands of torch's own tools."""

import copy
import pickle

import pytest
import torch
from torch import nn

import bnlens
from bnlens.errors import NotYetConvertibleError

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.(jit|ao.quantization):DeprecationWarning")  # torch's own tools


class Scaled(nn.BatchNorm2d):
    """A user's subclass with a forward of its own."""

    def forward(self, x):
        return 2 * super().forward(x)


class Named(nn.BatchNorm2d):
    """A user's subclass that adds nothing."""


class Scriptable(nn.BatchNorm2d):
    """A user's subclass that says how it is scripted."""

    def __prepare_scriptable__(self):
        plain = nn.BatchNorm2d(self.num_features)
        plain.load_state_dict(self.state_dict())
        return plain.train(self.training)


def converted(layer, M):
    torch.manual_seed(0)
    return bnlens.convert(nn.Sequential(nn.Conv2d(3, 8, 3), layer, nn.ReLU()), statistics_batch_size=M)


layers = pytest.mark.parametrize("layer", [nn.BatchNorm2d, nn.SyncBatchNorm, Named, Scaled])
sizes = pytest.mark.parametrize("M", [None, 4, 32])


@layers
@sizes
def test_fx_keeps_them_whole(layer, M):
    model = converted(layer(8), M)
    twin, x = copy.deepcopy(model), torch.randn(8, 3, 6, 6)
    traced = torch.fx.symbolic_trace(model)
    assert [node.op for node in traced.graph.nodes] == ["placeholder"] + 3 * ["call_module"] + ["output"]
    for training in (True, False):
        torch.testing.assert_close(traced.train(training)(x), twin.train(training)(x), rtol=0, atol=0)
    assert traced.get_submodule("1") is model[1]
    loaded = pickle.loads(pickle.dumps(model))
    assert type(loaded[1]) is type(model[1])
    torch.fx.symbolic_trace(loaded)
    reverted = bnlens.revert(model)[1]
    assert type(reverted) is layer
    assert "__module__" not in vars(reverted)


def test_a_layer_used_twice_is_two_calls():
    layer = nn.BatchNorm2d(3)
    model = bnlens.convert(nn.Sequential(layer, nn.ReLU(), layer), statistics_batch_size=4)
    twin, x = copy.deepcopy(model), torch.randn(8, 3, 4, 4)
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(x), twin(x))
    assert int(model[0].num_batches_tracked) == 2


@layers
@sizes
def test_script_names_the_fix(layer, M):
    model = converted(layer(8), M).eval()
    with pytest.raises(NotYetConvertibleError, match=r"torch\.jit\.trace"):
        torch.jit.script(model)


def test_a_layer_that_says_how_it_is_scripted_is_asked():
    model = converted(Scriptable(8), 4).eval()
    bnlens.nn.unwatch_rows(model)  # a hook in Python cannot be scripted
    x = torch.randn(8, 3, 6, 6)
    expected = model(x)
    torch.testing.assert_close(torch.jit.script(copy.deepcopy(model))(x), expected)


@layers
def test_convert_sync_batchnorm_warns(layer):
    with pytest.warns(UserWarning, match="statistics batch size of 4"):
        nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(converted(layer(8), 4)))


@pytest.mark.parametrize(("layer", "fuses"), [(nn.BatchNorm2d, True), (Named, True), (Scaled, False)])
def test_fusing_in_eval_mode(layer, fuses):
    """A layer that does more than normalise is left to torch, which knows no such class."""
    model, x = converted(layer(8), 4), torch.randn(8, 3, 6, 6)
    model(x)
    model.eval()
    if fuses:
        fused = torch.ao.quantization.fuse_modules(model, ["0", "1"])
        torch.testing.assert_close(fused(x), model(x), rtol=1e-5, atol=1e-5)
    else:
        with pytest.raises(AssertionError, match="did not find fuser method"):
            torch.ao.quantization.fuse_modules(model, ["0", "1"])
