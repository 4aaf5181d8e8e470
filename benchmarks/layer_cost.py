"""What the layers of `bnlens.nn` cost beside ``torch.nn.BatchNorm2d``: forward and backward in training.

Variants: M=None and M equal to the batch (torch's kernel), ghost groups of 16 samples, a window of four batches, and
`PopulationBatchNorm2d`; each as it is and under ``torch.compile``, in NCHW and in channels-last order, for three inputs. The
rival of a layer as it is is torch's layer as it is, that of a compiled one is torch's compiled. Inputs are float32; on a CUDA
device bfloat16 too, beside float32 parameters, as autocast has them.

Variants take turns within a repetition, each repetition in another order, and a ratio is taken within one, so that a machine
whose speed drifts gives a fair ratio. Processor time, summed over threads, stands beside elapsed time: it moves less when
others use the machine, so on a CPU its ratio is the one to quote. On a CUDA device it is that of elapsed time, up to the end of
the last kernel.
"""

from __future__ import annotations

import copy
import ctypes
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from rich.console import Console
from shared import Times, parser, ratios, save, spread, table, timed
from torch import Tensor, nn

import bnlens.nn

SHAPES = ((64, 64, 32, 32), (32, 256, 16, 16), (256, 32, 16, 16))
FORMATS = {"NCHW": torch.contiguous_format, "channels last": torch.channels_last}
GHOST, WINDOW_BATCHES = 16, 4
RIVAL = "torch"
TARGETS = {"ghost": 1.2, "window": 1.05, "population": 1.05}  # on a CPU, in NCHW, not compiled
PASSES = 3  # forward and backward passes per turn
SEED = 0
SIZES = {
    "none": None,
    "batch": "the batch",
    "ghost": GHOST,
    "window": f"{WINDOW_BATCHES} batches",
    "population": "inf",
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}  # of inputs; parameters are float32
AGREEMENT = {"float32": 1e-4, "bfloat16": 2e-2}  # largest difference allowed, relative to the largest entry


class Case(NamedTuple):
    """One input, and whether the layers are compiled."""

    shape: tuple[int, int, int, int]
    memory_format: str
    compiled: bool
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{self.memory_format} {self.shape} {self.dtype}{', compiled' if self.compiled else ''}"


