"""``bnlens report``: measure and predict the gap of a network from the command line."""

from __future__ import annotations

import importlib
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

if TYPE_CHECKING:
    from torch import nn

__all__ = ["report_command"]

_MAX_SAMPLES = 4096  # measured, unless the user says how many
_CHECKPOINT = "Weights: .safetensors, or what torch.save wrote."
_DATA = "'digits' (embedded), a CIFAR-10 folder, or a folder of images by class."
_FIRST_ORDER = "Predict by the theory's first-order law, too."
_FISHER = "Predict with the true Fisher matrix in that law, too."
_GROUPS = "Another M to measure at, for predictions; may be repeated."
_LOGITS = "Predict by rescaling the noise of the outputs, too."
_MODEL = "A function that returns the model, as package.module:factory, or a built-in net: mlp, cnn, resnet."
_PICTURE = "Write the figure of the gap over M, as .png, .svg or .pdf."
_PRECISION = "Draw groups until the standard error of the network's gap is this part of it."
_ROUNDS = "Make so many shuffles of the images instead, whatever the precision."
_SAVE = "Write the report as JSON, for bnlens.Report.load."
_SECONDS = "Stop after so many seconds with what there is."
_SIZES = "Measure with the statistics of M images; may be repeated."
_STEPS = "Train a built-in net this long first, if no checkpoint is given."
_SUBSET = "Use a balanced subset of P images."
_VERBOSE = "Show every column: other predictions, what each layer sees."


class SplitName(str, Enum):
    """Part of the data."""

    train = "train"
    test = "test"


def report_command(
    model: Annotated[str, Argument(metavar="MODEL", help=_MODEL)] = "cnn",
    data: Annotated[str, Option(metavar="NAME|DIR", help=_DATA)] = "digits",
    checkpoint: Annotated[Path | None, Option(metavar="FILE", help=_CHECKPOINT, show_default=False)] = None,
    train_steps: Annotated[int, Option(min=0, metavar="N", help=_STEPS)] = 40,
    sizes: Annotated[
        list[int] | None,
        Option("--statistics-batch-size", "-M", min=2, metavar="M", help=_SIZES, show_default="16 and 64"),
    ] = None,
    others: Annotated[
        list[int] | None,
        Option("--prediction-batch-size", min=2, metavar="M", help=_GROUPS, show_default="around and between the M"),
    ] = None,
    precision: Annotated[float, Option(metavar="PART", help=_PRECISION)] = 0.05,
    max_seconds: Annotated[float | None, Option(metavar="S", help=_SECONDS, show_default=False)] = None,
    rounds: Annotated[int | None, Option(min=1, metavar="N", help=_ROUNDS, show_default=False)] = None,
    shares: Annotated[bool, Option(help="Split the gap among the layers.")] = True,
    alone: Annotated[bool, Option("--alone", help="Measure each layer alone, too.")] = False,
    first_order: Annotated[bool, Option("--first-order", help=_FIRST_ORDER)] = False,
    fisher: Annotated[bool, Option("--fisher", help=_FISHER)] = False,
    logits: Annotated[bool, Option("--logits", help=_LOGITS)] = False,
    device: Annotated[
        str | None, Option(metavar="NAME", help="Where to run: cpu, cuda, cuda:1.", show_default=False)
    ] = None,
    samples: Annotated[
        int | None, Option(metavar="P", help=_SUBSET, show_default=f"all; at most {_MAX_SAMPLES:,} are measured")
    ] = None,
    split: Annotated[SplitName, Option(help="Part of the data.")] = SplitName.train,
    seed: Annotated[int, Option(help="Seed of the subset, the training, the groups and the Fisher draws.")] = 0,
    verbose: Annotated[bool, Option("--verbose", "-v", help=_VERBOSE)] = False,
    as_json: Annotated[bool, Option("--json", help="Print the report as JSON on standard output.")] = False,
    html: Annotated[Path | None, Option(metavar="FILE", help="Write a page with figures.", show_default=False)] = None,
    png: Annotated[Path | None, Option(metavar="FILE", help=_PICTURE, show_default=False)] = None,
    save: Annotated[Path | None, Option(metavar="FILE", help=_SAVE, show_default=False)] = None,
) -> None:
    """Measure and predict how much BN regularises a network.

    The gap of batch normalization, layer by layer and for the whole network, in nats of the cross-entropy per image.
    """
    from torch.nn.functional import cross_entropy

    from bnlens._files import check_writable
    from bnlens.measure import report
    from bnlens.render import check_picture
    from bnlens.train import load_data, loader, ready_net

    for path in (html, save):
        if path is not None:
            check_writable(path)
    if png is not None:
        check_picture(png, option="--png")
    images = load_data(data, split=split.value, samples=samples, seed=seed)
    given, progress = _from_factory(model) if ":" in model else model, sys.stderr.isatty()
    network = ready_net(
        given, images, name=model, checkpoint=checkpoint, steps=train_steps, seed=seed, progress=progress
    )
    result = report(
        network,
        loader(images, 256, shuffle=True, seed=seed),
        cross_entropy,
        statistics_batch_size=sizes or [16, 64],
        prediction_batch_size=others or None,
        precision=precision,
        max_seconds=max_seconds,
        rounds=rounds,
        shares=shares,
        alone=alone,
        first_order=first_order,
        fisher=fisher,
        logits=logits,
        device=device,
        max_samples=samples or _MAX_SAMPLES,
        seed=seed,
    )
    if save is not None:
        result.to_json(save)
    if html is not None:
        result.to_html(html)
    if png is not None:
        result.savefig(png)
    typer.echo(result.to_json() if as_json else result.table(verbose=verbose))
    for path in (html, png, save):
        if path is not None:
            typer.echo(f"Written: {path}", err=as_json)


def _from_factory(name: str) -> nn.Module:
    from torch import nn

    from bnlens.errors import ModelError, UsageError

    module_name, _, attribute = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does; it stays, for what the model imports later
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # the user's code may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"cannot import {name!r}: {reason}; give a function as package.module:factory") from error
    try:
        network = factory if isinstance(factory, nn.Module) else factory()
    except Exception as error:
        raise ModelError(f"{name!r} raised {type(error).__name__}: {error}; it is called without arguments") from error
    if not isinstance(network, nn.Module):
        raise ModelError(f"{name!r} gives {type(network).__name__}, not a torch.nn.Module; return the model from it")
    return network
