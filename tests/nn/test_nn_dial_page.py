"""The example on the page about the dial runs."""

from __future__ import annotations

import re
from pathlib import Path

import torch

PAGE = Path(__file__).parents[2] / "docs" / "dial.md"


def test_the_example_runs():
    torch.manual_seed(0)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102
    layer = names["model"][1]
    assert layer.statistics_batch_size == float("inf")
    assert layer.training
    assert int(layer.num_batches_tracked) == 8
