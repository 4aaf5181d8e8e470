"""One value per channel in training: refused, unless a window holds an earlier batch; and epsilon, which must be positive."""

import math

import pytest
import torch
from torch import nn

import bnlens
import bnlens.nn
from bnlens.errors import UsageError
from bnlens.nn._partial_noise import PartialNoise1d
from bnlens.nn._window import window_weight
from gloo_pool import GlooPool

WINDOWS = [2, 64, math.inf]
LAYERS = {
    (1, 4): bnlens.nn.BatchNorm1d,
    (1, 4, 1): bnlens.nn.BatchNorm1d,
    (1, 4, 1, 1): bnlens.nn.BatchNorm2d,
    (1, 4, 1, 1, 1): bnlens.nn.BatchNorm3d,
}


def filled(shape: tuple[int, ...], M: float, **kwargs: object) -> nn.Module:
    """A layer whose window holds three batches, in float64."""
    torch.manual_seed(0)
    layer = LAYERS[shape](4, statistics_batch_size=M, dtype=torch.float64, **kwargs)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    for _ in range(3):
        layer(2 * torch.randn(16, *shape[1:], dtype=torch.float64) + 1)
    layer._warned = True  # of batches far below M, which these are
    return layer


@pytest.mark.parametrize("M", WINDOWS)
@pytest.mark.parametrize("shape", LAYERS, ids=str)
def test_the_window_with_the_sample_in_it_normalises_it(shape, M):
    layer = filled(shape, M)
    mean, variance, seen, _ = layer.window.clone()
    before = layer.running_mean.clone(), layer.running_var.clone(), layer.num_batches_tracked.clone()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    a = window_weight(1, M)
    share = a / (seen * (1 - a) + a)
    flat = x.detach().view(4)
    window_mean = (1 - share) * mean + share * flat
    window_variance = (1 - share) * (variance + mean**2) + share * flat**2 - window_mean**2
    xhat = (flat - window_mean) / (window_variance + layer.eps).sqrt()
    y = layer(x)
    torch.testing.assert_close(
        y.detach().view(4), layer.weight * xhat + layer.bias, check_stride=False, rtol=1e-10, atol=1e-10
    )
    torch.testing.assert_close(layer.window[:2], torch.stack([window_mean, window_variance]))
    # one value equals its mean, so gradients of x are zero; gamma's and beta's are those of given statistics
    y.backward(torch.full(shape, 3.0, dtype=torch.float64))
    assert torch.equal(x.grad, torch.zeros(shape, dtype=torch.float64))
    torch.testing.assert_close(layer.weight.grad, 3 * xhat)
    torch.testing.assert_close(layer.bias.grad, torch.full((4,), 3.0, dtype=torch.float64))
    # it has no Bessel variance, and running statistics stay
    assert all(map(torch.equal, before, (layer.running_mean, layer.running_var, layer.num_batches_tracked)))


@pytest.mark.parametrize("M", [None, *WINDOWS])
@pytest.mark.parametrize("shape", LAYERS, ids=str)
def test_refused_where_nothing_defines_it(shape, M):
    layer = LAYERS[shape](4, statistics_batch_size=M)
    with pytest.raises(UsageError, match=r"one value per channel .*freeze the layer"):
        layer(torch.randn(shape))
    layer(torch.randn(16, *shape[1:]))
    layer.reset_window()
    with pytest.raises(UsageError, match="one value per channel"):
        layer(torch.randn(shape))
    assert int(layer.num_batches_tracked) == 1


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # dynamo does
def test_compiled_too():
    torch._dynamo.reset()
    layer, eager = filled((1, 4), 64), filled((1, 4), 64)
    layer.compile(fullgraph=True, backend="aot_eager")
    x = torch.randn(1, 4, dtype=torch.float64)
    torch.testing.assert_close(layer(x), eager(x))
    torch.testing.assert_close(layer.window, eager.window)
    layer.reset_window()
    with pytest.raises(RuntimeError, match="one value per channel"):
        layer(x)


