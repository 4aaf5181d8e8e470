"""Shared statistics: micro-batches against torch's BN over all samples they are part of."""

import copy
import math
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nn_twins import ROUNDING, assert_same, pair, results
from torch import nn
from torch.utils.checkpoint import checkpoint

import bnlens
import bnlens.nn
from bnlens.errors import UsageError

TOLERANCE = {torch.float32: ROUNDING, torch.float64: 1e-12}
TRACKED = ("running_mean", "running_var", "num_batches_tracked")


def sample(shape: tuple[int, ...], dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    x, cotangent = torch.randn(2, *shape, dtype=torch.float64, generator=generator).to(dtype)
    return 2 * x + 0.5, cotangent


def in_micro_batches(layer, x, cotangent, size):
    """Output and gradients, accumulated over micro-batches, and buffers of torch's names."""
    parts = [part.detach().clone(memory_format=torch.preserve_format).requires_grad_() for part in x.split(size)]
    layer.zero_grad()
    outputs = []
    with bnlens.shared_statistics(layer, x):
        for part, dy in zip(parts, cotangent.split(size), strict=True):
            y = layer(part)
            y.backward(dy)
            outputs.append(y.detach())
    found = {"output": torch.cat(outputs), "input": torch.cat([part.grad for part in parts])}
    found |= {f"gradient of {name}": parameter.grad for name, parameter in layer.named_parameters()}
    return found | {name: value for name, value in layer.state_dict().items() if name in TRACKED}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@given(
    pixels=st.lists(st.integers(1, 4), max_size=3),
    samples=st.integers(2, 12),
    given_size=st.booleans(),
    momentum=st.sampled_from([0.1, None]),
    affine=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_where_the_micro_batch_is_all_samples_it_is_torchs(dtype, pixels, samples, given_size, momentum, affine, seed):
    torch.manual_seed(seed)
    shape = (samples, 3, *pixels)
    options = {"dtype": dtype, "momentum": momentum, "affine": affine}
    ours, torchs = pair(len(shape), 3, statistics_batch_size=samples if given_size else None, **options)
    for step in range(2):
        x, cotangent = sample(shape, dtype, seed + step)
        # what rounding leaves of a gradient that cancels is in units of its terms, which go as 1 / sigma
        steepest = float(x.var((0, *range(2, x.ndim)), correction=0).amin().rsqrt().clamp(1))
        found, expected = in_micro_batches(ours, x, cotangent, samples), results(torchs, x, cotangent)
        assert_same(found, expected, 4 * TOLERANCE[dtype] * steepest)


@pytest.mark.parametrize("shape", [(24, 3), (24, 3, 5), (24, 3, 4, 2), (24, 3, 2, 2, 3)], ids=str)
@pytest.mark.parametrize("size", [1, 5, 12])
def test_outputs_and_running_statistics_are_those_of_bn_over_all(shape, size):
    ours, torchs = pair(len(shape), 3, dtype=torch.float64, statistics_batch_size=24)
    for seed in range(3):
        x, cotangent = sample(shape, seed=seed)
        found, expected = in_micro_batches(ours, x, cotangent, size), results(torchs, x, cotangent)
        for name in ("output", "gradient of weight", "gradient of bias", *TRACKED):
            torch.testing.assert_close(found[name], expected[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [3, 8])
def test_told_the_others_responses_the_gradient_is_bns(size):
    ours, torchs = pair(4, 3, dtype=torch.float64, statistics_batch_size=24)
    x, cotangent = sample((24, 3, 4, 2))
    expected = results(torchs, x, cotangent)["input"]
    xhat = nn.functional.batch_norm(x, None, None, training=True)
    leaf = x.clone().requires_grad_()
    with bnlens.shared_statistics(ours, leaf):
        for start in range(0, 24, size):
            later = slice(start + size, None)
            if start + size < 24:
                means = [(cotangent * by)[later].mean((0, 2, 3)) for by in (torch.ones_like(xhat), xhat)]
                ours._scope.shared.means.guess = torch.stack(means)
            ours(leaf[start : start + size]).backward(cotangent[start : start + size])
    torch.testing.assert_close(leaf.grad, expected, rtol=1e-12, atol=1e-12)


def test_a_micro_batch_knows_those_before_it_and_for_those_after_it_stands_the_last_context():
    layer = bnlens.nn.BatchNorm1d(3, statistics_batch_size=32, dtype=torch.float64)
    guess = None
    for step in range(3):
        x, cotangent = sample((32, 3), seed=step)
        found = in_micro_batches(layer, x, cotangent, 4)["input"]
        xhat = nn.functional.batch_norm(x, None, None, training=True)
        responses = torch.stack([cotangent, cotangent * xhat], 1)  # (32, 2, 3)
        for start in range(0, 32, 4):
            of_all = responses[: start + 4].mean(0)
            if guess is not None:
                of_all = (responses[: start + 4].sum(0) + (32 - start - 4) * guess) / 32
            own = slice(start, start + 4)
            dx = (cotangent[own] - of_all[0] - xhat[own] * of_all[1]) / (x.var(0, correction=0) + layer.eps).sqrt()
            torch.testing.assert_close(found[own], dx, rtol=1e-10, atol=1e-10)
        guess = responses.mean(0)
        torch.testing.assert_close(layer.responses[None].means[0], guess)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:batches of 4 samples")
def test_on_average_the_gradient_of_a_network_is_nearly_bns():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 8), bnlens.nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), bnlens.nn.BatchNorm1d(8), nn.Linear(8, 3)
    ).double()

    def mean_gradients(M, size, share):
        bnlens.set_statistics_batch_size(model, M)
        generator = torch.Generator().manual_seed(0)
        model.zero_grad()
        for _ in range(300):
            x = torch.randn(32, 6, dtype=torch.float64, generator=generator)
            labels = (x[:, 0] + x[:, 1] > 0).long() + (x[:, 2] > 0.5)
            with share(model, x):
                for part, target in zip(x.split(size), labels.split(size), strict=True):
                    nn.functional.cross_entropy(model(part), target).mul(size / 32).backward()
        return [model[i].weight.grad.clone() for i in (0, 3)]

    expected = mean_gradients(None, 32, lambda *_: nullcontext())
    for share, least, most in ((bnlens.shared_statistics, 0.0, 0.1), (lambda *_: nullcontext(), 0.4, 1.0)):
        found = mean_gradients(32, 4, share)
        distances = [float((g - e).norm() / e.norm()) for g, e in zip(found, expected, strict=True)]
        assert least < min(distances) < max(distances) < most