class Wrapped(nn.Module):
    """A model of one layer; dynamo takes none that is all torch's."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        return self.layer(x)


class Bench:
    """The input and the layers of one case."""

    def __init__(self, case: Case, device: str) -> None:
        self.case, self.device = case, device
        generator = torch.Generator().manual_seed(SEED)
        self.x, self.cotangent = (
            torch.randn(case.shape, generator=generator).to(
                device, DTYPES[case.dtype], memory_format=FORMATS[case.memory_format]
            )
            for _ in range(2)
        )
        self.x.requires_grad_()
        samples, channels = case.shape[:2]
        sizes = {"none": None, "batch": samples, "ghost": GHOST, "window": WINDOW_BATCHES * samples}
        layers: dict[str, nn.Module] = {RIVAL: nn.BatchNorm2d(channels)}
        layers |= {name: bnlens.nn.BatchNorm2d(channels, statistics_batch_size=M) for name, M in sizes.items()}
        layers["population"] = bnlens.nn.PopulationBatchNorm2d(channels)
        self.layers = {name: Wrapped(layer).to(device) for name, layer in layers.items()}
        self.difference = 0.0
        if case.compiled:
            torch._dynamo.reset()
            eager = copy.deepcopy(self.layers)
            for layer in self.layers.values():
                layer.compile(fullgraph=True)
            self.difference = max(self._difference(layer, eager[name]) for name, layer in self.layers.items())
        else:  # these are torch's by definition; the other regimes have their tests
            self.difference = max(self._difference(self.layers[name], self.layers[RIVAL]) for name in ("none", "batch"))

    def disagreement(self) -> str | None:
        """What to say where results differ that should be the same."""
        allowed = AGREEMENT[self.case.dtype]
        if self.difference <= allowed:
            return None
        return f"{self.case}: results that should be the same differ by {self.difference:.1e}, more than {allowed:.0e}"

    def run(self, layer: nn.Module) -> Tensor:
        """One forward and backward pass."""
        self.x.grad = None
        for parameter in layer.parameters():
            parameter.grad = None
        y: Tensor = layer(self.x)
        y.backward(self.cotangent)  # type: ignore[no-untyped-call]
        return y

    def turn(self, name: str) -> tuple[float, float]:
        """Elapsed and processor seconds per pass."""
        self._wait()
        _, seconds = timed(lambda: self._passes(self.layers[name]))
        return seconds.elapsed / PASSES, seconds.processor / PASSES

    def _passes(self, layer: nn.Module) -> None:
        for _ in range(PASSES):
            self.run(layer)
        self._wait()

    def _wait(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()

    def _difference(self, layer: nn.Module, reference: nn.Module) -> float:
        found, expected = (
            [self.run(each).detach(), self.x.grad, *(parameter.grad for parameter in each.parameters())]
            for each in (layer, reference)
        )
        return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True))


def measure(bench: Bench, repeats: int) -> dict[str, Times]:
    """Elapsed and processor seconds per pass of each variant, one number per repetition."""
    names = list(bench.layers)
    times: dict[str, Times] = {name: Times([], []) for name in names}
    for name in names:
        bench.turn(name)
    for repetition in range(repeats):
        first = repetition % len(names)
        for name in names[first:] + names[:first]:
            for kept, seconds in zip(times[name], bench.turn(name), strict=True):
                kept.append(seconds)
    return times


def rows_of(case: Case, times: dict[str, Times], device: str) -> Iterator[dict[str, Any]]:
    """One row of the result for each variant."""
    has_target = device == "cpu" and case.memory_format == "NCHW" and not case.compiled
    for name, of_name in times.items():
        row: dict[str, Any] = {**case._asdict(), "variant": name}
        for kind, values, rival in zip(("time", "processor_time"), of_name, times[RIVAL], strict=True):
            row[f"{kind}_ms"] = spread([1e3 * value for value in values])
            row[f"{kind}_ratio"] = spread(ratios(values, rival))
        row["target"] = TARGETS.get(name) if has_target else None
        yield row


def keep_freed_memory() -> None:
    """Have glibc keep freed blocks. Else it returns some, and which variant pays to fault them in anew is chance."""
    if sys.platform == "linux":
        mallopt: Callable[[int, int], int] | None = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            for option in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
                mallopt(option, 1 << 30)


def main() -> None:
    arguments = parser(__file__, __doc__, repeats=40, threads=1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    arguments.add_argument("--device", default=device, help="cpu or cuda (default here %(default)s)")
    arguments.add_argument(
        "--dtypes", nargs="+", choices=list(DTYPES), help="of the inputs (all on a CUDA device, else float32)"
    )
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()

    dtypes = options.dtypes or (["float32"] if options.device == "cpu" else list(DTYPES))
    cases = [
        Case(shape, name, compiled, dtype)
        for compiled in (False, True)
        for dtype in dtypes
        for name in FORMATS
        for shape in SHAPES
    ]
    rows: list[dict[str, Any]] = []
    largest = dict.fromkeys(dtypes, 0.0)
    for i, case in enumerate(cases):
        print(f"case {i + 1} of {len(cases)}: {case}", file=sys.stderr, flush=True)
        bench = Bench(case, options.device)
        largest[case.dtype] = max(largest[case.dtype], bench.difference)
        if disagreement := bench.disagreement():
            sys.exit(disagreement)
        rows.extend(rows_of(case, measure(bench, options.repeats), options.device))
    result = {
        "config": {
            "device": torch.cuda.get_device_name() if options.device != "cpu" else "cpu",
            "dtypes": dtypes,
            "statistics_batch_size": SIZES,
            "passes_per_turn": PASSES,
            "repeats": options.repeats,
            "seed": SEED,
        },
        "headline": "processor_time_ratio" if options.device == "cpu" else "time_ratio",
        "headline_reason": "the machine is shared" if options.device == "cpu" else "the device computes",
        "largest_relative_difference": largest,
        "rows": rows,
    }
    show(result)
    save(options.out, result)


def show(result: dict[str, Any]) -> None:
    """Print the table of the ratios to quote."""
    config, headline = result["config"], result["headline"]
    names = list(dict.fromkeys(row["variant"] for row in result["rows"] if row["variant"] != RIVAL))
    shown = table(
        *("order", "shape", "type", "compiled", "torch, ms", *names),
        left=3,
        title=f"forward + backward on {config['device']}, {torch.get_num_threads()} threads, {config['repeats']} repetitions; "
        f"{headline.replace('_', ' ')} to torch's layer, median (range)",
        caption=f"targets on a CPU in NCHW, not compiled: {', '.join(f'{name} <= {TARGETS[name]}' for name in TARGETS)}",
    )
    lines: dict[tuple[str, ...], list[str]] = {}
    for row in result["rows"]:
        key = (row["memory_format"], "x".join(map(str, row["shape"])), row["dtype"], "yes" if row["compiled"] else "no")
        ratio = row[headline]
        lines.setdefault(key, []).append(
            f"{row[headline.replace('ratio', 'ms')]['median']:.3f}"
            if row["variant"] == RIVAL
            else f"{ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})"
        )
    for key, line in lines.items():
        shown.add_row(*key, *line)
    console = Console(width=140)
    console.print(shown)
    over = [
        f"{row['variant']} at {row['shape']}: {row[headline]['median']:.2f}"
        for row in result["rows"]
        if row["target"] is not None and row[headline]["median"] > row["target"]
    ]
    console.print("targets missed: " + ("; ".join(over) or "none"))


if __name__ == "__main__":
    main()
