"""The examples on the pages about the layers run."""

import re
from pathlib import Path
from typing import Any

import torch

DOCS = Path(__file__).parents[2] / "docs"


def run_example(name: str) -> dict[str, Any]:
    torch.manual_seed(0)
    page = DOCS / name
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile("\n".join(blocks), str(page), "exec"), names)  # noqa: S102
    return names


def test_the_dial():
    names = run_example("dial.md")
    layer = names["model"][1]
    assert layer.statistics_batch_size == float("inf")
    assert layer.training
    assert int(layer.num_batches_tracked) == 256 // 64 + 256 // 32
    valid = torch.arange(100) < names["lengths"][:, None]
    values = names["net"][0](names["frames"]).transpose(1, 2)[valid]
    torch.testing.assert_close(names["net"][1].running_mean, 0.1 * values.mean(0))


def test_the_regularisers():
    names = run_example("regularisers.md")
    assert names["penalty"].item() > 0
    assert names["model"][1].weight.grad.abs().sum() > 0


def test_one_noise_at_a_time():
    model = run_example("networks.md")["model"]
    assert repr(model[1]).endswith("statistics_batch_size=8, noise=mean)")
    assert model[0].weight.grad.abs().sum() > 0
