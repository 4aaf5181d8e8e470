"""What a step over M images costs in micro-batches of m: with torch's batch normalization, windows, and shared statistics.

Forward, loss and backward of 64 images of CIFAR-10's size by a 4-conv net and by ResNet-14, all 64 at once or 8 at a time;
variants take turns, one number per repetition. Ratios are of processor time, which a busy machine disturbs less than
elapsed time. Memory is what autograd keeps of a forward pass, and for the pass over all images, which keeps nothing, the
largest input and output of a layer.

Run: python benchmarks/sharing_cost.py
"""

from __future__ import annotations

import statistics
import warnings
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from shared import cifar_net, noise, parser, ratios, reach, save, spread, table, take_turns
from torch import Tensor, nn

import bnlens

M, MICRO = 64, 8
NETS = ("cnn", "resnet14")
RIVAL = f"torch BN, {MICRO} at a time"
VARIANTS = (RIVAL, f"torch BN, {M} at once", f"windows, {MICRO} at a time", f"shared, {MICRO} at a time")
SEED = 0


class Step:
    """One variant of a step over M images."""

    def __init__(self, net: str, variant: str) -> None:
        self.model = cifar_net(net, SEED)
        self.micro = M if variant.endswith("at once") else MICRO
        self.shared = variant.startswith("shared")
        if not variant.startswith("torch"):
            bnlens.convert(self.model, statistics_batch_size=M)
        self.images, self.labels = noise(M, SEED)

    def run(self) -> None:
        """Forward, loss and backward of all images."""
        self.model.zero_grad()
        with bnlens.shared_statistics(self.model, self.images) if self.shared else nullcontext():
            for x, y in zip(torch.split(self.images, self.micro), torch.split(self.labels, self.micro), strict=True):
                (F.cross_entropy(self.model(x), y) * len(x) / M).backward()


def memory_of(net: str, variant: str) -> float:
    """MiB of activations that a step holds at once: the most of any of its forward passes."""
    step, kept = Step(net, variant), dict[int, int]()
    own = {tensor.untyped_storage().data_ptr() for tensor in (*step.model.parameters(), *step.model.buffers())}
    largest = 0

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    def layer_ran(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal largest
        if not torch.is_grad_enabled():
            largest = max(largest, inputs[0].nbytes + output.nbytes)

    def model_ran(_module: nn.Module, _inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        nonlocal largest
        largest = max(largest, sum(kept.values()))
        kept.clear()

    for module in step.model.modules():
        module.register_forward_hook(model_ran if module is step.model else layer_ran)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step.run()
    return largest / 2**20


def main() -> None:
    options = parser(__file__, __doc__, repeats=21, threads=1).parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", "batches of .* for a statistics batch size of", UserWarning)
    rows: list[dict[str, Any]] = []
    for net in NETS:
        steps = {variant: Step(net, variant).run for variant in VARIANTS}
        times = take_turns(steps, options.repeats, title=f"{net}: ")
        rows += [
            {
                "net": net,
                "variant": variant,
                "processor_seconds": statistics.median(times[variant].processor),
                "processor_time_ratio": spread(ratios(times[variant].processor, times[RIVAL].processor)),
                "activations_mib": memory_of(net, variant),
            }
            for variant in VARIANTS
        ]
    config = {
        "nets": NETS,
        "statistics_batch_size": M,
        "device_batch_size": MICRO,
        "repeats": options.repeats,
        "seed": SEED,
    }
    result = {"config": config, "rows": rows}
    shown = table("net", "variant", f"processor time / {RIVAL}", "range", "activations, MiB", left=2)
    for row in rows:
        ratio, memory = row["processor_time_ratio"], f"{row['activations_mib']:.1f}"
        shown.add_row(row["net"], row["variant"], f"{ratio['median']:.2f}", reach(ratio), memory)
    Console(width=110).print(shown)
    save(options.out, result)


if __name__ == "__main__":
    main()
