"""What the gradient passes of `bnlens.report` cost beside a training step's forward and backward.

Variants, each over the same batches of 128 synthetic 32x32 images and the same residual net of 3 million parameters:

- plain: train mode, gradients of all parameters, as a training step computes them (no optimizer);
- given: a pass of the report, which gives losses and gradients at the data's labels;
- both: the same with gradients at draws for the true Fisher matrix, which shares the forward pass;
- torch.func: per-sample gradients of the same parameters, gamma and beta of all BN layers, at the data's labels, by vmap of
  grad of a functional call.

Variants take turns within a repetition, and a time ratio is taken within one, so that a machine whose speed drifts gives a
fair ratio. Processor time, summed over threads, stands beside elapsed time: it moves less when others use the machine. Peak
memory is the growth of a fresh process's peak resident set over one batch, after model, data and a warm-up on 4 samples; it
counts everything the process touches, scratch space of the kernels included.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from rich.console import Console
from shared import of_fresh_process, parser, peak_mib, ratios, reach, save, spread, table, take_turns
from torch import Tensor, nn

from bnlens.measure._intercept import Interceptor, batch_norm_layers, handed_back
from bnlens.measure._loss import SampleLoss
from bnlens.measure._nodes import CallGradients, Node, node
from bnlens.measure._pool import SamplePool
from bnlens.measure._population import estimate_population
from bnlens.measure._probe import Probe, default_forward
from bnlens.train.nets import build_net

WIDTH, CLASSES, BATCH_SIZE, WARM_UP = 104, 10, 128, 4
SEED = 0
VARIANTS = ("plain", "given", "both", "torch.func")
TIME_TARGETS = {"given": 1.3, "both": 1.9}
MEMORY_TARGET = 1.5
AGREEMENT = 1e-3  # largest difference allowed, relative to the largest entry of the parameter's gradients

Gradients = dict[str, CallGradients]
Result = TypeVar("Result")


class Bench:
    """The net, the data and the variants."""

    def __init__(self, batches: int) -> None:
        torch.manual_seed(SEED)
        self.model = build_net("resnet", input_shape=(3, 32, 32), num_classes=CLASSES, width=WIDTH, seed=SEED)
        self.batches = [
            (torch.randn(BATCH_SIZE, 3, 32, 32), torch.randint(CLASSES, (BATCH_SIZE,))) for _ in range(batches)
        ]
        # any statistics cost the same; taken over few samples, they leave the peak of memory to the variants
        few = [(images[:WARM_UP], labels[:WARM_UP]) for images, labels in self.batches[:1]]
        self.populations = self._with_probe(few, lambda probe: estimate_population(probe, max_passes=1)[0])

    def run(self, variant: str, data: list[tuple[Tensor, Tensor]]) -> None:
        """Run a variant over ``data``."""
        match variant:
            case "plain":
                self.plain(data)
            case "torch.func":
                self.torch_func(data)
            case _:
                self.nodes(data, drawn=variant == "both")

    @property
    def parameters(self) -> int:
        """How many parameters the net has."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def warm_up(self, variant: str) -> None:
        """Run a variant on a few samples, so that kernels are loaded."""
        images, labels = self.batches[0]
        self.run(variant, [(images[:WARM_UP], labels[:WARM_UP])])

    def plain(self, data: list[tuple[Tensor, Tensor]]) -> None:
        """Forward and backward of training, all parameter gradients."""
        self.model.train()
        for images, labels in data:
            self.model.zero_grad()
            loss = F.cross_entropy(self.model(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
        self.model.zero_grad()

    def nodes(self, data: list[tuple[Tensor, Tensor]], *, drawn: bool = False) -> list[Node]:
        """The report's passes, the way the report runs them."""
        draws = torch.Generator().manual_seed(SEED) if drawn else None

        def run(probe: Probe) -> list[Node]:
            return [node(probe, batch, self.populations, draws=draws) for batch in probe.pool.in_order(BATCH_SIZE)]

        return self._with_probe(data, run)

    def _with_probe(self, data: list[tuple[Tensor, Tensor]], function: Callable[[Probe], Result]) -> Result:
        interceptor = Interceptor(batch_norm_layers(self.model))
        pool = SamplePool.from_loader(data, sum(len(labels) for _, labels in data))
        with handed_back(self.model), interceptor.attached():
            loss = SampleLoss(nn.CrossEntropyLoss())
            return function(Probe(self.model, interceptor, pool, loss, default_forward, pool.batch_size))

    def torch_func(self, data: list[tuple[Tensor, Tensor]]) -> Gradients:
        """Per-sample gradients by vmap of grad, BN in eval mode with the same population statistics."""
        self.model.eval()
        state = {name: value.detach() for name, value in self.model.state_dict().items()}
        affine: dict[str, Tensor] = {}
        for name, population in self.populations.items():
            affine |= {key: state.pop(key) for key in (f"{name}.weight", f"{name}.bias")}
            state |= {f"{name}.running_mean": population.mean, f"{name}.running_var": population.variance}

        def loss(affine: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
            output = torch.func.functional_call(self.model, {**state, **affine}, (image[None],))
            return F.cross_entropy(output, label[None])

        gradient = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
        parts = [gradient(affine, images, labels) for images, labels in data]
        return {
            name: CallGradients(*(torch.cat([part[f"{name}.{kind}"] for part in parts]) for kind in ("bias", "weight")))
            for name in self.populations
        }


def memory_of(variant: str) -> float:
    """Growth of the peak resident set over one batch, in MiB."""
    bench = Bench(batches=1)
    bench.warm_up(variant)
    before = peak_mib()
    bench.run(variant, bench.batches)
    return peak_mib() - before


def disagreement(bench: Bench) -> float:
    """Largest difference of the report's gradients from torch.func's, relative to each parameter's largest entry."""
    found = bench.nodes(bench.batches[:1])[0].given
    reference = bench.torch_func(bench.batches[:1])
    return max(
        float((getattr(found[name], kind) - expected).abs().max() / expected.abs().max())
        for name in reference
        for kind in ("beta", "gamma")
        for expected in [getattr(reference[name], kind)]
    )


def main() -> None:
    arguments = parser(__file__, __doc__, repeats=9, threads=2)
    arguments.add_argument("--batches", type=int, default=1, help="batches per turn (default %(default)s)")
    arguments.add_argument("--memory-repeats", type=int, default=3, help="processes per variant (default %(default)s)")
    arguments.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(memory_of(options.memory_of))
        return

    # memory first: on Linux a child's peak starts at its parent's resident set, so the parent must still be small
    threads = ("--threads", str(options.threads))
    memory = {
        name: [of_fresh_process(__file__, "--memory-of", name, *threads) for _ in range(options.memory_repeats)]
        for name in VARIANTS
    }
    bench = Bench(options.batches)
    largest = disagreement(bench)
    if largest > AGREEMENT:
        sys.exit(
            f"the report and torch.func differ by {largest:.1e} of the largest gradient, more than {AGREEMENT:.0e}"
        )
    times = take_turns({name: partial(bench.run, name, bench.batches) for name in VARIANTS}, options.repeats)
    plain = times["plain"]
    plain_memory = statistics.median(memory["plain"])
    rows = {
        name: {
            "seconds_per_batch": spread([value / options.batches for value in times[name].elapsed]),
            "time_ratio": spread(ratios(times[name].elapsed, plain.elapsed)),
            "time_target": TIME_TARGETS.get(name),
            "processor_seconds_per_batch": spread([value / options.batches for value in times[name].processor]),
            "processor_time_ratio": spread(ratios(times[name].processor, plain.processor)),
            "peak_mib": spread(memory[name]),
            "memory_ratio": spread([value / plain_memory for value in memory[name]]),
            "memory_target": MEMORY_TARGET if name in TIME_TARGETS else None,
        }
        for name in VARIANTS
    }
    result = {
        "config": {
            "net": f"resnet, width {WIDTH}",
            "parameters": bench.parameters,
            "bn_layers": len(bench.populations),
            "batch_size": BATCH_SIZE,
            "batches": options.batches,
            "repeats": options.repeats,
            "memory_repeats": options.memory_repeats,
            "seed": SEED,
        },
        "largest_relative_difference_from_torch_func": largest,
        "variants": rows,
    }
    show(result)
    save(options.out, result)


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    config = result["config"]
    shown = table(
        *("variant", "s/batch", "time / plain", "range", "target", "CPU / plain", "range"),
        *("peak MiB", "peak / plain", "target"),
        title=f"{config['net']}: {config['parameters']:,} parameters, {config['bn_layers']} BN layers, "
        f"batch {config['batch_size']}, {torch.get_num_threads()} threads, {config['repeats']} repetitions",
    )
    for name, row in result["variants"].items():
        ratio, processor, memory = row["time_ratio"], row["processor_time_ratio"], row["memory_ratio"]
        shown.add_row(
            name,
            f"{row['seconds_per_batch']['median']:.3f}",
            f"{ratio['median']:.2f}",
            reach(ratio),
            _target(row["time_target"]),
            f"{processor['median']:.2f}",
            reach(processor),
            f"{row['peak_mib']['median']:.0f}",
            f"{memory['median']:.2f}",
            _target(row["memory_target"]),
        )
    console = Console(width=128)
    console.print(shown)
    console.print(
        "largest difference of the report and torch.func, relative: "
        f"{result['largest_relative_difference_from_torch_func']:.1e}"
    )


def _target(value: float | None) -> str:
    return "" if value is None else f"<= {value}"


if __name__ == "__main__":
    main()
