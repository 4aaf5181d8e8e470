"""Padded samples: report and recalibrate against the nets written out by hand, with the statistics of valid values."""

import copy
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from measure_cases import batches, seeded
from measure_twin import probing
from test_measure_rows import OPTIONS, same
from torch import Tensor, nn

import bnlens
import bnlens.nn
from bnlens.errors import DataError, UsageError
from bnlens.measure._collect import collect
from bnlens.measure._laws import layer_law
from bnlens.measure._population import estimate_population
from bnlens.measure._sampling import Sampler
from bnlens.theory.noise import noise_scale

STEPS, FEATURES, CLASSES = 5, 3, 3

Norm = Callable[[str, Tensor, Tensor], Tensor]


def data(samples: int = 48, least: int = 1) -> list[Tensor]:
    """Padded inputs (N, features, steps), lengths and labels; long samples have other features, padding has others still."""
    g = torch.Generator().manual_seed(3)
    x = torch.randn(samples, FEATURES, 1, generator=g) + 0.5 * torch.randn(samples, FEATURES, STEPS, generator=g)
    lengths = torch.randint(least, STEPS + 1, (samples,), generator=g)
    x = (x + 0.3 * x.square() + 0.5 * lengths.view(-1, 1, 1)).masked_fill(~mask_of(lengths)[:, None], 7.0)
    return [x.double(), lengths, torch.randint(CLASSES, (samples,), generator=g)]


def mask_of(lengths: Tensor) -> Tensor:
    return torch.arange(STEPS, device=lengths.device) < lengths[:, None]


class Net(nn.Module):
    """What is at padding after the first BN layer reaches valid steps by the second convolution."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.first, self.bn1 = nn.Conv1d(FEATURES, 4, 3, padding=1), nn.BatchNorm1d(4, **options)
        self.second, self.bn2 = nn.Conv1d(4, 4, 3, padding=1), nn.BatchNorm1d(4, **options)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.by_hand(x, lengths, lambda name, h, mask: getattr(self, name)(h))

    def by_hand(self, x: Tensor, lengths: Tensor, norm: Norm) -> Tensor:
        mask = mask_of(lengths)
        h = torch.tanh(norm("bn1", self.first(x), mask))
        h = torch.tanh(norm("bn2", self.second(h), mask))
        return self.head((h * mask[:, None]).sum(2) / lengths.clamp(min=1)[:, None])


class InContext(Net):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        with bnlens.masked(self, lengths):
            return super().forward(x, lengths)


class WithArgument(Net):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        layers = {"bn1": lambda h, mask: self.bn1(h, mask=mask), "bn2": lambda h, mask: self.bn2(h, mask)}
        return self.by_hand(x, lengths, lambda name, h, mask: layers[name](h, mask))


def lengths_of(batch: Any) -> Tensor:
    return batch[1]


def net(kind: type[Net], **options: Any) -> nn.Module:
    """The same weights for each kind; torch's layers where the report is told, else bnlens layers."""
    model = seeded(lambda: kind(**options))().double()
    if kind is not Net:
        bnlens.convert(model)
    return model


WAYS: dict[str, tuple[type[Net], Any]] = {
    "told": (Net, lengths_of),
    "told a mask": (Net, lambda batch: mask_of(batch[1])),
    "told a function": (Net, lambda batch: lambda name, h: mask_of(batch[1])[:, None]),
    "in the context": (InContext, None),
    "by argument": (WithArgument, None),
}


