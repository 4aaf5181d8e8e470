"""How far the weights before a BN layer turn in a step, once weight decay and the steps hold their norm in balance."""

from __future__ import annotations

from typing import Any

__all__ = ["measure_step_angle"]

_INPUTS, _NEURONS, _BATCH = 64, 16, 32


def measure_step_angle(
    *, learning_rate: float, weight_decay: float, momentum: float, settle: int, steps: int, seed: int
) -> dict[str, Any]:
    """Train a layer of BN neurons on labels without a rule by SGD, and measure the angles of its steps in balance.

    Args:
        learning_rate: eta of `torch.optim.SGD`.
        weight_decay: lambda, of the weights alone.
        momentum: of the optimizer.
        settle: steps before those that are measured.
        steps: that are measured.
        seed: of weights, inputs and labels.

    Returns:
        ``angle``, root mean square over steps and neurons in radians, and ``stderr``, from the spread over neurons.
    """
    import torch
    import torch.nn.functional as F
    from torch import nn

    generator = torch.Generator().manual_seed(seed)
    linear, norm = nn.Linear(_INPUTS, _NEURONS, bias=False), nn.BatchNorm1d(_NEURONS, affine=False)
    with torch.no_grad():
        linear.weight.normal_(std=0.1, generator=generator)  # below the balance, which is then reached soon
    optimizer = torch.optim.SGD(linear.parameters(), lr=learning_rate, momentum=momentum, weight_decay=weight_decay)
    squares = torch.zeros(_NEURONS, dtype=torch.float64)
    for step in range(settle + steps):
        inputs = torch.randn(_BATCH, _INPUTS, generator=generator)
        labels = torch.randn(_BATCH, _NEURONS, generator=generator)
        before = linear.weight.detach().double()
        optimizer.zero_grad()
        loss = F.mse_loss(torch.relu(norm(linear(inputs))), labels, reduction="sum") / _BATCH
        torch.autograd.backward(loss)
        optimizer.step()
        if step >= settle:
            after = linear.weight.detach().double()
            chords = F.normalize(after, dim=1) - F.normalize(before, dim=1)
            squares += (2 * torch.asin(chords.norm(dim=1) / 2)) ** 2
    angles = (squares / steps).sqrt()
    stderr = float(angles.std() / _NEURONS**0.5)
    return {"angle": float((squares.mean() / steps).sqrt()), "stderr": stderr}
