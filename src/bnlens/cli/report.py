"""``bnlens report``: measure and predict the gap of a network from the command line."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from bnlens.cli._functions import call_function, import_function, looks_like_code
from bnlens.cli._outputs import check_outputs, kept_beside

if TYPE_CHECKING:
    from torch import nn

    from bnlens.measure import Report

__all__ = ["NETS", "report_command"]

NETS = (
    "mlp",
    "cnn",
    "cnn-fc",
    "resnet",
    "resnet8",
    "resnet14",
    "resnet20",
    "resnet32",
    "resnet56",
    "resnet110",
    "resnet18",
)
"""The names of `bnlens.train.NETS`, which cannot be asked without torch."""

_BATCH = 256
_MAX_SAMPLES = 4096  # measured, unless the user says how many
_CHECKPOINT = "Weights: .safetensors, or what torch.save wrote."
_COUPLES = f"The loss of an image depends on the others of its batch: measure whole batches of {_BATCH}."
_DATA = "'digits' (embedded), a CIFAR-10 folder, or a folder of images by class."
_FIRST_ORDER = "Predict by the theory's first-order law, too."
_FORWARD = (
    "A function (model, batch) -> (output, target), as module:function, for models that take or return something else."
)
_FISHER = "Predict with the true Fisher matrix in that law, too."
_GROUPS = "Another M to measure at, for predictions; may be repeated."
_LOGITS = "Predict by rescaling the noise of the outputs, too."
_LOSS = "A function of torch.nn.functional, or your own (output, target) -> loss as module:function."
_MODEL = (
    "A function that returns the model, as package.module:factory or path/to/file.py:factory, or a built-in net: "
    f"{', '.join(NETS)}."
)
_PREDICT = "Also predict at this M, which is not measured; may be repeated."
_PICTURE = "Write the figure of the gap over M, as .png, .svg or .pdf."
_PRECISION = "Draw groups until the standard error of the network's gap is this part of it."
_ROUNDS = "Make so many shuffles of the images instead, whatever the precision."
_SAVE = "Write the report as JSON, for bnlens.Report.load."
_SECONDS = "Stop after so many seconds with what there is."
_SIZES = "Measure with the statistics of M images; may be repeated."
_TRAIN_STEPS = 40
_STEPS = "Train a built-in net this long first, if no checkpoint is given."
_SUBSET = "Use a balanced subset of P images."
_VERBOSE = "Show every column: other predictions, what each layer sees."


class SplitName(str, Enum):
    """Part of the data."""

    train = "train"
    test = "test"


def report_command(
    model: Annotated[str, Argument(metavar="MODEL", help=_MODEL, autocompletion=lambda: list(NETS))] = "cnn",
    data: Annotated[str, Option(metavar="NAME|DIR", help=_DATA)] = "digits",
    checkpoint: Annotated[Path | None, Option(metavar="FILE", help=_CHECKPOINT, show_default=False)] = None,
    train_steps: Annotated[int | None, Option(min=0, metavar="N", help=_STEPS, show_default=str(_TRAIN_STEPS))] = None,
    loss: Annotated[str, Option(metavar="NAME", help=_LOSS)] = "cross_entropy",
    forward: Annotated[str | None, Option(metavar="NAME", help=_FORWARD, show_default=False)] = None,
    couples: Annotated[bool, Option("--couples", help=_COUPLES)] = False,
    statistics_batch_size: Annotated[
        list[int] | None,
        Option("--statistics-batch-size", "-M", min=2, metavar="M", help=_SIZES, show_default="16 and 64"),
    ] = None,
    prediction_batch_size: Annotated[
        list[int] | None,
        Option(min=2, metavar="M", help=_GROUPS, show_default="around and between the M"),
    ] = None,
    predict: Annotated[list[int] | None, Option(min=2, metavar="M", help=_PREDICT, show_default=False)] = None,
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
        int | None,
        Option(min=1, metavar="P", help=_SUBSET, show_default=f"all; at most {_MAX_SAMPLES:,} are measured"),
    ] = None,
    split: Annotated[SplitName, Option(help="Part of the data.")] = SplitName.train,
    seed: Annotated[
        int,
        Option(min=0, metavar="N", help="Seed of the subset, the training, the groups and the Fisher draws."),
    ] = 0,
    verbose: Annotated[bool, Option("--verbose", "-v", help=_VERBOSE)] = False,
    as_json: Annotated[bool, Option("--json", help="Print the report as JSON on standard output.")] = False,
    html: Annotated[Path | None, Option(metavar="FILE", help="Write a page with figures.", show_default=False)] = None,
    png: Annotated[Path | None, Option(metavar="FILE", help=_PICTURE, show_default=False)] = None,
    save: Annotated[Path | None, Option(metavar="FILE", help=_SAVE, show_default=False)] = None,
) -> None:
    """Measure and predict how much BN regularises a network.

    The gap of batch normalization, layer by layer and for the whole network, in nats of the cross-entropy per image.
    """
    from bnlens.measure import check_request, report
    from bnlens.render import check_picture
    from bnlens.train import load_data, loader, ready_net

    check_outputs({"--html": html, "--png": png, "--save": save}, {"--checkpoint": checkpoint})
    if png is not None:
        check_picture(png, option="--png")
    sizes, most = statistics_batch_size or [16, 64], samples or _MAX_SAMPLES
    loss_fn = _loss(loss)
    asked: dict[str, Any] = {} if forward is None else {"forward": import_function(forward, "forward")}
    given = _from_factory(model) if looks_like_code(model) else model
    steps = _steps(train_steps, model if given is not model else None, checkpoint)
    images = load_data(data, split=split.value, samples=samples, seed=seed)
    request: dict[str, Any] = {"statistics_batch_size": sizes, "prediction_batch_size": prediction_batch_size or None}
    request |= {"precision": precision, "max_seconds": max_seconds, "device": device}
    check_request(min(len(images), most), **request)
    network = ready_net(
        given, images, name=model, checkpoint=checkpoint, steps=steps, seed=seed, progress=True, **asked
    )
    result = report(
        network,
        loader(images, _BATCH, shuffle=True, seed=seed),
        loss_fn,
        rounds=rounds,
        shares=shares,
        alone=alone,
        first_order=first_order,
        fisher=fisher,
        logits=logits,
        couples=couples,
        max_samples=most,
        seed=seed,
        **request,
        **asked,
    )
    with kept_beside(result.to_json, "report", ".json"):
        if save is not None:
            result.to_json(save)
        if html is not None:
            result.to_html(html)
        if png is not None:
            result.savefig(png)
        typer.echo(_json(result, predict) if as_json else _text(result, predict, verbose=verbose))
        for path in (html, png, save):
            if path is not None:
                typer.echo(f"Written: {path}", err=as_json)


def _text(result: Report, predict: list[int] | None, *, verbose: bool) -> str:
    table = result.table(verbose=verbose)
    return f"{table}\n\n{result.predict(predict)!r}" if predict else table


def _json(result: Report, predict: list[int] | None) -> str:
    """Return the report; with ``predictions``, a list of rows of the network and the layers, where they are asked for."""
    if not predict:
        return result.to_json()
    rows = json.loads(result.predict(predict).to_frame().reset_index().to_json(orient="records"))
    return json.dumps({**json.loads(result.to_json()), "predictions": rows}, indent=1)


def _steps(asked: int | None, own: str | None, checkpoint: Path | None) -> int:
    """Return how long to train."""
    from bnlens.errors import UsageError

    if asked is not None and (own or checkpoint):
        reason = f"{own} is not" if own else "--checkpoint gives weights to one that is not"
        raise UsageError(f"--train-steps trains a built-in net, and {reason} trained; leave it out")
    return _TRAIN_STEPS if asked is None else asked


def _loss(name: str) -> Callable[..., Any]:
    """Return the loss of that name; an instance of it, if it is a class."""
    from torch.nn import functional

    from bnlens._names import did_you_mean
    from bnlens.errors import UsageError

    if looks_like_code(name):
        found = import_function(name, "loss")
        found = call_function(found, name) if inspect.isclass(found) else found
    else:
        losses = [each for each in dir(functional) if each.endswith(("loss", "entropy", "div", "logits"))]
        if name not in losses:
            raise UsageError(f"--loss: there is no loss {name!r}; {did_you_mean(name, losses, 'give module:function')}")
        found = getattr(functional, name)
    if not callable(found):
        raise UsageError(f"--loss {name} is {type(found).__name__}; give a function (output, target) -> loss")
    return found  # type: ignore[no-any-return]


def _from_factory(name: str) -> nn.Module:
    from torch import nn

    from bnlens.errors import ModelError

    found = import_function(name)
    network = found if isinstance(found, nn.Module) or not callable(found) else call_function(found, name)
    if not isinstance(network, nn.Module):
        raise ModelError(f"{name!r} gives {type(network).__name__}, not a torch.nn.Module; return the model from it")
    return network