class ByHand:
    """A net under given statistics of valid values, (gamma, beta) and samples."""

    def __init__(self, model: nn.Module, data: list[Tensor], correction: int = 0) -> None:
        self.model, self.data, self.correction = model, data, correction
        self.names = [name for name, layer in model.named_modules() if isinstance(layer, nn.BatchNorm1d)]
        self.population: dict[str, tuple[Tensor, Tensor]] = {}
        self.inputs: dict[str, Tensor] = {}
        everything = list(range(len(data[0])))
        with torch.no_grad():
            self.losses(everything, self.taking(self.population))

    def losses(self, samples: list[int], norm: Norm) -> Tensor:
        x, lengths, labels = (tensor[samples] for tensor in self.data)
        return F.cross_entropy(self.model.by_hand(x, lengths, norm), labels, reduction="none")

    def affine(self, name: str) -> tuple[Tensor, Tensor]:
        layer = self.model.get_submodule(name)
        return layer.weight.detach().clone().requires_grad_(), layer.bias.detach().clone().requires_grad_()

    def taking(self, found: dict[str, tuple[Tensor, Tensor]]) -> Norm:
        def norm(name: str, h: Tensor, mask: Tensor) -> Tensor:
            values = h.transpose(1, 2)[mask]
            self.inputs[name] = values
            found[name] = values.mean(0), values.var(0, correction=self.correction)
            return self.by(found, {name: self.affine(name)})(name, h, mask)

        return norm

    @staticmethod
    def by(statistics: dict[str, tuple[Tensor, Tensor]], affine: dict[str, tuple[Tensor, Tensor]]) -> Norm:
        def norm(name: str, h: Tensor, mask: Tensor) -> Tensor:
            mean, variance = statistics[name]
            gamma, beta = affine[name]
            return ((h.transpose(1, 2) - mean) / (variance + 1e-5).sqrt() * gamma + beta).transpose(1, 2)

        return norm

    def at(self, samples: list[int], moved: dict[str, tuple[Tensor, Tensor]] | None = None, t: float = 0.0) -> Any:
        """Mean loss at (gamma, beta) + t eps under population statistics, and its gradients by layer."""
        leaves = {name: self.affine(name) for name in self.names}
        eps = moved or dict.fromkeys(self.names, (0.0, 0.0))
        here = {
            name: tuple(leaf + t * move for leaf, move in zip(leaves[name], eps[name], strict=True)) for name in leaves
        }
        loss = self.losses(samples, self.by(self.population, here)).mean()
        flat = torch.autograd.grad(loss, [leaf for pair in leaves.values() for leaf in pair])
        return loss.item(), dict(zip(leaves, zip(flat[::2], flat[1::2], strict=True), strict=True))

    def gap(self, samples: list[int]) -> float:
        return self.losses(samples, self.taking({})).mean().item() - self.at(samples)[0]


@contextmanager
def sampling(way: str, samples: list[Tensor]) -> Iterator[tuple[Sampler, ByHand]]:
    kind, mask = WAYS[way]
    model = net(kind)
    by_hand = ByHand(copy.deepcopy(model), samples)
    with probing(model, [tuple(samples)], F.cross_entropy, mask=mask) as probe:
        populations, _ = estimate_population(probe, tolerance=1e-13)
        yield Sampler(probe, populations, {3: 3}), by_hand


