"""The layers as citizens of PyTorch: precision, odd batches, copies, compilation, checkpointing."""

import copy
import io
import math
import pickle
import warnings

import pytest
import torch
from nn_twins import ROUNDING, assert_same, pair, results
from torch import nn
from torch.utils.checkpoint import checkpoint

import bnlens.nn
from bnlens.errors import UsageError

REGIMES = [None, 3, 8, 20, math.inf]  # for batches of 8: torch's, ghost groups, torch's, window, population
BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "window")


def batch(samples: int = 8, *, dtype: torch.dtype = torch.float32, seed: int = 0, side: int = 4) -> torch.Tensor:
    return torch.randn(samples, 3, side, side, generator=torch.Generator().manual_seed(seed)).to(dtype) + 1


def buffers(layer: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name in BUFFERS if (value := getattr(layer, name)) is not None}


@pytest.mark.parametrize("M", REGIMES)
def test_eval_mode_is_torchs(M):
    ours, torchs = pair(4, 3, statistics_batch_size=M)
    for seed in range(3):
        ours(batch(seed=seed))
    torchs.load_state_dict(ours.state_dict(), strict=True)
    before = buffers(ours)
    assert torch.equal(ours.eval()(batch(5, seed=9)), torchs.eval()(batch(5, seed=9)))
    assert all(torch.equal(value, before[name]) for name, value in buffers(ours).items())


