"""What many ghost groups of few samples cost on (N, C) inputs, beside the same groups by a reshape in plain torch.

The reshape is ``x.view(k, M, C)``, mean and variance over its second dimension and the affine map, in autograd. It keeps no
running statistics, which the layer does. Forward and backward in float32; variants take turns within a repetition.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from rich.console import Console
from shared import parser, ratios, reach, save, spread, table, take_turns
from torch import Tensor

import bnlens.nn

SHAPES = ((8192, 64), (8192, 256), (1024, 512))
SIZES = (2, 8, 64)
RIVAL = "reshape"
TARGET = 1.2
PASSES = 3  # per turn
SEED = 0


def reshaped(x: Tensor, layer: bnlens.nn.BatchNorm1d, M: int) -> Tensor:
    """Ghost groups of M samples of ``x``, (N, C)."""
    groups = x.view(-1, M, x.shape[1])
    mean, variance = groups.mean(1, keepdim=True), groups.var(1, correction=0, keepdim=True)
    return ((groups - mean) * (variance + layer.eps).rsqrt() * layer.weight + layer.bias).view(x.shape)


def passes(forward: Callable[[Tensor], Tensor], x: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor]:
    """Output and gradient of the input, of the last of the passes."""
    for _ in range(PASSES):
        x.grad = None
        y = forward(x)
        y.backward(cotangent)  # type: ignore[no-untyped-call]
    assert x.grad is not None
    return y.detach(), x.grad


def main() -> None:
    options = parser(__file__, __doc__, repeats=15, threads=1).parse_args()
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(SEED)
    rows: list[dict[str, Any]] = []
    for shape in SHAPES:
        x, cotangent = torch.randn(2, *shape, generator=generator)
        x.requires_grad_()
        for M in SIZES:
            layer = bnlens.nn.BatchNorm1d(shape[1], statistics_batch_size=M)
            forwards: dict[str, Callable[[Tensor], Tensor]] = {
                RIVAL: partial(reshaped, layer=layer, M=M),
                "layer": layer,
            }
            found, expected = (passes(forwards[name], x, cotangent) for name in ("layer", RIVAL))
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))
            variants = {name: partial(passes, forward, x, cotangent) for name, forward in forwards.items()}
            times = take_turns(variants, options.repeats, title=f"{shape}, M = {M}: ")
            rows += [
                {
                    "shape": shape,
                    "statistics_batch_size": M,
                    "variant": name,
                    "processor_time_ms": spread([1e3 * value / PASSES for value in of_name.processor]),
                    "processor_time_ratio": spread(ratios(of_name.processor, times[RIVAL].processor)),
                    "target": None if name == RIVAL else TARGET,
                }
                for name, of_name in times.items()
            ]
    shown = table("shape", "M", "variant", "ms", "processor time / reshape", "range", left=3)
    for row in rows:
        ratio = row["processor_time_ratio"]
        size, M = "x".join(map(str, row["shape"])), str(row["statistics_batch_size"])
        shown.add_row(
            size, M, row["variant"], f"{row['processor_time_ms']['median']:.2f}", f"{ratio['median']:.2f}", reach(ratio)
        )
    Console(width=110).print(shown)
    config = {"passes_per_turn": PASSES, "repeats": options.repeats, "seed": SEED, "target": TARGET}
    save(options.out, {"config": config, "rows": rows})


if __name__ == "__main__":
    main()
