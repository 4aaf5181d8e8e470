"""Streams that take turns in shared statistics, such as real and generated images: each has a past of its own."""

import copy
from collections.abc import Sequence
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bnlens
import bnlens.nn


def discriminator() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(8, 32), nn.BatchNorm1d(32), nn.LeakyReLU(0.2), nn.Linear(32, 32), nn.BatchNorm1d(32), nn.LeakyReLU(0.2),
        nn.Linear(32, 1), nn.Flatten(0),
    ).double()  # fmt: skip


# Of each stream: target, spread and shift of the images, how many there are and how many at a time.
REAL, FAKE = (1.0, 1.5, 1.0, 64, 8), (0.0, 0.7, -1.0, 64, 8)
OTHER, FEW = (0.5, 1.0, 3.0, 64, 16), (0.0, 0.7, -1.0, 48, 6)
SAME_IMAGES = (1.0, 0.7, -1.0, 64, 8)  # those of FAKE, with the target of REAL: a generator's step


def loss(output: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(output, torch.full_like(output, target), reduction="sum")


def error(order: Sequence[tuple[float, float, float, int, int]], *, contexts: int = 200, named: bool = False) -> float:
    """Distance of the mean gradient at fixed weights to BN's over all images, relative, after 20 contexts."""
    torchs, ours = discriminator(), bnlens.convert(discriminator(), statistics_batch_size=64)
    generator = torch.Generator().manual_seed(1)
    names = list(dict.fromkeys(order))
    sums = [0.0, 0.0]
    for context in range(contexts):
        stream = order[context % len(order)]
        target, spread, shift, samples, size = stream
        x = torch.randn(samples, 8, dtype=torch.double, generator=generator) * spread
        x += shift * torch.linspace(0, 1, 8, dtype=torch.double)
        for i, model in enumerate((torchs, ours)):
            model.zero_grad()
            name = f"stream {names.index(stream)}" if named else None
            with bnlens.shared_statistics(ours, x, stream=name) if model is ours else nullcontext():
                for part in x.split(size) if model is ours else (x,):
                    loss(model(part), target).backward()
            if context >= 20:
                sums[i] = sums[i] + torch.cat([p.grad.flatten() for p in model.parameters()])
    return float((sums[1] - sums[0]).norm() / sums[0].norm())


def shuffled(streams: Sequence[tuple[float, float, float, int, int]]) -> list[tuple[float, float, float, int, int]]:
    draws = torch.randint(len(streams), (200,), generator=torch.Generator().manual_seed(2)).tolist()
    return [streams[i] for i in draws]


@pytest.mark.slow
@pytest.mark.parametrize(
    "order",
    [
        (REAL,), (REAL, FAKE), (REAL, FAKE, OTHER), (REAL, REAL, FAKE), (REAL, REAL, FAKE, FAKE), (REAL, FEW),
        (REAL, OTHER, REAL, FAKE), shuffled((REAL, FAKE, OTHER)), (FAKE, SAME_IMAGES), (REAL, FAKE, SAME_IMAGES),
    ],
    ids=["one", "two", "three", "two and one", "two and two", "fewer", "four places", "shuffled", "same images", "gan"],
)  # fmt: skip
def test_without_names_the_mean_gradient_is_nearly_bns(order):
    assert error(order) < 0.1


@pytest.mark.slow
def test_with_names_also_where_nothing_else_tells_streams_apart():
    assert error(shuffled((FAKE, SAME_IMAGES)), named=True) < 0.05


def test_a_changed_scale_of_the_loss_is_divided_out():
    plain = bnlens.convert(discriminator(), statistics_batch_size=64)
    scaled = copy.deepcopy(plain)
    generator = torch.Generator().manual_seed(1)
    for scale in (1024.0, 512.0, 1024.0, 2.0):
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        x = torch.randn(64, 8, dtype=torch.double, generator=generator)
        grads = []
        for model, by in ((plain, None), (scaled, scaler)):
            model.zero_grad()
            with bnlens.shared_statistics(model, x, scaler=by):
                for part in x.split(8):
                    value = loss(model(part), 1.0)
                    (value if by is None else by.scale(value)).backward()
            grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]) / (1 if by is None else scale))
        torch.testing.assert_close(grads[1], grads[0], rtol=1e-12, atol=1e-12)


def test_moving_a_model_keeps_its_past():
    layer = bnlens.nn.BatchNorm1d(3)
    for dtype in (torch.float32, torch.float64):
        layer.to(dtype)
        x = torch.randn(8, 3, dtype=dtype)
        with bnlens.shared_statistics(layer, x):
            layer(x).pow(3).sum().backward()
    assert layer.responses[None].means.shape == (2, 2, 3)
