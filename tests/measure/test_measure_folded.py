"""Whose the rows are is found where nobody says it, or it is refused."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from folded_nets import CLASSES, STEPS, Folded, Unfolded, Views, generator, same, sequences
from measure_cases import batches, seeded
from torch import Tensor, nn

import bnlens
from bnlens.errors import ModelError

OPTIONS: dict[str, Any] = {"statistics_batch_size": (4, 8), "rounds": 2, "alone": True, "progress": False}


class TimeFirst(Folded):
    """The rows of all samples at step 0, then at step 1, and so on."""

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.first(x.transpose(0, 1).flatten(0, 1))))
        h = F.relu(self.bn2(self.second(h)))
        return self.head(self.bn3(h.view(-1, len(x), 4).mean(0)))


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize(("net", "words"), [(Folded, "one after the other"), (TimeFirst, r"as in \(rows, samples\)")])
def test_steps_are_found(net: type[nn.Module], words: str, hold: bool) -> None:
    loader = batches(*sequences())
    found, expected = (
        bnlens.report(seeded(make)().double(), loader, F.cross_entropy, hold=hold, **OPTIONS)
        for make in (net, Unfolded)
    )
    same(found, expected)
    (note,) = [note for note in found.notes if note.kind == "rows"]
    assert re.match(f"BN layers have {STEPS} rows per sample, {words}", note.text)
    assert not [note for note in expected.notes if note.kind == "rows"]


def test_views_are_found() -> None:
    g = generator()
    loader = batches(torch.randn(48, 2, 2, 5, 5, generator=g).double(), torch.randint(CLASSES, (48,), generator=g))
    nets = [seeded(lambda kind=kind: Views(kind))().double() for kind in (True, False)]
    same(*(bnlens.report(net, loader, F.cross_entropy, **OPTIONS) for net in nets))


def by_row(forward: Callable[[Folded, Tensor], Tensor]) -> type[Folded]:
    """A net whose rows are not in an order that is found."""

    class Net(Folded):
        def forward(self, x: Tensor) -> Tensor:
            return forward(self, x)

    return Net


def _mixed(net: Folded, x: Tensor) -> Tensor:
    order = torch.randperm(len(x) * STEPS, generator=torch.Generator().manual_seed(len(x)))
    h = net.second(F.relu(net.bn1(net.first(x.flatten(0, 1)[order]))))
    return net.head(net.bn3(F.relu(net.bn2(h))[order.argsort()].view(len(x), -1, 4).mean(1)))


def _two_ratios(net: Folded, x: Tensor) -> Tensor:
    h = F.relu(net.bn1(net.first(x.flatten(0, 1)))).view(len(x), -1, 5)[:, :2]
    h = F.relu(net.bn2(net.second(h.flatten(0, 1)))).view(len(x), -1, 4).mean(1)
    return net.head(net.bn3(h))


def _constant(net: Folded, x: Tensor) -> Tensor:
    h = net.bn1(net.first(torch.ones_like(x).flatten(0, 1)))
    return net.head(net.bn3(net.bn2(net.second(h)).view(len(x), -1, 4).mean(1)))


@pytest.mark.parametrize("forward", [_mixed, _two_ratios, _constant])
def test_rows_in_no_order_that_shows_are_refused(forward: Any) -> None:
    model = seeded(by_row(forward))().double()
    with pytest.raises(ModelError, match=r"layer 'bn\d' is given \d+ rows for \d+ samples .*samples_of= must say"):
        bnlens.report(model, batches(*sequences()), F.cross_entropy, **OPTIONS)