@pytest.mark.parametrize("way", WAYS)
def test_groups_have_the_statistics_of_their_valid_values(way: str) -> None:
    with sampling(way, data(8)) as (sampler, by_hand):
        groups = [list(group) for group in itertools.combinations(range(8), 3)]
        batch = sampler.probe.pool.take(torch.tensor(groups).flatten())
        zero = sampler.zero(batch)
        found, law = sampler.shares(batch, 3, zero), sampler.law(batch, 3, zero, by_hand.names, keep=True)
        calls = collect(sampler.probe, sampler.populations, seed=0).calls
    for name, (mean, variance) in by_hand.population.items():
        torch.testing.assert_close(sampler.populations[name].mean, mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(sampler.populations[name].variance, variance, rtol=0, atol=1e-12)
        assert sampler.populations[name].count == int(by_hand.data[1].sum())
    expected = torch.tensor([by_hand.gap(group) for group in groups], dtype=torch.float64)
    assert float(expected.abs().min()) > 1e-4
    torch.testing.assert_close(found.gaps, expected, rtol=0, atol=1e-9)
    for index, members in list(enumerate(groups))[::7]:
        eps = {name: (moved.scale[index], moved.shift[index]) for name, moved in law.recorded.items()}
        base, middle, plus, minus = (by_hand.at(members, eps, t) for t in (0.0, 0.5, 1.0, -1.0))
        assert plus[0] - base[0] == pytest.approx(float(expected[index]), abs=1e-9)
        assert float(law.quadratic[index]) == pytest.approx((plus[0] + minus[0]) / 2 - base[0], abs=1e-9)
        for call, name in enumerate(by_hand.names):
            work = [
                sum((g * e).sum() for g, e in zip(at[1][name], eps[name], strict=True)) for at in (base, middle, plus)
            ]
            assert float(found.shares[index, call]) == pytest.approx(
                float(work[0] + 4 * work[1] + work[2]) / 6, abs=1e-9
            )
    # of all groups the controls have the expectation that the law gives them
    for call, name in enumerate(by_hand.names):
        expectation = layer_law(calls[name], likelihood=True).self_inclusion * float(noise_scale(3, 8))
        assert float(zero.controls(3)[:, call].mean()) == pytest.approx(expectation, abs=1e-12)
        assert calls[name].pixels == pytest.approx(float(by_hand.data[1].double().mean()))


def test_all_ways_to_tell_give_one_report() -> None:
    reports = []
    for kind, mask in WAYS.values():
        reports.append(bnlens.report(net(kind), batches(*data()), F.cross_entropy, mask=mask, **OPTIONS))
    for other in reports[1:]:
        same(reports[0], other)


class Steps(nn.Module):
    """Layers on each step alone: all steps of a padded batch, (N, features, steps), or the valid ones, (values, features)."""

    def __init__(self, padded: bool) -> None:
        super().__init__()
        self.padded = padded
        self.first, self.bn1 = nn.Linear(FEATURES, 5), nn.BatchNorm1d(5)
        self.second, self.bn2 = nn.Linear(5, 4), nn.BatchNorm1d(4)
        self.bn3, self.head = nn.BatchNorm1d(4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        mask, steps = mask_of(lengths), x.transpose(1, 2)
        if self.padded:
            h = torch.tanh(self.bn1(self.first(steps).transpose(1, 2)).transpose(1, 2))
            h = torch.tanh(self.bn2(self.second(h).transpose(1, 2)).transpose(1, 2)) * mask.unsqueeze(2)
        else:
            rows = torch.tanh(self.bn2(self.second(torch.tanh(self.bn1(self.first(steps[mask]))))))
            h = rows.new_zeros(*mask.shape, 4).index_put((mask,), rows)
        return self.head(self.bn3(h.sum(1) / lengths.unsqueeze(1)))


@pytest.mark.parametrize("hold", [True, False])
def test_a_mask_is_samples_of_for_rows_that_stay_where_they_are(hold: bool) -> None:
    padded, ragged = (seeded(lambda padded=padded: Steps(padded))().double() for padded in (True, False))
    loader = batches(*data())
    found = bnlens.report(padded, loader, F.cross_entropy, mask=lengths_of, hold=hold, **OPTIONS)
    expected = bnlens.report(
        ragged,
        loader,
        F.cross_entropy,
        samples_of=lambda batch: torch.arange(len(batch[1])).repeat_interleave(batch[1]),
        hold=hold,
        **OPTIONS,
    )
    same(found, expected)


class Views(nn.Module):
    """BN on the views of all samples, first views first, in dimension 0; or with the views as a dimension."""

    def __init__(self, folded: bool) -> None:
        super().__init__()
        self.folded = folded
        self.conv, self.head = nn.Conv1d(2, 4, 1), nn.Linear(4, CLASSES)
        self.bn = (nn.BatchNorm1d if folded else nn.BatchNorm2d)(4)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        views = [self.conv(view) for view in x.unbind(1)]
        h = (
            torch.stack(self.bn(torch.cat(views)).chunk(len(views)), 2)
            if self.folded
            else self.bn(torch.stack(views, 2))
        )
        return self.head((torch.tanh(h) * mask.unsqueeze(1)).sum((2, 3)))


def test_masks_and_samples_of_together() -> None:
    g = torch.Generator().manual_seed(3)
    x = torch.randn(48, 2, 2, 4, generator=g).double()
    mask = torch.rand(48, 2, 4, generator=g) < 0.6
    mask[:, 0, 0] = True
    loader = batches(x + x[:, :1], mask, torch.randint(CLASSES, (48,), generator=g))
    folded, apart = (seeded(lambda folded=folded: Views(folded))().double() for folded in (True, False))
    found = bnlens.report(
        folded,
        loader,
        F.cross_entropy,
        samples_of=lambda batch: torch.arange(len(batch[0])).repeat(2),
        mask=lambda batch: batch[1].transpose(0, 1).flatten(0, 1),
        **OPTIONS,
    )
    same(found, bnlens.report(apart, loader, F.cross_entropy, mask=lambda batch: batch[1], **OPTIONS))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sizes", [[48], [20, 20, 8], [47, 1]])
def test_recalibrated_statistics_are_those_of_valid_values(way: str, sizes: list[int]) -> None:
    kind, mask = WAYS[way]
    model, samples = net(kind), data()
    by_hand = ByHand(copy.deepcopy(model), samples, correction=1)  # evaluation is by what is written
    loader = list(zip(*(tensor.split(sizes) for tensor in samples), strict=True))
    found = bnlens.recalibrate(model, loader, mask=mask, tolerance=1e-12)
    assert found.samples == 48
    for name, values in by_hand.inputs.items():
        layer = model.get_submodule(name)
        torch.testing.assert_close(layer.running_mean, values.mean(0), rtol=0, atol=1e-10)
        torch.testing.assert_close(layer.running_var, values.var(0), rtol=1e-10, atol=0)


@pytest.mark.parametrize("kind", [Net, InContext])
def test_layers_without_running_statistics(kind: type[Net]) -> None:
    mask = lengths_of if kind is Net else None
    model = net(kind, track_running_stats=False)
    found = bnlens.report(model, batches(*data()), F.cross_entropy, mask=mask, **OPTIONS)
    torch.testing.assert_close(
        torch.tensor(found.network.gaps.measured[4].value),
        torch.tensor(
            bnlens.report(net(Net), batches(*data()), F.cross_entropy, mask=lengths_of, **OPTIONS)
            .network.gaps.measured[4]
            .value
        ),
    )


ENTRIES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], str]] = {
    "a mask of floats": (lambda x, lengths: mask_of(lengths).double(), "non-zero entries of [1]"),
    "a mask": (lambda x, lengths: mask_of(lengths), "non-zero entries of [1]"),
    "lengths": (lambda x, lengths: lengths, "lengths of [1]"),
    "tokens": (lambda x, lengths: 5 * mask_of(lengths).long(), "non-zero entries of [1]"),
    "nothing": (lambda x, lengths: x, "non-zero channels of [0]"),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_statistics_of_valid_values_are_not_called_stale(entry: str) -> None:
    make, place = ENTRIES[entry]
    x, lengths, labels = data(256)
    x = x.masked_fill(~mask_of(lengths)[:, None], 0.0)
    model = net(Net)
    bnlens.recalibrate(model, batches(x, lengths, labels), mask=lengths_of, tolerance=1e-9)

    def forward(model: nn.Module, batch: Any) -> Any:
        marked = batch[1]
        if marked.ndim == 3:
            marked = (marked != 0).any(1)
        return model(batch[0], marked if marked.ndim == 1 else (marked != 0).sum(1)), batch[2]

    loader = batches(x, make(x, lengths), labels)
    options: dict[str, Any] = {"statistics_batch_size": 4, "rounds": 1, "shares": False, "forward": forward}
    found = bnlens.report(model, loader, F.cross_entropy, **options)
    assert {note.kind for note in found.notes} & {"stale statistics", "padding"} == {"padding"}
    assert place in next(note.text for note in found.notes if note.kind == "padding")
    told = bnlens.report(model, loader, F.cross_entropy, mask=lambda b: (b[0] != 0).any(1), **options)
    assert not {note.kind for note in told.notes} & {"stale statistics", "padding"}
    with torch.no_grad():
        model.bn1.running_mean += 1
    for mask in (None, lambda b: (b[0] != 0).any(1)):
        stale = bnlens.report(model, loader, F.cross_entropy, mask=mask, **options)
        assert {note.kind for note in stale.notes} & {"stale statistics", "padding"} == {"stale statistics"}


def test_mistakes() -> None:
    loader = batches(*data())
    for call in (
        lambda mask: bnlens.report(net(Net), loader, F.cross_entropy, mask=mask, statistics_batch_size=4),
        lambda mask: bnlens.recalibrate(net(Net), loader, mask=mask),
    ):
        with pytest.raises(UsageError, match=r"mask is of type Tensor; it must be a function or None"):
            call(torch.ones(48, STEPS))
        with pytest.raises(UsageError, match="does not fit"):
            call(lambda batch: torch.ones(len(batch[1]), 7))
        with pytest.raises(UsageError, match="one row per sample"):
            call(lambda batch: torch.ones(3, STEPS))
        with pytest.raises(UsageError, match="the mask is a str"):
            call(lambda batch: lambda name, h: "mask")
    x, lengths, labels = data(least=0)
    with pytest.raises(
        DataError, match=r"2 samples have [01] valid values together, too few .*leave samples without valid values out"
    ):
        bnlens.report(
            net(Net),
            batches(x, lengths % 2, labels),
            F.cross_entropy,
            mask=lengths_of,
            statistics_batch_size=2,
            prediction_batch_size=4,
        )
