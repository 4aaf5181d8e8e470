"""A run that is resumed with its windows goes on bit for bit as one that was never cut."""

import io

import pytest
import torch
from torch import nn

import bnlens
import bnlens.nn
from bnlens.errors import UsageError


def net(M: float | None = 64, channels: int = 6) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, channels), nn.BatchNorm1d(channels), nn.ReLU(), nn.Linear(channels, 2))
    return bnlens.convert(model, statistics_batch_size=M)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int, share: bool) -> torch.Tensor:
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    if share:
        with bnlens.shared_statistics(model, x, stream="real"):
            for part in x.split(16):
                (model(part).square().sum() / 64).backward()
    else:
        model(x).square().mean().backward()
    optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def through_a_file(state):
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=True)


@pytest.mark.parametrize("share", [False, True])
def test_a_resumed_run_is_bit_identical(share):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for seed in range(5):
        step(model, optimizer, seed, share)
    model[1](torch.full((16, 6), torch.nan))
    checkpoint = through_a_file({"model": model.state_dict(), "windows": bnlens.window_state(model)})
    expected = [step(model, optimizer, seed, share) for seed in range(5, 9)]

    def resume(windows: bool):
        resumed = net()
        resumed.load_state_dict(checkpoint["model"])
        if windows:
            bnlens.load_window_state(resumed, checkpoint["windows"])
        again = torch.optim.SGD(resumed.parameters(), lr=0.1)
        return resumed, [step(resumed, again, seed, share) for seed in range(5, 9)]

    resumed, found = resume(windows=True)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert int(resumed[1].skipped_batches) == int(model[1].skipped_batches) == 1
    assert not torch.equal(resume(windows=False)[1][0], expected[0])


def test_the_state_is_a_copy_and_loading_takes_one():
    model = net()
    model(torch.randn(16, 4))
    state = bnlens.window_state(model)
    before = state["1"]["window"].clone()
    bnlens.load_window_state(model, state)
    model(torch.randn(16, 4))
    assert torch.equal(state["1"]["window"], before)


def test_a_double_model_takes_a_state_of_float32():
    model, other = net(), net().double()
    model(torch.randn(16, 4))
    bnlens.load_window_state(other, bnlens.window_state(model))
    assert other[1].window.dtype == torch.float64
    assert other[1].window_samples == pytest.approx(16)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            nn.Sequential(nn.Identity(), nn.Identity(), bnlens.nn.BatchNorm1d(6, statistics_batch_size=64)),
            "layer '1' is not in the model",
        ),
        (net(None), "statistics_batch_size=None, and the one that was saved had a window"),
        (net(channels=5), "has 5 channels, and its window 6"),
        (nn.Linear(2, 2), "no BN layer at all"),
    ],
)
def test_another_model_is_refused_and_left_alone(model, message):
    with pytest.raises(UsageError, match=message):
        bnlens.load_window_state(model, bnlens.window_state(net()))


def test_a_layer_without_a_window_refuses_one_less():
    with pytest.raises(UsageError, match="had no window; set the statistics batch size"):
        bnlens.load_window_state(net(), bnlens.window_state(net(None)))
    with pytest.raises(UsageError, match="no BN layer at all"):
        bnlens.window_state(nn.Linear(2, 2))