@pytest.mark.parametrize("M", WINDOWS[1:])
def test_one_valid_value_of_a_mask_too(M):
    layer, other = filled((1, 4, 1), M), filled((1, 4, 1), M)
    x = torch.randn(1, 4, 3, dtype=torch.float64)
    y = layer(x, mask=torch.tensor([[False, True, False]]))
    torch.testing.assert_close(y[..., 1:2].detach(), other(x[..., 1:2]).detach())
    torch.testing.assert_close(layer.window, other.window)
    assert torch.equal(layer.running_mean, other.running_mean)
    with pytest.raises(UsageError, match="got 0 valid values"):
        layer(x, mask=torch.zeros(1, 3, dtype=torch.bool))
    layer.reset_window()
    with pytest.raises(UsageError, match="got 1 valid values"):
        layer(x, mask=torch.tensor([[False, True, False]]))


def test_a_window_that_is_not_finite_holds_nothing():
    layer = filled((1, 4), 64)
    layer.window[0, 0] = math.nan
    with pytest.raises(UsageError, match="one value per channel"):
        layer(torch.randn(1, 4, dtype=torch.float64))


def on_a_rank(job: tuple[nn.Module, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Runs on each rank."""
    layer, x = job
    return layer(x).detach(), layer.window


def test_over_ranks_too(gloo_pool: GlooPool):
    shape = (1, 4)
    layer, other = filled(shape, 64, sync=False), filled(shape, 64)
    layer._sync = True  # in place of the property, which would empty the window
    x = torch.randn(shape, dtype=torch.float64)
    (y, window), (empty, same) = gloo_pool.run(on_a_rank, [(layer, x), (layer, x[:0])])
    torch.testing.assert_close((y, window), (other(x).detach(), other.window))
    assert empty.shape == (0, 4)
    assert torch.equal(window, same)
    layer.window.zero_()
    with pytest.raises(Exception, match="one value per channel"):
        gloo_pool.run(on_a_rank, [(layer, x), (layer, x[:0])])


@pytest.mark.parametrize("regulariser", [bnlens.nn.GammaDecay, bnlens.nn.CurvaturePenalty])
def test_under_explicit_regularisers_too(regulariser):
    layer = filled((1, 4), math.inf)
    other = filled((1, 4), math.inf)
    x = torch.randn(1, 4, dtype=torch.float64)
    y, penalty = regulariser(layer, 16)(x)
    torch.testing.assert_close(y.detach(), other(x).detach())
    assert penalty.isfinite()


@pytest.mark.parametrize("M", [None, 2, 8, 64, math.inf])
@pytest.mark.parametrize("eps", [0.0, -1e-5])
def test_epsilon_is_positive_in_training(M, eps):
    x = torch.zeros(8, 3, 4, 4)
    layer = bnlens.nn.BatchNorm2d(3, eps=eps, statistics_batch_size=M)
    with pytest.raises(UsageError, match=f"eps is {eps}; it must be positive in training"):
        layer(x)
    with pytest.raises(UsageError, match="must be positive"), bnlens.shared_statistics(layer, x):
        layer(x)
    assert int(layer.num_batches_tracked) == 0
    with pytest.raises(ValueError, match="eps must be positive"):  # torch's layer does so too
        nn.BatchNorm2d(3, eps=eps)(x)
    with pytest.raises(UsageError, match="must be positive"):
        PartialNoise1d(3, noise="both", eps=eps)(torch.zeros(8, 3))


def test_epsilon_may_be_zero_in_eval_mode():
    layer, torchs = bnlens.nn.BatchNorm2d(3, eps=0.0).eval(), nn.BatchNorm2d(3, eps=0.0).eval()
    x = torch.randn(8, 3, 4, 4)
    assert torch.equal(layer(x), torchs(x))
