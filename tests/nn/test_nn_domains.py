"""Streams: a model with several sets of statistics is as many models with one set of weights."""

import copy
import io
import math
import threading
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bnlens
import bnlens.nn
from bnlens.errors import UsageError
from gloo_pool import GlooPool

REGIMES = [None, 3, 8, 20, math.inf]
ORDER = [None, "a", "b", "a", "a", None, "b"]


def network(M: float | None = None, **kwargs: Any) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), bnlens.nn.BatchNorm2d(4, statistics_batch_size=M, **kwargs), nn.ReLU(),
        nn.Flatten(), nn.Linear(16, 5), bnlens.nn.BatchNorm1d(5, statistics_batch_size=M, **kwargs),
    )  # fmt: skip
    return net.double()


def batch(place: int, samples: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(place)
    return torch.randn(samples, 3, 4, 4, generator=generator, dtype=torch.float64) * (1 + place) + place


def state_of(net: nn.Module, name: str | None) -> list[Tensor]:
    """Running statistics, count, window and skipped batches of a stream, or of the layers themselves."""
    layers = [net[1], net[5]]
    own = layers if name is None else [layer.streams[name] for layer in layers]
    kept = ("running_mean", "running_var", "num_batches_tracked", "window", "skipped_batches")
    return [getattr(layer, key).double() for layer in own for key in kept if getattr(layer, key) is not None]


def assert_equal(one: list[Tensor], other: list[Tensor], atol: float = 1e-12) -> None:
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=atol)


def train(net: nn.Module, order: list[str | None]) -> None:
    for place, name in enumerate(order):
        with bnlens.stream(net, name):
            net(batch(place)).square().sum().backward()


@pytest.mark.parametrize("M", REGIMES)
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.filterwarnings("ignore:batches of")
def test_streams_are_plain_models_with_tied_weights(M, momentum):
    net = network(M, momentum=momentum)
    plain = {name: copy.deepcopy(net) for name in (None, "a", "b")}
    assert bnlens.add_streams(net, ["a", "b"]) == 2
    assert [name for name, _ in net.named_parameters()] == [name for name, _ in plain[None].named_parameters()]
    gradients = [torch.zeros_like(parameter) for parameter in net.parameters()]
    for place, name in enumerate(ORDER):
        with bnlens.stream(net, name):
            y = net(batch(place))
            y.square().sum().backward()
        twin = plain[name]
        expected = twin(batch(place))
        expected.square().sum().backward()
        assert_equal([y], [expected])
        for total, parameter in zip(gradients, twin.parameters(), strict=True):
            total += parameter.grad
            parameter.grad = None
        for name in plain:
            assert_equal(state_of(net, name), state_of(plain[name], None))
    for parameter, total in zip(net.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, total, rtol=1e-12, atol=1e-10)
    net.eval()
    for name, twin in plain.items():
        with bnlens.stream(net, name):
            assert_equal([net(batch(9))], [twin.eval()(batch(9))])


@pytest.mark.parametrize("M", [None, 4, 16])
def test_gamma_and_beta_of_their_own(M):
    net = network(M)
    nn.init.normal_(net[1].weight)
    twin = copy.deepcopy(net)
    bnlens.add_streams(net, ["a"], affine=True)
    optimizer, other = torch.optim.SGD(net.parameters(), 0.1), torch.optim.SGD(twin.parameters(), 0.1)
    for place in range(3):
        with bnlens.stream(net, "a"):
            net(batch(place)).square().mean().backward()
        twin(batch(place)).square().mean().backward()
        optimizer.step()
        other.step()
    stream = net[1].streams["a"]
    assert_equal([stream.weight, stream.bias, net[0].weight], [twin[1].weight, twin[1].bias, twin[0].weight])
    assert not torch.equal(net[1].weight, stream.weight)
    assert net[1].weight.grad is None


def test_shared_statistics_have_a_past_in_each_stream():
    net, images = network(16), batch(0, 16)
    bnlens.add_streams(net, ["a"])
    with bnlens.stream(net, "a"), bnlens.shared_statistics(net, images):
        torch.cat([net(part) for part in images.split(4)]).square().sum().backward()
    assert not net[1].responses
    assert net[1].streams["a"].responses
    assert int(net[1].num_batches_tracked) == 0
    assert int(net[1].streams["a"].num_batches_tracked) == 1


def steps_of(job: tuple[nn.Module, int]) -> list[list[Tensor]]:
    """Runs on each rank: its part of the batches, in turn through the streams."""
    net, rank = job
    for place, name in enumerate(ORDER):
        with bnlens.stream(net, name):
            net(batch(place).split([3, 5])[rank])
    return [state_of(net, name) for name in (None, "a", "b")]


