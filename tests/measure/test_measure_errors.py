"""What a user can get wrong: one sentence with the cause and the fix, of the class that the docs name."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from measure_cases import batches, data, mlp, plain, seeded
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Subset, TensorDataset

import bnlens
from bnlens.errors import BnlensError, DataError, LossError, ModelError, UsageError


def report(model: nn.Module | None = None, loader: Any = None, loss: Any = F.cross_entropy, **options: Any) -> Any:
    chosen = {"statistics_batch_size": (4, 8), "rounds": 1} | options
    return bnlens.report(
        seeded(mlp)() if model is None else model, plain() if loader is None else loader, loss, **chosen
    )


class Around(nn.Module):
    """Does something to the MLP's input or output that a report cannot work with."""

    def __init__(self, do: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.net, self.do = seeded(mlp)(), do

    def forward(self, x: Tensor) -> Any:
        return self.do(self.net, x)


class Bypass(nn.BatchNorm1d):
    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)) / x.std(0)


def with_nan_weight() -> nn.Module:
    model = seeded(mlp)()
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    return model


def all_frozen() -> nn.Module:
    model = seeded(mlp)().train()
    model[1].eval()
    model[4].eval()
    return model


def forgetful() -> nn.Module:
    calls = iter(range(1000))
    return Around(lambda net, x: net(x) if next(calls) < 5 else net[4:](net[0:1](x)[:, :4]))


def eager() -> nn.Module:
    calls = iter(range(1000))
    return Around(lambda net, x: net(x) if next(calls) < 8 else net[4:](net[4](net[:4](x))))


def nan_at(row: int) -> list[Any]:
    x, y = data(5)
    x[row, 0] = float("nan")
    return batches(x, y)


def nan_target_at(row: int) -> list[Any]:
    x, y = data(5, target=lambda generator: torch.rand(48, 3, generator=generator))
    y[row] = float("nan")
    return batches(x, y)


def labels_plus(step: int) -> list[Any]:
    x, y = data(5)
    y[-1] = step
    return batches(x, y)


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return mlp()


def of_inference() -> nn.Module:
    with torch.inference_mode():
        return mlp()


