"""State that is not in the state_dict is there however a model is built and loaded, and heals."""

import copy
import math
import pickle

import pytest
import torch
from nn_twins import ROUNDING
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import bnlens
import bnlens.nn
from gloo_pool import GlooPool

REGIMES = [None, 3, 20, math.inf]  # for batches of 8: torch's, ghost groups, window, population


def batches(count: int = 3, samples: int = 8, channels: int = 4) -> Tensor:
    return torch.randn(count, samples, channels, generator=torch.Generator().manual_seed(0)) + 1


def build(M: float | None, **kwargs: object) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), bnlens.nn.BatchNorm1d(4, statistics_batch_size=M, **kwargs))


def saved() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return build(None).state_dict()


def assigned(M: float | None, **kwargs: object) -> nn.Module:
    with torch.device("meta"):
        model = build(M, **kwargs)
    model.load_state_dict(saved(), assign=True)
    return model


def emptied(M: float | None) -> nn.Module:
    with torch.device("meta"):
        model = build(M)
    model.to_empty(device="cpu").load_state_dict(saved())
    return model


def emptied_and_set(M: float | None) -> nn.Module:
    """Trained, sent to memory that is not initialised, and set tensor by tensor, of which the layer learns nothing."""
    model = build(M)
    for x in batches():
        model(5 * x)
    with torch.no_grad():
        for name, tensor in model.to_empty(device="cpu").state_dict().items():
            tensor.copy_(saved()[name])
    return model


def emptied_and_reset(M: float | None) -> nn.Module:
    with torch.device("meta"):
        model = build(M)
    for layer in model.to_empty(device="cpu"):
        layer.reset_parameters()
    with torch.no_grad():
        model[0].weight.copy_(saved()["0.weight"])
        model[0].bias.copy_(saved()["0.bias"])
    return model


def by_way_of_meta(M: float | None) -> nn.Module:
    model = build(M)
    for x in batches():
        model(5 * x)
    model.to("meta").load_state_dict(saved(), assign=True)
    return model


def set_one_by_one(M: float | None) -> nn.Module:
    """As transformers does, which also makes new buffers for those that are not in the checkpoint."""
    with torch.device("meta"):
        model = build(M)
    tensors = dict(saved())
    tensors |= {name: torch.empty_like(b, device="cpu") for name, b in model.named_buffers() if name not in tensors}
    for name, tensor in tensors.items():
        path, _, own = name.rpartition(".")
        module = model.get_submodule(path)
        home = module._parameters if own in module._parameters else module._buffers
        home[own] = nn.Parameter(tensor) if home is module._parameters else tensor
    return model.eval().train()


def converted_on_meta(M: float | None) -> nn.Module:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        bnlens.convert(model, statistics_batch_size=M)
    model.load_state_dict(saved(), assign=True)
    return model


WAYS = (
    assigned, emptied, emptied_and_set, emptied_and_reset, by_way_of_meta, set_one_by_one, converted_on_meta,
)  # fmt: skip


