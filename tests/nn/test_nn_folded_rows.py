"""A warning where groups are of rows of which each sample has several, and no trace of the look."""

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnlens

WORDS = "layer 'bn' is given 160 rows where the model is given 16 samples, .*groups are of 64 rows: if 10 rows are"


class Steps(nn.Module):
    def __init__(self, build: Callable[[int], nn.Module] = nn.BatchNorm1d) -> None:
        super().__init__()
        self.first, self.bn, self.head = nn.Linear(6, 8), build(8), nn.Linear(8, 3)

    def forward(self, x: Tensor, fail: bool = False) -> Tensor:
        h = self.bn(self.first(x).flatten(0, 1))
        if fail:
            raise RuntimeError("by the user")
        return self.head(h.view(len(x), -1, 8).mean(1))


def hooks(model: nn.Module) -> list[Any]:
    kinds = ("_forward_pre_hooks", "_forward_hooks", "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called")
    return [hook for module in model.modules() for kind in kinds for hook in getattr(module, kind)]


def converted() -> nn.Module:
    return bnlens.convert(Steps(), statistics_batch_size=64)


def built() -> nn.Module:
    model = Steps(bnlens.nn.BatchNorm1d)
    bnlens.set_statistics_batch_size(model, 64)
    return model


X = torch.randn(16, 10, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("make", [converted, built])
@pytest.mark.parametrize(
    "call", [lambda m: m(X), lambda m: m(x=X), lambda m: copy.deepcopy(m)(X)], ids=["x", "x=", "copy"]
)
def test_a_warning_once(make: Callable[[], nn.Module], call: Callable[[nn.Module], Tensor]) -> None:
    model = make()
    with pytest.warns(UserWarning, match=WORDS) as caught:
        call(model)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bnlens.revert(model)(X)
    assert not hooks(model)


def test_nothing_is_left_after_one_pass() -> None:
    model = converted()
    model.eval()(X)  # tells nothing
    with pytest.raises(RuntimeError, match="by the user"), pytest.warns(UserWarning, match=WORDS):
        model.train()(X, fail=True)
    with pytest.warns(UserWarning, match=WORDS):
        model(X)
    assert not hooks(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(X)


def _in_groups(model: nn.Module) -> None:
    bnlens.set_statistics_batch_size(model, 8)
    with bnlens.groups(model, samples_of=10):
        model(X)


def _compiled(model: nn.Module) -> None:
    torch.compile(model, fullgraph=True, backend="eager")(X)


QUIET: dict[str, Callable[[nn.Module], object]] = {
    "in groups": _in_groups,
    "population": lambda m: bnlens.set_statistics_batch_size(m, math.inf) and m(X),
    "the batch": lambda m: bnlens.set_statistics_batch_size(m, None) and m(X),
    "samples are rows": lambda m: bnlens.convert(nn.Sequential(nn.BatchNorm1d(6)), statistics_batch_size=8)(X[:, 0]),
    "more rows, no multiple": lambda m: Cut()(X),
    "no tensor": lambda m: Inputs()([1]),
    "compiled": _compiled,
}


class Cut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(6)
        bnlens.convert(self, statistics_batch_size=17)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(x.flatten(0, 1)[:153])


class Inputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = bnlens.convert(Steps(), statistics_batch_size=64)
        bnlens.nn.unwatch_rows(self.net)
        bnlens.nn.watch_rows(self)

    def forward(self, x: list[int]) -> Tensor:
        return self.net(X)


@pytest.mark.parametrize("run", QUIET.values(), ids=QUIET)
def test_no_warning(run: Callable[[nn.Module], object]) -> None:
    model = converted()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.compile
        run(model)
