import copy
from functools import partial

import pytest
import torch
from conversion_cases import ActivatedBatchNorm, built, image_net, images
from torch import nn
from torch.nn.utils import parametrize, prune

import bnlens
import bnlens.nn
from bnlens.errors import NotConvertibleError, NotYetConvertibleError
from gloo_pool import GlooPool


def test_data_parallel_is_converted_inside():
    wrapped = nn.DataParallel(image_net())
    assert bnlens.convert(wrapped) is wrapped
    assert type(wrapped.module.bn) is bnlens.nn.BatchNorm2d
    assert wrapped(images()).shape == (8, 3)
    assert type(bnlens.revert(wrapped).module.bn) is nn.BatchNorm2d


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.BatchNorm2d(3), ActivatedBatchNorm(3, 0.1)

    def forward(self, x):
        return self.second(self.first(x))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # dynamo's own doing
@pytest.mark.parametrize("in_place", [False, True], ids=["wrapper", "module.compile()"])
def test_a_compiled_model_takes_on_the_new_layers(in_place):
    x = images()
    model = Pair()
    eager = copy.deepcopy(model)
    if in_place:
        model.compile(backend="eager", fullgraph=True)
        compiled = model
    else:
        compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), eager(x))
    for change in (partial(bnlens.convert, statistics_batch_size=4), bnlens.revert):
        before, _ = compiled(x), eager(x)
        change(compiled)
        change(eager)
        after = compiled(x)
        torch.testing.assert_close(after, eager(x))
        assert not torch.equal(after, before)
    torch.testing.assert_close(list(compiled.buffers()), list(eager.buffers()))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_scripted_model_is_refused():
    model = nn.Sequential(nn.Linear(2, 2), torch.jit.script(nn.BatchNorm1d(2)))
    with pytest.raises(NotConvertibleError, match=r"module '1' is scripted or traced.*before torch.jit"):
        bnlens.convert(model)


def test_the_hooks_of_pruning_go_on():
    model = nn.Sequential(nn.BatchNorm1d(3))
    prune.l1_unstructured(model[0], "weight", amount=1, importance_scores=torch.tensor([2.0, 1.0, 3.0]))
    x = torch.randn(8, 3)
    expected = model(x)
    assert torch.equal(expected[:, 1], torch.zeros(8))
    bnlens.convert(model)
    torch.testing.assert_close(model(x), expected)
    assert [name for name, _ in model[0].named_parameters()] == ["bias", "weight_orig"]
    bnlens.revert(model)
    assert type(model[0]) is nn.BatchNorm1d


def test_a_parametrized_layer_can_be_parametrized_again_afterwards():
    class Positive(nn.Module):
        def forward(self, weight):
            return nn.functional.softplus(weight)

    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3))
    parametrize.register_parametrization(model[1], "weight", Positive())
    with pytest.raises(NotYetConvertibleError, match=r"'1' has a parametrized 'weight'; call .*remove_para.* first"):
        bnlens.convert(model)
    assert type(model[0]) is nn.BatchNorm1d
    parametrize.remove_parametrizations(model[1], "weight")
    bnlens.convert(model)
    parametrize.register_parametrization(model[1], "weight", Positive())
    assert model(torch.randn(8, 3)).shape == (8, 3)
    with pytest.raises(NotYetConvertibleError, match=r"layer '1' has a parametrized 'weight'"):
        bnlens.revert(model)
    assert type(model[0]) is bnlens.nn.BatchNorm1d


def _wrapped_for_two_ranks(seed: int) -> tuple[float, str]:
    torch.manual_seed(0)
    wrapped = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)))
    bnlens.convert(wrapped, statistics_batch_size=8)
    wrapped(torch.randn(8, 3, generator=torch.Generator().manual_seed(seed))).square().sum().backward()
    return wrapped.module[0].weight.grad.sum().item(), type(wrapped.module[1]).__name__


def test_a_wrapped_model_still_averages_gradients(gloo_pool: GlooPool):
    (one, name), (other, _) = gloo_pool.run(_wrapped_for_two_ranks, [0, 1])
    assert one == other
    assert name == "BatchNorm1d"


def test_quantized_layers_are_refused_and_can_be_left_out():
    quantized = torch.ao.nn.quantized.BatchNorm2d(3)
    model = nn.Sequential(nn.BatchNorm2d(3), quantized)
    with pytest.raises(NotConvertibleError, match=r"layer '1' \(BatchNorm2d\) is quantized"):
        bnlens.convert(model)
    bnlens.convert(model, layers="0")
    assert built(lambda: model[0], images()) is model[0]
