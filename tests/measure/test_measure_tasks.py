"""docs/tasks.md: the report of each kind of network beside torch in train mode, with losses written out here."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tasks_page import BLOCKS, PAGE, SIZE, Total, assert_measured, brute_force, executed, needs_peers
from torch import Tensor

from bnlens.measure import Estimate

Names = dict[str, Any]


def detection(n: Names) -> Total:
    def total(rows: Tensor) -> Tensor:
        found = n["model"](n["images"][rows])
        losses = []
        for classes, boxes, labels, true in zip(
            found["classes"], found["boxes"], n["labels"][rows], n["boxes"][rows], strict=True
        ):
            there = (labels > 0).nonzero().squeeze(1)
            apart = (boxes - true)[:, there].abs()
            smooth = torch.where(apart < 1, apart.square() / 2, apart - 0.5)
            losses.append(F.cross_entropy(classes.T, labels) + 2 * (smooth.mean() if len(there) else 0))
        return torch.stack(losses).sum()

    return total


def discriminator(n: Names) -> Total:
    def total(rows: Tensor) -> Tensor:
        real, fake = n["model"](n["images"][rows]), n["model"](n["generator"](n["noise"][rows]))
        return (F.softplus(-real) + F.softplus(fake)).sum() / 2

    return total


def siamese(n: Names) -> Total:
    def total(rows: Tensor) -> Tensor:
        d = n["model"](n["left"][rows], n["right"][rows])
        return torch.where(n["same"][rows] == 1, d.square(), (1 - d).clamp(min=0).square()).sum()

    return total


def binary(n: Names) -> Total:
    """Log-likelihoods of the outputs, logits, in logarithms of probabilities."""
    signs = 2 * n["labels"] - 1
    return lambda rows: -F.logsigmoid(signs[rows] * n["model"](n["inputs"][rows])).sum()


def probabilities(n: Names) -> Total:
    signs = 2 * n["labels"] - 1
    return lambda rows: -F.logsigmoid(signs[rows] * n["model"][:-1](n["inputs"][rows])).sum()


def several(n: Names) -> Total:
    def total(rows: Tensor) -> Tensor:
        z, labels = n["model"](n["images"][rows]), n["labels"][rows]
        weights = torch.tensor([1.0, 2.0, 1.0, 4.0])
        return (weights * labels * F.softplus(-z) + (1 - labels) * F.softplus(z)).sum() / 4

    return total


def classes(inputs: str) -> Callable[[Names], Total]:
    return lambda n: lambda rows: F.cross_entropy(n["model"](n[inputs][rows]), n["labels"][rows], reduction="sum")


def padded(n: Names) -> Total:
    return lambda rows: F.cross_entropy(
        n["model"](n["inputs"][rows], n["mask"][rows]), n["labels"][rows], reduction="sum"
    )


def padding(n: Names) -> Total:
    """The net written out, with the statistics of valid values."""
    model = n["model"]

    def total(rows: Tensor) -> Tensor:
        lengths, h = n["lengths"][rows], model.first(n["inputs"][rows])
        there = torch.arange(10) < lengths[:, None]
        values = h.transpose(1, 2)[there]
        std = (values.var(0, correction=0) + model.norm.eps).sqrt()
        xhat = (h.transpose(1, 2) - values.mean(0)) / std
        y = F.relu(xhat * model.norm.weight + model.norm.bias) * there[:, :, None]
        return F.cross_entropy(model.last(y.sum(1) / lengths[:, None]), n["labels"][rows], reduction="sum")

    return total


def regression(n: Names) -> Total:
    return lambda rows: (n["model"](n["inputs"][rows]) - n["values"][rows]).square().sum()


TOTALS: dict[str, Callable[[Names], Total]] = {
    "Regression": regression,
    "Binary classification by logits": binary,
    "Binary classification by probabilities": probabilities,
    "Several labels": several,
    "Detection": detection,
    "GAN discriminator": discriminator,
    "Pairs of images": siamese,
    "Audio": classes("waves"),
    "Sequences": classes("inputs"),
    "Padded sequences": padded,
    "Padded batches": padding,
    "A label for each step": classes("inputs"),
}


def test_every_block_has_a_test_and_a_link() -> None:
    assert {heading for heading, block in BLOCKS.items() if not needs_peers(block)} == set(TOTALS) | {
        "Contrastive learning"
    }
    assert len(BLOCKS) == PAGE.count("```python")
    assert all(f"(#{heading.lower().replace(' ', '-')})" in PAGE for heading in BLOCKS)


@pytest.mark.parametrize("heading", TOTALS)
def test_block(heading: str) -> None:
    names = executed(heading)
    counted = int((names["labels"] >= 0).sum()) if heading == "A label for each step" else 256
    expected = brute_force(names["model"], TOTALS[heading](names), 256, counted, rounds=60)
    assert_measured(names["report"], expected)


def test_contrastive_block() -> None:
    """Batches of 32, each half with its own statistics, beside the same batches with those of all samples."""
    names = executed("Contrastive learning")
    model, views = names["model"].train().requires_grad_(False), (names["first"], names["second"])
    population = [F.normalize(model(view), dim=1) for view in views]

    def losses(first: Tensor, second: Tensor) -> Tensor:
        return -(first @ second.T / 0.2).log_softmax(1).diagonal().mean().double()

    generator, gaps = torch.Generator().manual_seed(7), []
    for rows in (rows for _ in range(60) for rows in torch.randperm(256, generator=generator).split(32)):
        noisy = [torch.cat([F.normalize(model(view[half]), dim=1) for half in rows.split(SIZE)]) for view in views]
        gaps.append(losses(*noisy) - losses(*(z[rows] for z in population)))
    found = torch.stack(gaps)
    assert_measured(names["report"], Estimate(float(found.mean()), float(found.std()) / len(found) ** 0.5))