def test_what_does_not_share():
    model = nn.Sequential(*(bnlens.nn.BatchNorm1d(3) for _ in range(3)))
    bnlens.freeze(model[0])
    model[1].statistics_batch_size = math.inf
    x, _ = sample((16, 3), torch.float32)
    twins = copy.deepcopy(model[:2])
    with bnlens.shared_statistics(model, x):
        found = model[:2](x[:4])
        assert not torch.equal(model[2](x[:4]), nn.BatchNorm1d(3)(x[:4]))
    twins(x)
    torch.testing.assert_close(found, twins(x[:4]))
    model.eval()
    with bnlens.shared_statistics(model, x):
        torch.testing.assert_close(model[2](x), copy.deepcopy(model[2])(x))


def test_what_is_not_finite_leaves_no_trace():
    layer = bnlens.nn.BatchNorm2d(3)
    x, cotangent = sample((8, 3, 2, 2), torch.float32)
    in_micro_batches(layer, x, cotangent, 2)
    assert layer.responses[None].means.abs().sum() > 0

    def kept() -> list[object]:
        return [
            value.tolist() if isinstance(value, torch.Tensor) else value
            for value in vars(layer.responses[None]).values()
        ]

    before = kept()
    in_micro_batches(layer, x, cotangent * math.inf, 2)
    assert kept() == before
    running = layer.running_mean.clone()
    in_micro_batches(layer, x * math.nan, cotangent, 2)
    assert kept() == before
    assert torch.equal(layer.running_mean, running)
    assert int(layer.skipped_batches) == 1


