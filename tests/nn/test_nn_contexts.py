"""Contexts belong to one layer object in one thread: copies and other threads are outside, and an error ends them."""

import copy
import io
import pickle
import threading

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import bnlens
import bnlens.nn


def loaded(model: nn.Module) -> nn.Module:
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=False)


def averaged(model: nn.Module) -> nn.Module:
    return AveragedModel(model).module


def shallow(model: nn.Module) -> nn.Module:
    twin = copy.copy(model)
    twin._modules = {name: copy.copy(layer) for name, layer in model._modules.items()}
    for layer in twin:
        layer._buffers = {name: value if value is None else value.clone() for name, value in layer._buffers.items()}
    return twin


COPIES = {
    "deepcopy": copy.deepcopy, "pickle": lambda model: pickle.loads(pickle.dumps(model)), "save": loaded,
    "average": averaged, "copy": shallow,
}  # fmt: skip
CONTEXTS = {"shared": bnlens.shared_statistics, "untracked": lambda model, x: bnlens.untracked(model)}


def net(kind: type[nn.Module] = nn.BatchNorm1d) -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), kind(4))
    return bnlens.convert(model, statistics_batch_size=16)


def data() -> Tensor:
    return torch.randn(16, 4, generator=torch.Generator().manual_seed(0))


def assert_outside(model: nn.Module) -> None:
    """The next pass is a plain one of training."""
    y = 5 * data() + 3
    plain = nn.BatchNorm1d(4)
    plain.load_state_dict(model[1].state_dict())
    torch.testing.assert_close(model(y), plain(model[0](y)))
    torch.testing.assert_close(model[1].running_mean, plain.running_mean)
    assert int(model[1].num_batches_tracked) == int(plain.num_batches_tracked)
    assert model[1]._scope is None


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_made_inside_is_outside(context, copied):
    model = net()
    with CONTEXTS[context](model, data()):
        twin = COPIES[copied](model)
        assert_outside(twin)
    assert_outside(copy.deepcopy(twin))
    assert_outside(model)


@pytest.mark.parametrize("context", CONTEXTS)
def test_another_thread_is_outside(context):
    model, failures = net(), []

    def run() -> None:
        try:
            y = 5 * data() + 3
            before = model[1].running_mean.clone()
            torch.testing.assert_close(model(y), nn.BatchNorm1d(4)(model[0](y)))
            assert not torch.equal(model[1].running_mean, before)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    with CONTEXTS[context](model, data()):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert failures == []


@pytest.mark.parametrize("context", CONTEXTS)
def test_reverting_inside_leaves_nothing(context):
    model = net()
    with CONTEXTS[context](model, data()):
        bnlens.revert(model)
    assert vars(model[1]).keys() == vars(nn.BatchNorm1d(4)).keys()
    assert type(model[1]) is nn.BatchNorm1d


@pytest.mark.parametrize("context", CONTEXTS)
def test_an_error_inside_ends_the_context(context):
    model = net()
    with pytest.raises(KeyError), CONTEXTS[context](model, data()):
        raise KeyError
    assert_outside(model)


def test_contexts_nest_in_each_other():
    model = net()
    x = data()
    with bnlens.untracked(model):
        with bnlens.shared_statistics(model, x), bnlens.untracked(model):
            parts = torch.cat([model(part) for part in x.split(4)])
            torch.testing.assert_close(parts, nn.BatchNorm1d(4)(model[0](x)))
        model(x)
    assert int(model[1].num_batches_tracked) == 0
    assert_outside(model)


def test_a_part_of_the_model_is_in_a_context_alone():
    model = nn.Sequential(net(), net())
    with bnlens.untracked(model[1]):
        model(data())
    assert [int(part[1].num_batches_tracked) for part in model] == [1, 0]


def test_replicas_in_threads_of_their_own_are_outside():
    """As `torch.nn.DataParallel` makes them; its scatter needs a GPU."""
    model, seen = net(), []
    with bnlens.untracked(model):
        replica = model[1]._replicate_for_data_parallel()
        replica.weight, replica.bias = model[1].weight, model[1].bias
        thread = threading.Thread(target=lambda: seen.append(replica(data())))
        thread.start()
        thread.join()
    assert len(seen) == 1
    assert int(model[1].num_batches_tracked) == 1
