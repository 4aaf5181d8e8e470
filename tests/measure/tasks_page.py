"""The blocks of docs/tasks.md, and the gap by brute force: the model in train mode on random groups."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens.measure import Estimate, Report

PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^## ([^\n]+)\n\n```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
PEERS = ("timm", "monai", "transformers")
SIZE = 16

Total = Callable[[Tensor], Tensor]
"""From places of samples to the sum of their losses, with the statistics of these samples."""


def needs_peers(block: str) -> bool:
    return bool(re.search(rf"^(?:from|import) (?:{'|'.join(PEERS)})\b", block, re.MULTILINE))


def executed(heading: str) -> dict[str, Any]:
    """The names that a block defines."""
    names: dict[str, Any] = {}
    exec(compile(BLOCKS[heading], f"docs/tasks.md, {heading}", "exec"), names)  # noqa: S102 - our own text
    return names


def with_batch_statistics(model: nn.Module) -> None:
    """Put BN layers in train mode and all else, dropout say, in eval mode."""
    for module in model.modules():
        module.training = isinstance(module, _BatchNorm)


@torch.no_grad()
def brute_force(model: nn.Module, total: Total, samples: int, counted: float, rounds: int) -> Estimate:
    """Mean loss in groups of ``SIZE`` less that with all samples as one batch, as in training but without dropout.

    Args:
        model: as it was reported on.
        total: of these samples.
        samples: P, a multiple of ``SIZE``.
        counted: what the sum over all samples is divided by.
        rounds: shuffles of the samples.
    """
    with_batch_statistics(model)
    generator = torch.Generator().manual_seed(7)
    whole = total(torch.arange(samples)).double()
    gaps = []
    for _ in range(rounds):
        groups = torch.randperm(samples, generator=generator).split(SIZE)
        gaps.append((sum(total(rows).double() for rows in groups) - whole) / counted)
    found = torch.stack(gaps)
    return Estimate(float(found.mean()), float(found.std()) / rounds**0.5)


def assert_measured(report: Report, expected: Estimate, resolved: float = 6) -> None:
    """The measured gap is that of brute force, within four standard errors, and so far from zero that this means something."""
    apart = report.network.gaps.measured[SIZE] - expected
    assert abs(apart.value) < 4 * apart.stderr
    assert abs(expected.value) > resolved * apart.stderr