@pytest.mark.parametrize("M", [None, 4, 20])
def test_over_ranks(gloo_pool: GlooPool, M):
    net = network(M, sync=True)
    bnlens.add_streams(net, ["a", "b"])
    ranks = gloo_pool.run(steps_of, [(net, 0), (net, 1)])
    bnlens.set_statistics_batch_size(net, M, sync=False)
    train(net, ORDER)
    for rank in ranks:
        for name, found in zip((None, "a", "b"), rank, strict=True):
            assert_equal(found, state_of(net, name))


def test_keys_of_their_own_beside_torchs():
    net, twin = network(20), network(20)
    torchs = set(net.state_dict())
    bnlens.add_streams(net, ["a"])
    train(net, ["a", None, "a"])
    state = net.state_dict()
    assert set(state) - torchs == {
        f"{layer}.streams.a.{name}"
        for layer in (1, 5)
        for name in ("running_mean", "running_var", "num_batches_tracked")
    }
    with pytest.raises(RuntimeError, match="Unexpected key"):
        twin.load_state_dict(state)
    bnlens.add_streams(twin, ["a", "b"])
    with pytest.raises(RuntimeError, match="Missing key"):
        twin.load_state_dict(state)
    net = copy.deepcopy(net)
    fresh = network(20)
    bnlens.add_streams(fresh, ["a"])
    fresh.load_state_dict(state)
    bnlens.load_window_state(fresh, bnlens.window_state(net))
    for name in (None, "a"):
        assert_equal(state_of(fresh, name), state_of(net, name), 0)
    with bnlens.stream(net, "a"), bnlens.stream(fresh, "a"):
        assert torch.equal(net(batch(7)), fresh(batch(7)))


def test_copies_threads_and_errors_are_outside():
    net = network(20)
    bnlens.add_streams(net, ["a", "b"])
    file = io.BytesIO()
    with bnlens.stream(net, "a"):
        twin = copy.deepcopy(net)
        torch.save(net, file)
        thread = threading.Thread(target=net, args=(batch(0),))
        thread.start()
        thread.join()
        with bnlens.stream(net, "b"):
            net(batch(1))
        with pytest.raises(RuntimeError), bnlens.stream(net, "b"):
            net(batch(1)[..., :3])  # fails behind the first layer
        with bnlens.stream(net, None):
            net(batch(2))
        net(batch(3))
    net(batch(4))
    counts = lambda net: [int(state_of(net, name)[2]) for name in (None, "a", "b")]  # noqa: E731
    assert counts(net) == [3, 1, 2]
    loaded = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
    for other in (twin, loaded):
        other(batch(0))
        assert counts(other) == [1, 0, 0]
        assert other[1].streams["a"].weight is other[1].weight
    with bnlens.stream(loaded, "a"):
        loaded(batch(0))
    assert counts(loaded) == [1, 1, 0]


def test_with_the_other_controls():
    net = network()
    bnlens.add_streams(net, ["a"])
    with bnlens.stream(net, "a"), bnlens.untracked(net):
        net(batch(0))
    assert_equal(state_of(net, "a"), state_of(network(), None))
    with bnlens.stream(net, "a"), bnlens.masked(net[1], torch.ones(8, 2, 2)):
        net(batch(0))
    bnlens.set_statistics_batch_size(net, 4)
    assert net[1].streams["a"].statistics_batch_size == 4
    bnlens.freeze(net)
    before = state_of(net, "a")
    with bnlens.stream(net.train(), "a"):
        net(batch(1))
    assert_equal(state_of(net, "a"), before, 0)
    bnlens.unfreeze(net)
    net.float()
    with bnlens.stream(net, "a"):
        assert net(batch(1).float()).dtype == torch.float32


def test_a_stream_begins_as_the_layer_is():
    layer = bnlens.nn.BatchNorm2d(3, statistics_batch_size=16, track_running_stats=True, momentum=0.3).double()
    layer(batch(1))
    bnlens.freeze(layer)
    bnlens.add_streams(layer, ["a"])
    stream = layer.streams["a"]
    assert torch.equal(stream.running_var, layer.running_var)
    assert stream.momentum == 0.3
    assert stream.frozen
    assert not stream.training
    assert stream.window_samples == 0
    assert stream.window.dtype == torch.float64
    bare = bnlens.nn.BatchNorm2d(3, affine=False, track_running_stats=False, statistics_batch_size=16)
    bnlens.add_streams(bare, "a", affine=True)
    with bnlens.stream(bare, "a"):
        bare(batch(1).float())
    assert bare.window_samples == 0 < bare.streams["a"].window_samples