def quietly(make: Callable[..., nn.Module], *args: Any) -> nn.Module:
    """Make a model by a way of PyTorch's that warns of its age, or its youth."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(*args)


def quantized() -> nn.Module:
    return nn.Sequential(*seeded(mlp)()[:-1], torch.ao.nn.quantized.dynamic.Linear(4, 3))


X, Y = data(5)
# By the class of the error and the argument that is wrong: its value, and what the error says.
ERRORS: dict[tuple[type[BnlensError], str], dict[str, tuple[Any, str]]] = {
    (ModelError, "model"): {
        "on meta": (on_meta(), r"'0.weight' is on the meta device and has no values; call model.to_empty"),
        "half": (seeded(mlp)().half(), r"its parameters are float16: call .float\(\) on it"),
        "of complex numbers": (
            quietly(nn.BatchNorm1d(5).to, torch.complex64),
            "layer '.model.' has complex numbers.*give a real model",
        ),
        "scripted": (
            quietly(torch.jit.script, seeded(mlp)()),
            "the model is scripted or traced, .*; give the model before torch.jit",
        ),
        "traced": (quietly(torch.jit.trace, seeded(mlp)().eval(), data(5)[0]), "the model is scripted or traced"),
        "scripted in part": (
            nn.Sequential(quietly(torch.jit.script, nn.BatchNorm1d(5))),
            "layer '0' is scripted or traced",
        ),
        "quantized": (
            quietly(quantized),
            "layer '6' is a quantized Linear, without gradients; give the model before quantization",
        ),
        "of inference": (
            of_inference(),
            r"'0.weight' was made under torch.inference_mode\(\).*build the model outside",
        ),
        "no BN layer": (nn.Linear(5, 3), "Linear has no BN layer, .*; give a model with BatchNorm1d"),
        "all frozen": (all_frozen(), "no BN layer of the model runs .*all are frozen"),
        "lazy": (nn.Sequential(nn.LazyBatchNorm1d()), "lazy modules that never ran; run it on one batch"),
        "bypass": (
            nn.Sequential(nn.Linear(5, 3), Bypass(3)),
            r"layer '1' \(Bypass\) normalises without torch.nn.functional.batch_norm.*; call that function in its forward",
        ),
        "rows": (
            Around(lambda net, x: net(torch.cat([x, x[:1]]))[: len(x)]),
            r"layer 'net.1' is given \d+ rows for \d+ samples .*every BN layer must have one row per sample",
        ),
        "fewer calls": (forgetful(), "'net.1' of a BN layer .*the model must run the same layers every time"),
        "more calls": (eager(), "call 'net.4#2' of a BN layer was not seen before; the model must run"),
        "tuple": (Around(lambda net, x: (net(x), x)), r"neither a tensor nor .*logits; pass forward="),
        "dict without logits": (Around(lambda net, x: {"out": net(x)}), r"pass forward=\(model, batch\)"),
        "fewer rows": (Around(lambda net, x: net(x)[1:]), r"returns shape \(\d+, 3\) for \d+ samples; return a"),
        "scalar": (Around(lambda net, x: net(x).sum()), r"returns shape \(\) for \d+ samples; return a tensor"),
        "checkpointing": (
            Around(lambda net, x: checkpoint(net[3:], net[1](net[0](x)), use_reentrant=False)),
            "layer 'net.4' runs outside the model's forward pass.* switch checkpointing off",
        ),
    },
    (ModelError, "loader"): {
        "channels": (
            [(X[:, :4], Y)],
            r"cannot run on a batch of the loader, float32 \(48, 4\), int64 .*mat1 .*; give inputs of the sh",
        ),
        "bytes": (
            [(X.to(torch.uint8), Y)],
            r"batch of the loader, uint8 \(48, 5\), .*; give inputs as float32, the dtype of its param",
        ),
        "doubles": ([(X.double(), Y)], r"batch of the loader, float64 .*; give inputs as float32"),
        "complex": ([(X.to(torch.complex64), Y)], "complex64 .*; it takes no complex inputs: give real ones"),
    },
    (ModelError, "forward"): {
        "one tensor": (lambda model, batch: model(batch[0]), r"forward returns shape .*the pair \(output, target\)"),
        "no tensor": (lambda model, batch: ("a", batch[1]), "returns str for .* samples; return a tensor"),
    },
    (DataError, "loader"): {
        "a dataset": (
            TensorDataset(*data(5)),
            r"loader is a dataset, of type TensorDataset, .*; wrap it, as in torch.utils.data.Data",
        ),
        "part of one": (Subset(TensorDataset(*data(5)), [0, 1]), "loader is a dataset, of type Subset"),
        "samples": (
            [(x, y) for x, y in zip(*data(5), strict=True)],
            "a single number for its targets, .*wrap the dataset",
        ),
        "samples with numbers": (
            [(x, int(y)) for x, y in zip(*data(5), strict=True)],
            "a single number for its targets",
        ),
        "a batch": (data(5), "loader is one batch, tensors side by side; put it in a list"),
        "a tensor": (data(5)[0], "loader is of type Tensor; give one that yields batches"),
        "a name": ("digits", "loader is of type str; give one that yields batches"),
        "no loader": (3, "loader is of type int; give one that yields batches"),
        "empty loader": ([], "the loader is empty; give a loader that yields batches"),
        "batches of nothing": ([(X[:0], Y[:0])], "the loader is empty; give"),
        "too few": ([(X[:15], Y[:15])], "gave 15 samples, fewer than twice the group size 8; give at least 16"),
        "no target": ([X], r"a batch has no target; yield \(inputs, targets\) or pass forward="),
        "lone input": ([(X,)], r"a batch has no target; yield \(inputs, targets\)"),
        "no target key": ([{"x": X, "class": Y}], r"keys \['class', 'x'\] and no target; name one 'labels'"),
        "no input": (
            [{"x": X, "id": Y, "y": Y}],
            r"Sequential does not take the inputs of a batch, \['id', 'x'\] \(missing a required .*, or pass forward=",
        ),
        "more inputs": ([(X, Y, Y)], r"does not take .*, 2 by position \(too many positional arguments\); leave out"),
        "no tensor": ([(X.tolist(), Y.tolist())], r"holds no tensor; yield tensors, such as \(inputs, targets\)"),
        "lengths": ([(X, Y[:5])], r"tensors of a batch have different lengths \[5, 48\]; dimension 0 must be"),
        "name lengths": ([(X, ["a", "b"], Y)], r"different lengths \[2, 48\]"),
        "structure": ([(X, Y), {"x": X, "labels": Y}], "differ in structure; make every batch the same"),
        "nan in later data": (nan_at(40), "input of layer '1' is not finite; check the data and the model's weights"),
        "shapes": ([(X, Y), (X[:, :4], Y)], r"different shapes \[\(5,\), \(4,\)\]; resize or pad"),
    },
    (DataError, "max_samples"): {
        "too few": (12, r"max_samples allows 12 samples.*max_samples counts too.*smaller statistics_batch_size"),
    },
    (LossError, "model"): {
        "nan in weights": (with_nan_weight(), "not finite on the first batch; check .*the weights"),
    },
    (LossError, "loader"): {
        "nan in data": (
            nan_at(2),
            "not finite on the first batch; check the inputs, the targets, the weights and the running stat",
        ),
        "nan in later targets": (nan_target_at(40), r"not finite for 1 of \d+ samples; check the data and the weights"),
        "labels": (labels_plus(3), "label 3 is out of range: the model has 3 outputs.* fix the labels or the last"),
        "negative labels": (labels_plus(-1), "label -1 is out of range"),
        "ignored labels": ([(X, torch.full_like(Y, -100))], "all targets are ignored.*; give labels that count"),
    },
    (LossError, "loss"): {
        "class weights": (
            lambda o, t: F.cross_entropy(o, t, torch.tensor([1.0, 2.0, 9.0])),
            "neither the mean nor the sum of its samples' losses .*reduction='none'",
        ),
        "wrong shape": (
            lambda o, t: F.cross_entropy(o, t).repeat(2),
            r"returns shape \(2,\) for 6 samples; return one value per sample",
        ),
        "that raises": (
            lambda o, t: o @ o,
            r"cannot be computed from outputs of shape \(6, 3\) .*fix the loss, the targets or the model's output",
        ),
    },
    (UsageError, "model"): {"no model": ("resnet", "model is 'resnet'; it must be a torch.nn.Module")},
    (UsageError, "forward"): {
        "a number": (3, "forward is 3; it must be a function"),
        "of the batch alone": (
            lambda batch: batch,
            r"forward is <lambda>\(batch\); it must be a function of 2 arguments",
        ),
    },
    (UsageError, "optimizer"): {"a number": (5, "optimizer is 5; it must be a torch.optim.Optimizer or None")},
    (UsageError, "seed"): {
        name: (value, "seed is .*; it must be an integer")
        for name, value in {"text": "a", "None": None, "1.5": 1.5, "-1": -1, "2**70": 2**70}.items()
    },
    (LossError, "likelihood"): {
        "rows": (
            lambda o, g: o[:2],
            r"draws other than one target for each of 6 outputs; return targets of shape \(6, ...\)",
        ),
        "shape": (
            lambda o, g: o,
            r"draws targets of shape \(6, 3\), not \(6,\), as the loader's; return targets like these",
        ),
        "no tensor": (lambda o, g: "a", r"draws targets of shape None, not \(6,\)"),
        "that raises": (lambda o, g: o @ o, r"draws no targets for outputs of shape \(6, 3\) \(.*\); fix it"),
    },
    (UsageError, "loss"): {
        "a class": (
            nn.CrossEntropyLoss,
            r"loss_fn is the class CrossEntropyLoss; give an instance of it, CrossEntropyLoss\(\)",
        ),
        "a name": ("cross_entropy", r"loss_fn is 'cross_entropy'; it must be a function"),
    },
    (UsageError, "statistics_batch_size"): {
        "1": (1, "statistics_batch_size is 1; it must be an integer of at least 2"),
        "1 among others": ((16, 1), "statistics_batch_size has 1 in it; each must be an integer of at least 2"),
        "16.0": (16.0, "statistics_batch_size is 16.0; it must be an integer"),
        "'16'": ("16", "statistics_batch_size is '16'; it must be an integer"),
        "True": (True, "statistics_batch_size is True; it must be an integer"),
        "None": ((8, None), "statistics_batch_size has None in it; each must be an integer"),
        "none": ((), "statistics_batch_size is empty; give at least one M"),
    },
    (UsageError, "prediction_batch_size"): {
        "1": (1, "prediction_batch_size is 1; it must be an integer of at least 2"),
        "measured": (8, "prediction_batch_size 8 is also measured; choose another"),
    },
    (UsageError, "rounds"): {"0": (0, "rounds is 0; it must be an integer of at least 1")},
    (UsageError, "precision"): {
        "0": (0, "precision is 0; it must be a number above 0"),
        "nan": (float("nan"), "precision is nan; it must be a number"),
        "text": ("5%", "precision is '5%'; it must be a number"),
        "True": (True, "precision is True; it must be a number"),
    },
    (UsageError, "max_seconds"): {"-1": (-1.0, r"max_seconds is -1.0; it must be a number above 0")},
    (UsageError, "alone"): {
        "unknown": (["1", "bn1"], "alone names 'bn1', which is no BN layer that runs; did you mean '1'"),
        "one name": ("5", "alone names '5', which is no BN layer that runs"),
    },
    (UsageError, "device"): {
        "unknown": ("nowhere", r"device 'nowhere' cannot be used \(.*\); give one such as 'cpu' or 'cuda:0'"),
        "no device": (1.5, "device 1.5 cannot be used"),
    },
    (UsageError, "max_samples"): {"1.5": (1.5, "max_samples is 1.5; it must be an integer")},
    (UsageError, "likelihood"): {
        "unknown": ("poisson", "likelihood is 'poisson'; it must be one of .*, a function or None")
    },
    (UsageError, "reduction"): {
        "unknown": ("average", "reduction is 'average'; it must be one of 'mean', 'sum', 'none' or None")
    },
}


@pytest.mark.parametrize(
    ("kind", "argument", "value", "words"),
    [
        pytest.param(kind, argument, *case, id=f"{argument}: {name}")
        for (kind, argument), cases in ERRORS.items()
        for name, case in cases.items()
    ],
)
def test_error(kind: type[BnlensError], argument: str, value: Any, words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        report(**{argument: value})
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_data_that_are_not_finite_without_running_statistics() -> None:
    with pytest.raises(DataError, match="input of layer '1' is not finite; check the data and the model's weights"):
        report(mlp(track_running_stats=False), nan_at(46))


@pytest.mark.parametrize("sizes", [{"statistics_batch_size": 32}, {"prediction_batch_size": 32}])
def test_too_few_samples_are_told_before_they_are_read(sizes: dict[str, int]) -> None:
    class Unread(TensorDataset):
        def __getitem__(self, index: Any) -> Any:
            raise AssertionError("read")

    with pytest.raises(
        DataError, match="the loader has 48 samples, fewer than twice the group size 32; give at least 64"
    ):
        report(loader=DataLoader(Unread(X, Y), batch_size=8), **sizes)


@pytest.mark.parametrize("name", ["on meta", "scripted", "scripted in part", "of inference", "of complex numbers"])
def test_recalibrate_refuses_such_models_too(name: str) -> None:
    model, words = ERRORS[ModelError, "model"][name]
    with pytest.raises(ModelError, match=words):
        bnlens.recalibrate(model, plain())


@pytest.mark.parametrize("name", ["channels", "bytes", "doubles", "complex"])
def test_recalibrate_tells_of_such_batches_too(name: str) -> None:
    loader, words = ERRORS[ModelError, "loader"][name]
    with pytest.raises(ModelError, match=words):
        bnlens.recalibrate(seeded(mlp)(), loader)


def fail(error: Exception) -> nn.Module:
    def do(net: nn.Module, x: Tensor) -> Tensor:
        raise error

    return Around(do)


@pytest.mark.parametrize("error", [RuntimeError("my own"), KeyError("layer"), ZeroDivisionError()])
def test_an_error_of_the_model_is_left_as_it_is_with_a_note(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        report(fail(error))
    assert caught.value is error
    (note,) = error.__notes__
    assert note.startswith("raised by the code of Around or of forward=, on a batch of float32 (16, 5)")