@pytest.mark.parametrize("M", REGIMES)
def test_state_dict_goes_both_ways_and_empties_the_window(M):
    ours, torchs = pair(4, 3, statistics_batch_size=M)
    torchs(batch())
    ours(batch(seed=1))
    ours.load_state_dict(torchs.state_dict(), strict=True)
    assert ours.window_samples == 0
    assert list(ours.state_dict()) == list(torchs.state_dict())
    assert all(torch.equal(value, torchs.state_dict()[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize("M", REGIMES)
@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save"])
def test_copies_continue_alike(M, how):
    layer = bnlens.nn.BatchNorm2d(3, statistics_batch_size=M)
    layer(batch())
    if how == "deepcopy":
        copied = copy.deepcopy(layer)
    elif how == "pickle":
        copied = pickle.loads(pickle.dumps(layer))
    else:
        stream = io.BytesIO()
        torch.save(layer, stream)
        stream.seek(0)
        copied = torch.load(stream, weights_only=False)
    assert copied.statistics_batch_size == M
    x, cotangent = batch(seed=1), batch(seed=2)
    assert_same(results(copied, x, cotangent), results(layer, x, cotangent), 0)
    assert copied.window_samples == layer.window_samples
    assert all(torch.equal(value, buffers(layer)[name]) for name, value in buffers(copied).items())


@pytest.mark.parametrize(("M", "momentum"), [*((M, 0.1) for M in REGIMES), (3, None), (20, None)])
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # dynamo does
def test_compiles_to_one_graph(M, momentum):
    torch._dynamo.reset()
    eager = bnlens.nn.BatchNorm2d(3, statistics_batch_size=M, momentum=momentum)
    layer = copy.deepcopy(eager)
    explanation = torch._dynamo.explain(copy.deepcopy(eager))(batch())
    assert explanation.graph_break_count == 0
    assert explanation.graph_count == 1
    layer.compile(fullgraph=True, backend="aot_eager")
    for seed, samples in enumerate((8, 8, 6, 5)):  # symbolic from the second size on
        x, cotangent = batch(samples, seed=seed), batch(samples, seed=10 + seed)
        assert_same(results(layer, x, cotangent), results(eager, x, cotangent), ROUNDING)
        torch.testing.assert_close(layer.window, eager.window)


@pytest.mark.parametrize("M", [None, 3, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiled_layers_keep_layout_and_precision(M, dtype):
    torch._dynamo.reset()
    eager = bnlens.nn.BatchNorm2d(3, statistics_batch_size=M)
    layer = copy.deepcopy(eager)
    layer.compile(fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        given = (batch(7, dtype=dtype, seed=seed) for seed in range(2))  # groups of unequal sizes
        x, cotangent = (t.to(memory_format=torch.channels_last) for t in given)
        found, expected = results(layer, x, cotangent), results(eager, x, cotangent)
    for name in ("output", "input"):
        assert found[name].dtype == dtype
        assert found[name].is_contiguous(memory_format=torch.channels_last)
    assert_same(found, expected, ROUNDING if dtype == torch.float32 else 2 * torch.finfo(dtype).eps)
    for name in BUFFERS:
        torch.testing.assert_close(getattr(layer, name), getattr(eager, name), rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("M", REGIMES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_exports(M, training):
    layer = bnlens.nn.BatchNorm2d(3, statistics_batch_size=M).train(training)
    exported = torch.export.export(layer, (batch(),)).module()
    torch.testing.assert_close(exported(batch(seed=1)), layer(batch(seed=1)))


@pytest.mark.parametrize("M", REGIMES)
def test_channels_last_stays_and_agrees(M):
    ours = bnlens.nn.BatchNorm2d(3, statistics_batch_size=M)
    other = copy.deepcopy(ours)
    x, cotangent = batch(), batch(seed=1)
    found = results(ours, *(t.to(memory_format=torch.channels_last) for t in (x, cotangent)))
    assert found["output"].is_contiguous(memory_format=torch.channels_last)
    assert_same(found, results(other, x, cotangent), ROUNDING)


@pytest.mark.parametrize("M", REGIMES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_statistics_are_float32_under_autocast(M, dtype):
    """A mean of 100 with a spread of 1: statistics in half precision would be off by tenths."""
    layer, exact = (bnlens.nn.BatchNorm2d(3, statistics_batch_size=M, momentum=1.0) for _ in range(2))
    x = (100 + batch(dtype=torch.float64)).to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        y = layer(x.requires_grad_())
    assert y.dtype == dtype
    y.float().square().mean().backward()
    assert x.grad.dtype == dtype
    assert layer.weight.grad.isfinite().all()
    exact.double()(x.detach().double())
    for name, value in buffers(layer).items():
        assert value.dtype in (torch.float32, torch.int64)
        torch.testing.assert_close(value.double(), getattr(exact, name).double(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("M", REGIMES)
def test_a_layer_in_half_precision_keeps_a_wide_window(M):
    layer = bnlens.nn.BatchNorm2d(3, statistics_batch_size=M).bfloat16()
    y = layer(batch(dtype=torch.bfloat16))
    y.float().sum().backward()
    assert y.dtype == layer.weight.grad.dtype == layer.running_mean.dtype == torch.bfloat16
    assert M is None or layer.window.dtype == torch.float32
    assert y.float().mean().abs() < 0.05


@pytest.mark.parametrize("M", REGIMES)
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", [4, 8])  # from 32 pixels on a CPU has other kernels
def test_a_batch_that_is_not_finite_leaves_no_trace(M, momentum, bad, side):
    layer = bnlens.nn.BatchNorm2d(3, statistics_batch_size=M, momentum=momentum)
    layer(batch(side=side))
    before, shown = buffers(layer), repr(layer)
    x = batch(seed=1, side=side)
    x[2, 1, 0, 0] = bad
    assert layer(x)[:, 1].isnan().any()  # the loss must see it
    assert all(torch.equal(value, before[name]) for name, value in buffers(layer).items())
    assert int(layer.skipped_batches) == 1
    assert "skipped_batches" not in shown
    assert "skipped_batches=1" in repr(layer)
    assert layer(batch(seed=2, side=side)).isfinite().all()


@pytest.mark.parametrize("M", REGIMES)
@pytest.mark.parametrize("track", [True, False])
def test_empty_batches_change_nothing(M, track):
    layer = bnlens.nn.BatchNorm2d(3, statistics_batch_size=M, track_running_stats=track)
    layer(batch())
    before = {name: value.clone() for name, value in layer.named_buffers()}
    x = batch(0).requires_grad_()
    y = layer(x)
    y.sum().backward()
    assert y.shape == x.shape == x.grad.shape
    assert all(torch.equal(value, before[name]) for name, value in layer.named_buffers())


@pytest.mark.parametrize("M", REGIMES)
def test_one_image_is_a_batch_if_it_has_pixels(M):
    layer = bnlens.nn.BatchNorm2d(3, statistics_batch_size=M)
    for seed in range(3):
        x = batch(1, seed=seed).requires_grad_()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            y = layer(x)
        y[..., 0].sum().backward()
        assert y.isfinite().all()
        assert x.grad.abs().sum() > 0
    assert int(layer.num_batches_tracked) == 3


@pytest.mark.parametrize("M", REGIMES)
def test_one_value_per_channel_is_refused(M):
    layer = bnlens.nn.BatchNorm1d(3, statistics_batch_size=M)
    with pytest.raises(UsageError, match=r"one value per channel .* \(1, 3\).*freeze"):
        layer(torch.randn(1, 3))
    assert layer.eval()(torch.randn(1, 3)).isfinite().all()


@pytest.mark.parametrize("M", REGIMES)
@pytest.mark.parametrize("pixels", [4, 64])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_the_output_may_be_changed_in_place(M, pixels, memory_format):
    x = torch.randn(8, 3, 2, pixels // 2, generator=torch.Generator().manual_seed(0)).to(memory_format=memory_format)
    layer = bnlens.nn.BatchNorm2d(3, statistics_batch_size=M)
    other = copy.deepcopy(layer)
    cotangent = torch.ones_like(x)
    found = results(nn.Sequential(layer, nn.ReLU(inplace=True)), x, cotangent)
    assert_same(found, results(nn.Sequential(other, nn.ReLU()), x, cotangent), 0)


@pytest.mark.parametrize("M", [3, 20, math.inf])
@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_updates_once(M, reentrant):
    layer = bnlens.nn.BatchNorm2d(3, statistics_batch_size=M)
    other = copy.deepcopy(layer)
    for seed in range(3):
        x, cotangent = batch(seed=seed), batch(seed=10 + seed)
        leaf = x.clone().requires_grad_()
        layer.zero_grad()
        y = checkpoint(layer, leaf, use_reentrant=reentrant)
        y.backward(cotangent)
        expected = results(other, x, cotangent)
        torch.testing.assert_close(y.detach(), expected["output"], rtol=0, atol=0)
        torch.testing.assert_close(leaf.grad, expected["input"], rtol=0, atol=0)
        torch.testing.assert_close(layer.weight.grad, expected["gradient of weight"], rtol=0, atol=0)
        assert all(torch.equal(value, buffers(other)[name]) for name, value in buffers(layer).items())


def test_without_running_statistics_the_window_works_the_same():
    tracking, other = (
        bnlens.nn.BatchNorm2d(3, statistics_batch_size=20, track_running_stats=track) for track in (True, False)
    )
    for seed in range(3):
        assert torch.equal(tracking(batch(seed=seed)), other(batch(seed=seed)))
    x = batch(seed=4)
    torch.testing.assert_close(other.eval()(x), nn.BatchNorm2d(3, track_running_stats=False)(x))


def test_warns_once_when_the_batch_is_far_below():
    layer = bnlens.nn.BatchNorm2d(3, statistics_batch_size=33)
    with pytest.warns(UserWarning, match="batches of 8 samples for a statistics batch size of 33"):
        layer(batch())
    layer(batch())  # a second warning would be an error
    layer.statistics_batch_size = 32  # m = M / 4 is not below
    layer(batch())


def test_population_layers_are_layers_at_infinity():
    for kind in ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"):
        layer = getattr(bnlens.nn, f"Population{kind}")(3, momentum=None, affine=False)
        assert layer.statistics_batch_size == math.inf
        assert isinstance(layer, getattr(nn, kind))
        assert "statistics_batch_size=inf" in repr(layer)


def test_reset_running_stats_resets_all():
    layer = bnlens.nn.BatchNorm2d(3, statistics_batch_size=20)
    layer(batch())
    layer(batch() * math.nan)
    assert layer.window_samples == pytest.approx(8)
    assert "window_samples=8" in repr(layer)
    layer.reset_running_stats()
    assert layer.window_samples == int(layer.skipped_batches) == int(layer.num_batches_tracked) == 0


def test_meta_layers_can_be_shown_and_filled():
    layer = bnlens.nn.BatchNorm2d(3, statistics_batch_size=20, device="meta")
    assert "statistics_batch_size=20" in repr(layer)
    layer = layer.to_empty(device="cpu")
    layer.reset_parameters()
    assert layer(batch()).isfinite().all()


def test_a_window_is_there_where_the_regime_can_need_it():
    layer = bnlens.nn.BatchNorm2d(3, dtype=torch.float64)
    plain = [name for name, _ in layer.named_buffers()]
    assert plain == [name for name, _ in nn.BatchNorm2d(3).named_buffers()] + ["skipped_batches"]
    layer(batch(dtype=torch.float64))
    assert (layer.window, layer.responses, layer.window_samples) == (None, {}, 0)
    for M in (20, 3, math.inf):
        layer.statistics_batch_size = M
        layer(batch(dtype=torch.float64))
        assert (layer.window.dtype, layer.responses) == (torch.float64, {})
        assert layer.window_samples == pytest.approx(8)
    layer.statistics_batch_size = None
    assert [name for name, _ in layer.named_buffers()] == plain


def test_a_layer_that_was_saved_with_both_buffers_goes_on():
    layer, other = (bnlens.nn.BatchNorm2d(3) for _ in range(2))
    state = vars(layer)
    state["_buffers"] = {**state["_buffers"], "window": torch.zeros(4, 3), "responses": torch.zeros(3, 3)}
    loaded = pickle.loads(pickle.dumps(layer)).to(torch.float32)
    assert_same(results(loaded, batch(), batch(seed=1)), results(other, batch(), batch(seed=1)), 0)
    loaded.statistics_batch_size = other.statistics_batch_size = 20
    for seed in range(2):
        assert torch.equal(loaded(batch(seed=seed)), other(batch(seed=seed)))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("M", [None, 2, 62, math.inf])
def test_inputs_of_other_channels_and_of_integers_are_refused_as_by_torchs(M, affine, masked):
    """One channel, or parameters of one, would be repeated, and a count that divides the pixels cut them anew."""
    for channels, x in [
        (3, torch.randn(16, 1, 6, 12)),
        (1, torch.randn(16, 3, 6, 12)),
        (3, torch.randn(16, 6, 2, 2)),
        (3, torch.randint(9, (16, 3, 2, 2))),
    ]:
        layer = bnlens.nn.BatchNorm2d(channels, affine=affine, statistics_batch_size=M)
        with pytest.raises(RuntimeError):
            nn.BatchNorm2d(channels, affine=affine)(x)
        with pytest.raises(UsageError, match=f"with {channels} channels"):
            layer(x, mask=torch.ones(16, dtype=torch.bool) if masked else None)
        assert int(layer.num_batches_tracked) == 0


def test_a_parametrization_runs_once():
    class Counted(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            self.calls = getattr(self, "calls", 0) + 1
            return weight

    for M in (None, 2, 20):
        layer = bnlens.nn.BatchNorm1d(3, statistics_batch_size=M)
        nn.utils.parametrize.register_parametrization(layer, "weight", counted := Counted())
        before = counted.calls
        layer(torch.randn(8, 3))
        assert counted.calls == before + 1