def test_converted_layers_keep_what_else_they_do():
    class WithRelu(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).relu()

    model = nn.Sequential(WithRelu(3), nn.SyncBatchNorm(3)).double()
    twin = copy.deepcopy(model[0])
    keys = list(model.state_dict())
    bnlens.convert(model)
    bnlens.set_statistics_batch_size(model, None, sync=False)
    bnlens.add_streams(model, ["a"])
    with bnlens.stream(model, "a"):
        assert_equal([model[0](batch(2))], [twin(batch(2))])
        model(batch(1))
        bnlens.revert(model)
    assert type(model[0]) is WithRelu
    assert list(model.state_dict()) == keys
    assert int(model[0].num_batches_tracked) == 0
    model(batch(0))


def test_report_and_recalibrate_are_of_the_stream():
    net, samples = network(), batch(5, 64)
    bnlens.add_streams(net, ["a"])
    plain = copy.deepcopy(net)
    with bnlens.stream(net, "a"):
        assert bnlens.recalibrate(net, [samples]).layers == 2
    bnlens.recalibrate(plain, [samples])
    assert_equal(state_of(net, "a"), state_of(plain, None))
    assert_equal(state_of(net, None), state_of(network(), None), 0)
    data = [(samples, torch.arange(64) % 5)]
    with bnlens.stream(net, "a"):
        report = bnlens.report(net, data, F.cross_entropy, statistics_batch_size=16, rounds=2)
    assert [layer.name for layer in report.layers] == ["1.streams.a", "5.streams.a"]
    assert not [note for note in report.notes if note.kind == "stale statistics"]
    outside = bnlens.report(net, data, F.cross_entropy, statistics_batch_size=16, rounds=2)
    assert outside.network.gaps.measured[16].value == pytest.approx(report.network.gaps.measured[16].value, abs=1e-9)
    assert "1" in next(note.layers for note in outside.notes if note.kind == "stale statistics")


@pytest.mark.parametrize("M", [None, 4, 20])
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiled(M):
    torch._dynamo.reset()  # other tests compile the same forward
    net = network(M)
    bnlens.add_streams(net, ["a"])
    twin = copy.deepcopy(net)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    for place, name in enumerate([None, "a", None, "a"]):
        with bnlens.stream(net, name), bnlens.stream(twin, name):
            assert_equal([compiled(batch(place))], [twin(batch(place))])
    for name in (None, "a"):
        assert_equal(state_of(net, name), state_of(twin, name))


def test_names_and_layers_that_do_not_fit():
    net = network()
    with (
        pytest.raises(UsageError, match=r"no stream 'target'; bnlens.add_streams makes one"),
        bnlens.stream(net, "target"),
    ):
        pass
    bnlens.add_streams(net, ["target"])
    with pytest.raises(UsageError, match=r"no stream 'taget'; did you mean 'target'\?"), bnlens.stream(net, "taget"):
        pass
    with pytest.raises(UsageError, match="names has 3 in it; each must be a string"):
        bnlens.add_streams(net, [3])
    for name in ("", "a.b", "keys", "training"):
        with pytest.raises(UsageError, match="a stream cannot be called"):
            bnlens.add_streams(net, [name])
    for names in (["target"], ["a", "a"]):
        with pytest.raises(UsageError, match="already"):
            bnlens.add_streams(net, names)
    assert list(net[1].streams) == ["target"]
    with pytest.raises(UsageError, match="PartialNoise1d has no streams"):
        bnlens.add_streams(bnlens.nn.PartialNoise1d(2, noise="mean"), ["a"])
    mixed = nn.Sequential(net, nn.BatchNorm1d(5))
    with pytest.raises(UsageError, match="would mix the statistics"), bnlens.stream(mixed, "target"):
        pass


def test_convert_sync_batchnorm_says_that_streams_go():
    net = network()
    bnlens.add_streams(net, ["a"])
    with pytest.warns(UserWarning, match="a layer without streams"):
        nn.SyncBatchNorm.convert_sync_batchnorm(net)


def test_regularisers_in_a_stream():
    net = network(math.inf)
    bnlens.add_streams(net, ["a"])
    penalty = bnlens.nn.CurvaturePenalty(net, 8)
    plain = bnlens.nn.CurvaturePenalty(network(math.inf), 8)
    with bnlens.stream(net, "a"):
        found = penalty(batch(0))
    assert_equal([found[0]], [plain(batch(0))[0]])
    assert int(net[1].num_batches_tracked) == 0