@pytest.fixture
def no_memory_is_zero():
    """Memory that is not initialised is NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize("M", REGIMES)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.usefixtures("no_memory_is_zero")
def test_the_first_batches_are_those_of_a_fresh_layer(way, M):
    torch.manual_seed(0)
    fresh = build(M)
    fresh.load_state_dict(saved())
    model = way(M)
    assert int(model[1].skipped_batches) == 0
    assert M in (None, 3) or not model[1].window.any()
    for x in batches():
        assert torch.equal(model(x), fresh(x))
    assert int(model[1].skipped_batches) == 0
    assert torch.equal(model[1].running_mean, fresh[1].running_mean)


@pytest.mark.parametrize("M", REGIMES)
@pytest.mark.usefixtures("no_memory_is_zero")
def test_a_layer_without_tensors_of_its_own_finds_its_place_with_the_first_batch(M):
    options = {"affine": False, "track_running_stats": False, "statistics_batch_size": M}
    layer, fresh = bnlens.nn.BatchNorm1d(4, device="meta", **options), bnlens.nn.BatchNorm1d(4, **options)
    layer = layer.to_empty(device="cpu")
    for x in batches():
        assert torch.equal(layer(x), fresh(x))
    assert int(layer.skipped_batches) == 0


def test_a_layer_without_tensors_of_its_own_takes_another_size():
    options = {"affine": False, "track_running_stats": False}
    layer, fresh = bnlens.nn.BatchNorm1d(4, **options), bnlens.nn.BatchNorm1d(4, statistics_batch_size=20, **options)
    layer.statistics_batch_size = 20
    for x in batches():
        assert torch.equal(layer(x), fresh(x))


@pytest.mark.usefixtures("no_memory_is_zero")
def test_skip_init_leaves_no_window():
    layer = nn.utils.skip_init(bnlens.nn.BatchNorm1d, 4, statistics_batch_size=20)
    assert not layer.window.any()
    assert int(layer.skipped_batches) == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # dynamo does
def test_a_window_that_is_not_finite_begins_anew_and_is_counted(bad, compiled):
    torch._dynamo.reset()
    layer, fresh = (bnlens.nn.BatchNorm1d(4, statistics_batch_size=20) for _ in range(2))
    if compiled:
        layer.compile(fullgraph=True, backend="aot_eager")
    first, *rest = batches(4)
    layer(first)
    layer.window[1, 2] = bad
    for x in rest:
        torch.testing.assert_close(layer(x), fresh(x), rtol=ROUNDING, atol=ROUNDING)
    assert int(layer.skipped_batches) == 1
    torch.testing.assert_close(layer.window, fresh.window)


def test_moves_take_the_state_along():
    layer = bnlens.nn.BatchNorm1d(4, statistics_batch_size=20)
    layer(batches()[0])
    before = layer.window.clone()
    assert layer.share_memory().window.is_shared()
    assert torch.equal(layer.half().window, before)
    assert layer.window.dtype == torch.float32
    assert torch.equal(layer.double().window, before.double())
    assert layer.window.dtype == torch.float64
    assert layer.to("meta").window is None


def test_a_layer_that_an_earlier_version_saved_goes_on():
    layer, other = (bnlens.nn.BatchNorm1d(4, statistics_batch_size=20) for _ in range(2))
    for each in (layer, other):
        each(batches()[0])
    old = vars(layer)
    for name in ("responses", "_passes"):
        del old[name]
    old["_earlier_window"] = torch.zeros(4, 4)
    old["_buffers"] = {**old["_buffers"], "responses": torch.zeros(3, 4)}
    loaded = pickle.loads(pickle.dumps(layer))
    assert list(loaded._buffers) == list(other._buffers)
    for x in batches():
        assert torch.equal(loaded(x), other(x))
    with bnlens.shared_statistics(loaded, x):
        loaded(x)


def train_apart(job: tuple[nn.Module, Tensor]) -> tuple[Tensor, Tensor, list[str]]:
    model, data = job
    model = DistributedDataParallel(model)
    for x in data:
        model(x).sum().backward()
    layer = model.module[1]
    return layer.window, layer.skipped_batches, [name for name, _ in model.named_buffers()]


@pytest.mark.parametrize("M", [3, 20, math.inf])
def test_each_rank_keeps_its_own_window(gloo_pool: GlooPool, M):
    torch.manual_seed(0)
    model = build(M)
    data = [batches(), 3 * batches() - 1]
    data[1][1, 0] = math.nan
    found = gloo_pool.run(train_apart, [(copy.deepcopy(model), given) for given in data])
    for (window, skipped, names), given in zip(found, data, strict=True):
        alone = copy.deepcopy(model)
        for x in given:
            alone(x)
        torch.testing.assert_close(window, alone[1].window)
        assert torch.equal(skipped, alone[1].skipped_batches)
        assert names == [
            f"module.{name}" for name, _ in nn.Sequential(nn.Identity(), nn.BatchNorm1d(4)).named_buffers()
        ]


def convert_and_back(M: float) -> list[str]:
    model = bnlens.convert(nn.Sequential(nn.BatchNorm1d(4)), statistics_batch_size=M)
    model(batches()[0])
    bnlens.revert(model)
    return sorted(set(vars(model[0])) ^ set(vars(nn.BatchNorm1d(4))))


def test_with_ranks_too_nothing_is_left_of_a_conversion(gloo_pool: GlooPool):
    convert_and_back(20)
    assert gloo_pool.run(convert_and_back, [20, 20]) == [[], []]


@pytest.mark.parametrize("dtype", [None, torch.float64], ids=str)
def test_a_window_without_parameters_is_as_wide_as_its_inputs(dtype):
    layer = bnlens.nn.BatchNorm1d(
        3, affine=False, track_running_stats=False, dtype=dtype, statistics_batch_size=32, eps=1e-12
    )
    first, second = 100 + torch.randn(2, 16, 3, dtype=torch.float64)
    layer(first)
    y = layer(second)
    # a = 2m / (M + m) = 2 / 3 for the second batch, and 2 / 3 times 1 / 3 for the first: 3 to 1
    mean = (first.mean(0) + 3 * second.mean(0)) / 4
    square = ((first - mean).square().mean(0) + 3 * (second - mean).square().mean(0)) / 4
    torch.testing.assert_close(y, (second - mean) / square.sqrt(), rtol=0, atol=1e-11)
    y = layer(second.float())  # a narrower input does not narrow it
    assert y.dtype == torch.float32
    assert layer.window.dtype == torch.float64