def test_setting_the_size_and_loading_forget_the_responses():
    layer = bnlens.nn.BatchNorm2d(3)
    for forget in (
        lambda: bnlens.set_statistics_batch_size(layer, 8),
        lambda: layer.load_state_dict(layer.state_dict()),
    ):
        in_micro_batches(layer, *sample((8, 3, 2, 2), torch.float32), 2)
        assert layer.responses[None].means.any()
        forget()
        assert layer.responses == {}
    assert list(layer.state_dict()) == list(nn.BatchNorm2d(3).state_dict())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_inputs(dtype):
    ours, wide = (bnlens.nn.BatchNorm2d(3, statistics_batch_size=16) for _ in range(2))
    x, cotangent = sample((16, 3, 4, 4), dtype)
    found, expected = in_micro_batches(ours, x, cotangent, 4), in_micro_batches(wide, x.float(), cotangent.float(), 4)
    assert found["output"].dtype == found["input"].dtype == dtype
    assert ours.responses[None].means.dtype == torch.float32
    tolerance = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(found["output"].float(), expected["output"], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(found["input"].float(), expected["input"], rtol=tolerance, atol=tolerance)


def test_channels_last_stays_and_agrees():
    layers = [bnlens.nn.BatchNorm2d(3) for _ in range(2)]
    x, cotangent = sample((8, 3, 4, 4), torch.float32)
    apart = in_micro_batches(layers[0], x, cotangent, 4)
    last = in_micro_batches(layers[1], x.contiguous(memory_format=torch.channels_last), cotangent, 4)
    assert last["output"].is_contiguous(memory_format=torch.channels_last)
    assert_same(last, apart, ROUNDING)


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_changes_nothing(reentrant):
    layer, other = bnlens.nn.BatchNorm2d(3), bnlens.nn.BatchNorm2d(3)
    x, cotangent = sample((8, 3, 4, 4), torch.float32)
    expected = in_micro_batches(other, x, cotangent, 2)
    leaf = x.clone().requires_grad_()
    with bnlens.shared_statistics(layer, leaf):
        for part, dy in zip(leaf.split(2), cotangent.split(2), strict=True):
            checkpoint(layer, part, use_reentrant=reentrant).backward(dy)
    torch.testing.assert_close(leaf.grad, expected["input"], rtol=0, atol=0)
    assert torch.equal(layer.responses[None].means, other.responses[None].means)
    assert torch.equal(layer.running_mean, other.running_mean)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # dynamo looks at it where the graph breaks
def test_a_compiled_model_shares_too():
    plain = nn.Sequential(nn.Conv2d(3, 3, 1), bnlens.nn.BatchNorm2d(3, statistics_batch_size=8), nn.ReLU(inplace=True))
    compiled = torch.compile(copy.deepcopy(plain), backend="aot_eager")
    x, cotangent = sample((8, 3, 4, 4), torch.float32)
    found, expected = (in_micro_batches(model, x, cotangent, 2) for model in (compiled, plain))
    for name in ("output", "input"):
        torch.testing.assert_close(found[name], expected[name])


def test_the_random_state_is_left_alone():
    model = nn.Sequential(nn.Dropout(0.5), bnlens.nn.BatchNorm1d(3))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    with bnlens.shared_statistics(model, torch.ones(8, 3)):
        assert torch.equal(torch.get_rng_state(), state)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = bnlens.nn.BatchNorm1d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.norm(x))


class Once(Twice):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x) if torch.is_grad_enabled() else x


@pytest.mark.parametrize(
    ("model", "samples", "message"),
    [
        (nn.Linear(3, 3), 8, "no BN layer at all"),
        (nn.Sequential(nn.BatchNorm1d(3), bnlens.nn.BatchNorm1d(3)), 8, "'0' .* would not share statistics; convert"),
        (Twice(), 8, "runs twice"),
        (Once(), 8, "did not run has no statistics"),
        (bnlens.nn.BatchNorm1d(3, statistics_batch_size=4), 8, "8 samples cannot share .* 4 at a time"),
        (bnlens.nn.BatchNorm1d(3, sync=True), 8, "no process group"),
        (bnlens.nn.BatchNorm1d(3), 1, "one value per channel"),
        (bnlens.nn.BatchNorm1d(3), 2, "a batch of 3 samples cannot be part of the 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_uses(model, samples, message):
    x = torch.randn(samples, 3)
    with pytest.raises(UsageError, match=message), bnlens.shared_statistics(model, x):
        model(torch.randn(3, 3))
    assert all(layer._scope is None for layer in model.modules() if isinstance(layer, bnlens.nn.DialBatchNorm))


def test_one_context_at_a_time():
    layer, x = bnlens.nn.BatchNorm1d(3), torch.randn(8, 3)
    with bnlens.shared_statistics(layer, x):
        with pytest.raises(UsageError, match="in shared_statistics already"), bnlens.shared_statistics(layer, x):
            pass
        torch.testing.assert_close(layer(x), nn.BatchNorm1d(3)(x))
    with bnlens.shared_statistics(layer, 2 * x):
        torch.testing.assert_close(layer(2 * x), nn.BatchNorm1d(3)(2 * x))


def test_an_explicit_regulariser_refuses():
    model = nn.Sequential(bnlens.nn.BatchNorm1d(3, statistics_batch_size=math.inf), bnlens.nn.BatchNorm1d(3))
    penalty = bnlens.nn.GammaDecay(model, 16)
    model[0].statistics_batch_size = None
    x = torch.randn(8, 3)
    with bnlens.shared_statistics(model, x), pytest.raises(UsageError, match="leave shared_statistics"):
        penalty(x)
