"""Samples of several rows: against nets that have the rows in a dimension of their own, and against torch in train mode."""

import copy
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from folded_nets import CLASSES, FEATURES, STEPS, Folded, Unfolded, Views, generator, same, sequences
from measure_cases import batches, seeded
from measure_twin import probing
from torch import Tensor, nn

import bnlens
from bnlens.errors import BnlensError, DataError, ModelError, UsageError
from bnlens.measure import Report
from bnlens.measure._collect import CallNoise, CallSums, collect
from bnlens.measure._groups import perturbation
from bnlens.measure._laws import layer_law
from bnlens.measure._nodes import CallGradients
from bnlens.measure._pool import Batch
from bnlens.measure._population import Population, estimate_population
from bnlens.measure._rows import SampleRows, SamplesOf
from bnlens.measure._sampling import Sampler
from bnlens.theory.noise import noise_scale

OPTIONS: dict[str, Any] = {
    "statistics_batch_size": (4, 8),
    "rounds": 2,
    "alone": True,
    "fisher": True,
    "progress": False,
}


EQUAL: dict[str, SamplesOf] = {
    "int": STEPS,
    "offsets": torch.arange(0, 48 * STEPS + 1, STEPS),
    "function": lambda batch: torch.arange(len(batch[0])).repeat_interleave(STEPS),
}


@pytest.mark.parametrize("samples_of", EQUAL.values(), ids=EQUAL)
def test_equally_many_rows_are_pixels(samples_of: SamplesOf) -> None:
    loader = batches(*sequences())
    nets = [seeded(make)().double() for make in (Folded, Unfolded)]
    before = copy.deepcopy(nets[0].state_dict())
    folded = bnlens.report(nets[0], loader, F.cross_entropy, samples_of=samples_of, **OPTIONS)
    same(folded, bnlens.report(nets[1], loader, F.cross_entropy, **OPTIONS))
    assert [layer.pixels for layer in folded.layers] == [STEPS, STEPS, 1]
    assert nets[0].training
    assert all(torch.equal(value, before[name]) for name, value in nets[0].state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in nets[0].modules())


@pytest.mark.parametrize("hold", [True, False])
def test_views_in_any_order_are_pixels(hold: bool) -> None:
    x = torch.randn(48, 2, 2, 4, 4, generator=generator()).double()
    loader = batches(x + x[:, :1], sequences()[1])
    concatenated, pixels = (seeded(lambda c=c: Views(c))().double() for c in (True, False))
    found = bnlens.report(
        concatenated,
        loader,
        F.cross_entropy,
        samples_of=lambda b: torch.arange(len(b[0])).repeat(2),
        hold=hold,
        **OPTIONS,
    )
    same(found, bnlens.report(pixels, loader, F.cross_entropy, hold=hold, **OPTIONS))


def ragged(samples: int = 48, steps: int = STEPS) -> list[Tensor]:
    """Sequences of different lengths, padded; long ones have other features, so that lengths matter to the statistics."""
    x, labels = sequences(samples)
    x = x.repeat(1, -(-steps // STEPS), 1)[:, :steps]
    lengths = torch.randint(1, steps + 1, (samples,), generator=generator())
    return [x + 0.8 * lengths.view(-1, 1, 1), lengths, labels]


class Graphs(nn.Module):
    """Nodes of graphs, all in dimension 0: each hears of its graph's mean between two BN layers; the graphs have a third."""

    def __init__(self, shuffled: bool = False) -> None:
        super().__init__()
        self.shuffled = shuffled
        self.first, self.bn1 = nn.Linear(FEATURES, 5), nn.BatchNorm1d(5)
        self.second, self.bn2 = nn.Linear(10, 4), nn.BatchNorm1d(4)
        self.bn3, self.head = nn.BatchNorm1d(4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        whose = graph_of((x, lengths), self.shuffled)
        step = place(whose)
        h = F.relu(self.bn1(self.first(x[whose, step])))
        h = self.second(torch.cat([h, self.mean(h, whose, lengths)[whose]], 1))
        return self.head(self.bn3(self.mean(F.relu(self.bn2(h)), whose, lengths)))

    @staticmethod
    def mean(h: Tensor, whose: Tensor, lengths: Tensor) -> Tensor:
        return h.new_zeros(len(lengths), h.shape[1]).index_add(0, whose, h) / lengths.clamp(min=1).unsqueeze(1)


def graph_of(batch: Any, shuffled: bool = False) -> Tensor:
    whose = torch.arange(len(batch[1])).repeat_interleave(batch[1])
    return whose[torch.randperm(len(whose), generator=generator())] if shuffled else whose


def place(whose: Tensor) -> Tensor:
    """Which of its sample's rows each row is."""
    return (whose.unsqueeze(1) == whose).tril(-1).sum(1)


def offsets_of(lengths: Tensor) -> Tensor:
    return F.pad(lengths.cumsum(0), (1, 0))


class Plain:
    """Torch alone: the model under the statistics of all rows of any samples."""

    def __init__(self, model: nn.Module, data: list[Tensor]) -> None:
        self.model, self.data = copy.deepcopy(model).double(), data
        self.population = self.at_population()

    def losses(self, samples: list[int]) -> Tensor:
        """With the statistics of these samples."""
        *inputs, labels = (tensor[samples] for tensor in self.data)
        with torch.no_grad():
            return F.cross_entropy(self.model.train()(*inputs), labels, reduction="none")

    def at_population(self) -> nn.Module:
        """In eval mode, its running statistics those of all samples in one batch."""
        model = copy.deepcopy(self.model).train()
        inputs: dict[str, Tensor] = {}
        layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.BatchNorm1d)}
        handles = [
            layer.register_forward_pre_hook(lambda m, args, name=name: inputs.__setitem__(name, args[0]))
            for name, layer in layers.items()
        ]
        with torch.no_grad():
            model(*self.data[:-1])
        for handle in handles:
            handle.remove()
        self.inputs = inputs
        for name, layer in layers.items():
            layer.running_mean, layer.running_var = inputs[name].mean(0), inputs[name].var(0, unbiased=False)
        return model.eval()

    def population_loss(self, sample: int) -> Tensor:
        *inputs, labels = (tensor[sample : sample + 1] for tensor in self.data)
        return F.cross_entropy(self.population(*inputs), labels)

    def moved(self, eps: dict[str, tuple[Tensor, Tensor]], t: float, samples: list[int]) -> tuple[float, Tensor]:
        """The mean loss at (gamma, beta) + t eps under population statistics, and eps times its gradient, by layer."""
        model = self.population
        saved = copy.deepcopy(model.state_dict())
        layers = {name: model.get_submodule(name) for name in eps}
        with torch.no_grad():
            for name, (scale, shift) in eps.items():
                layers[name].weight += t * scale
                layers[name].bias += t * shift
        loss = torch.stack([self.population_loss(sample) for sample in samples]).mean()
        leaves = [leaf for layer in layers.values() for leaf in (layer.weight, layer.bias)]
        products = [
            (gradient * move).sum()
            for gradient, move in zip(torch.autograd.grad(loss, leaves), itertools.chain(*eps.values()), strict=True)
        ]
        model.load_state_dict(saved)
        return loss.item(), torch.stack(products).view(-1, 2).sum(1)

    def gap(self, samples: list[int]) -> float:
        with torch.no_grad():
            base = torch.stack([self.population_loss(sample) for sample in samples])
        return float((self.losses(samples) - base).mean())


def rows_by_offsets(data: list[Tensor]) -> SamplesOf:
    return offsets_of(data[1])


RAGGED: dict[str, tuple[bool, Callable[[list[Tensor]], SamplesOf]]] = {
    "offsets": (False, rows_by_offsets),
    "function": (False, lambda data: graph_of),
    "shuffled rows": (True, lambda data: lambda batch: graph_of(batch, True)),
}


@contextmanager
def sampling(shuffled: bool, samples_of: Any, data: list[Tensor]) -> Iterator[tuple[Sampler, Plain]]:
    model = seeded(lambda: Graphs(shuffled))().double()
    plain = Plain(model, data)
    with probing(model, [tuple(data)], F.cross_entropy, rows=samples_of(data)) as probe:
        populations, _ = estimate_population(probe, tolerance=1e-13)
        yield Sampler(probe, populations, {3: 3}), plain


def all_groups(sampler: Sampler, size: int) -> tuple[list[list[int]], Batch]:
    groups = [list(group) for group in itertools.combinations(range(len(sampler.probe.pool)), size)]
    return groups, sampler.probe.pool.take(torch.tensor(groups).flatten())


@pytest.mark.parametrize(("shuffled", "samples_of"), RAGGED.values(), ids=RAGGED)
def test_groups_have_the_statistics_of_all_rows_of_their_samples(shuffled: bool, samples_of: Any) -> None:
    with sampling(shuffled, samples_of, ragged(8)) as (sampler, plain):
        groups, batch = all_groups(sampler, 3)
        zero = sampler.zero(batch)
        found = sampler.shares(batch, 3, zero)
        law = sampler.law(batch, 3, zero, list(sampler.populations), keep=True)
        expected = torch.tensor([plain.gap(group) for group in groups], dtype=torch.float64)
        torch.testing.assert_close(sampler.gaps(batch, 3, zero.result.losses), expected, rtol=0, atol=1e-9)
        torch.testing.assert_close(found.gaps, expected, rtol=0, atol=1e-9)

        # a group's statistics as moved parameters of the plain model in eval mode, their mirror image, and the way there
        for group, members in list(enumerate(groups))[::7]:
            eps = {name: (moved.scale[group], moved.shift[group]) for name, moved in law.recorded.items()}
            (base, start), (_, middle), (plus, end), (minus, _) = (
                plain.moved(eps, t, members) for t in (0, 0.5, 1, -1)
            )
            assert plus - base == pytest.approx(float(expected[group]), abs=1e-9)
            assert float(law.quadratic[group]) == pytest.approx((plus + minus) / 2 - base, abs=1e-9)
            torch.testing.assert_close(found.shares[group], (start + 4 * middle + end) / 6, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("shuffled", "samples_of"), RAGGED.values(), ids=RAGGED)
def test_gradients_and_noise_of_each_sample(shuffled: bool, samples_of: Any) -> None:
    """Also that of all groups the controls have the expectation that the law gives them, to rounding."""
    data = ragged(8)
    with sampling(shuffled, samples_of, data) as (sampler, plain):
        batch = sampler.probe.pool.take(torch.arange(8))
        zero = sampler.zero(batch)
        calls = collect(sampler.probe, sampler.populations, seed=0).calls
        everything = sampler.zero(all_groups(sampler, 3)[1])
    whose = graph_of(data, shuffled)
    for name, given in zero.result.given.items():
        layer = plain.population.get_submodule(name)
        for sample in range(8):
            gradients = torch.autograd.grad(plain.population_loss(sample), [layer.weight, layer.bias])
            torch.testing.assert_close(given.gamma[sample], gradients[0], rtol=0, atol=1e-10)
            torch.testing.assert_close(given.beta[sample], gradients[1], rtol=0, atol=1e-10)
        h = plain.inputs[name]
        x = (h - layer.running_mean) / (layer.running_var + layer.eps).sqrt()
        owner = torch.arange(8) if name == "bn3" else whose
        mean_rows = len(h) / 8
        square = x.square().mean(0)
        for sample in range(8):
            rows = x[owner == sample]
            a, q = rows.sum(0) / mean_rows, (rows.square() - square).sum(0) / (2 * mean_rows)
            moved = -layer.weight.detach().repeat(2) * torch.cat([a, q])
            torch.testing.assert_close(zero.moved[name][sample], moved, rtol=1e-9, atol=1e-12)
        assert calls[name].pixels == mean_rows
        control = everything.controls(3)[:, list(zero.moved).index(name)].mean()
        expected = layer_law(calls[name], likelihood=True).self_inclusion * float(noise_scale(3, 8))
        assert float(control) == pytest.approx(expected, abs=1e-12)


def test_unequal_numbers_of_rows_bias_the_statistics_of_groups() -> None:
    """The law's second order against the mean over all groups of what their statistics amount to, for weak noise."""
    g, counts = generator(), torch.arange(60, 108, 4)
    whose = torch.arange(12).repeat_interleave(counts)
    longer = (counts / counts.double().mean() - 1)[whose].unsqueeze(1)
    noise = torch.randn(len(whose), 2, generator=g, dtype=torch.float64)
    h = noise * (1 + 0.3 * longer) + torch.tensor([0.4, -0.2], dtype=torch.float64) * longer
    variance, mean = torch.var_mean(h, 0, unbiased=False)
    population = Population(mean, variance, 1e-5, len(h), *torch.zeros(2, 2, dtype=torch.float64))
    gamma, gradient = torch.tensor([1.5, 0.5], dtype=torch.float64), torch.tensor([[0.7, -1.1]], dtype=torch.float64)
    rows = SampleRows(lambda batch: whose)
    rows.counts = counts
    x = h.sub(mean).div(population.sigma).unsqueeze(2)

    def shift(part: Tensor) -> float:
        """With gradients in beta for one part and in gamma for the other."""
        given = CallGradients(*(gradient.expand(12, 2) * on for on in part))
        sums = CallSums(population, gamma, len(h) / 12)
        sums.add(CallNoise.of(x, population, gamma, rows.average(len(h) / 12)), x[:12, :, 0], given, None)
        return layer_law(sums, likelihood=False).shift * float(noise_scale(6, 12))

    groups = [torch.isin(whose, torch.tensor(group)) for group in itertools.combinations(range(12), 6)]
    moved = [perturbation(h[mine], 6, population, gamma, counts[whose[mine].unique()]) for mine in groups]
    biases = (torch.cat([getattr(m, name) for m in moved]).mean(0) for name in ("shift", "scale"))
    for part, bias in zip(torch.eye(2), biases, strict=True):
        assert shift(part) == pytest.approx(float(gradient[0] @ bias), rel=0.05)


class OneLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bn, self.head = nn.BatchNorm1d(FEATURES), nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.head(Graphs.mean(F.relu(self.bn(x[mask(x, lengths)])), graph_of((x, lengths)), lengths))


def test_numbers_that_describe_a_layer_are_over_all_rows() -> None:
    """Also the error of the kurtosis, by leaving out one sample after the other."""
    data = ragged(256, 8)
    data[0] = data[0].sub(3).tanh()  # light tails, for which leaving one out is linear
    rows = data[0][mask(*data[:2])].split(data[1].tolist())
    found = bnlens.report(
        seeded(OneLayer)().double(), [tuple(data)], F.cross_entropy, samples_of=offsets_of(data[1]), rounds=1
    )["bn"]

    def described(samples: list[int]) -> Tensor:
        kept = [rows[sample] for sample in samples]
        every = torch.cat(kept)
        x = (every - every.mean(0)) / (every.var(0, unbiased=False) + 1e-5).sqrt()
        square, fourth, mean_rows = x.square().mean(0), x.pow(4).mean(0), len(x) / len(kept)
        parts = x.split([len(part) for part in kept])
        a = torch.stack([part.sum(0) for part in parts]) / mean_rows
        q = torch.stack([(part.square() - square).sum(0) for part in parts]) / (2 * mean_rows)
        of_std = ((fourth - square.square()) / 4).sum() / q.square().mean(0).sum()
        return torch.stack([(fourth / square.square() - 3).mean(), square.sum() / a.square().mean(0).sum(), of_std])

    everyone = list(range(256))
    estimates = found.kurtosis, found.effective_samples_mean, found.effective_samples_std
    for estimate, value in zip(estimates, described(everyone), strict=True):
        assert estimate.value == pytest.approx(float(value), rel=1e-6)
    without = torch.stack([described(everyone[:left] + everyone[left + 1 :])[0] for left in everyone])
    assert found.kurtosis.stderr == pytest.approx(float((without.var(unbiased=False) * 255).sqrt()), rel=0.05)


def mask(x: Tensor, lengths: Tensor) -> Tensor:
    return torch.arange(x.shape[1]) < lengths.unsqueeze(1)


def _graphs(hold: bool, offsets: bool, shard: list[Any]) -> Report:
    model = seeded(Graphs)().double()
    samples_of = offsets_of(torch.cat([lengths for _, lengths, _ in shard])) if offsets else graph_of
    return bnlens.report(model, shard, F.cross_entropy, samples_of=samples_of, hold=hold, **OPTIONS)


def _graphs_by_offsets(shard: list[Any]) -> Report:
    return _graphs(True, True, shard)


def _graphs_by_function(shard: list[Any]) -> Report:
    return _graphs(True, False, shard)


@pytest.mark.parametrize("run", [_graphs_by_offsets, _graphs_by_function])
def test_ranks_find_the_same(gloo_pool: Any, run: Any) -> None:
    loader = batches(*ragged(), size=16)
    whole, ranks = run(loader), gloo_pool.run(run, [loader[:1], loader[1:]])
    same(whole, ranks[0])
    same(whole, ranks[1])


def test_functions_serve_samples_that_are_not_held() -> None:
    loader = batches(*ragged(), size=16)
    held, streamed = (_graphs(hold, False, loader) for hold in (True, False))
    assert [layer.self_inclusion for layer in streamed.layers] == pytest.approx(
        [layer.self_inclusion for layer in held.layers]
    )
    for size, gap in held.network.gaps.measured.items():
        other = streamed.network.gaps.measured[size]
        assert abs(gap.value - other.value) < 4 * (gap - other).stderr


def test_layers_on_samples_and_on_rows_are_told_apart() -> None:
    """Where by chance a group has as many rows as samples."""
    data = ragged(8)
    data[1] = torch.tensor([3, 3, 2, 1, 2, 0, 1, 1])  # the last four have four
    with sampling(False, rows_by_offsets, data) as (sampler, plain):
        batch = sampler.probe.pool.take(torch.arange(4, 8))
        gaps = sampler.gaps(batch, 4, sampler.losses(batch))
    assert float(gaps) == pytest.approx(plain.gap([4, 5, 6, 7]), abs=1e-9)


def report(model: nn.Module | None = None, loader: Any = None, **options: Any) -> Report:
    model = seeded(Graphs)() if model is None else model
    loader = [(x.float(), *rest) for x, *rest in [tuple(ragged())]] if loader is None else loader
    return bnlens.report(model, loader, F.cross_entropy, **(OPTIONS | options))


class Rowwise(Graphs):
    """Has an output for each node."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.head(self.bn2(self.second(self.bn1(self.first(x[mask(x, lengths)])).repeat(1, 2))))


LENGTHS = ragged()[1]
ROWS = int(LENGTHS.sum())
SPARSE = [ragged()[0].float(), (torch.arange(48) % 8 == 0).long(), ragged()[2]]
ERRORS: dict[str, tuple[type[BnlensError], dict[str, Any], str]] = {
    "not given": (ModelError, {}, rf"layer 'bn1' is given {ROWS} rows for 48 samples .*samples_of= must say whose the"),
    "another number": (
        ModelError,
        {"samples_of": 3},
        rf"given {ROWS} rows for 48 samples, and samples_of tells of 144;",
    ),
    "zero": (UsageError, {"samples_of": 0}, "samples_of is 0; it must be an integer of at least 1"),
    "a fraction": (
        UsageError,
        {"samples_of": 2.5},
        "samples_of is 2.5; it must be an integer of at least 1, a torch.Tensor, a function or None",
    ),
    "floats": (UsageError, {"samples_of": offsets_of(LENGTHS).float()}, r"dtype torch.float32; give offsets as int64"),
    "two dimensions": (UsageError, {"samples_of": torch.zeros(2, 2).long()}, r"has shape \(2, 2\) .*in one dimension"),
    "descending": (
        UsageError,
        {"samples_of": torch.tensor([0, 3, 2])},
        "start at 0 and never descend; give the first row",
    ),
    "not from 0": (UsageError, {"samples_of": offsets_of(LENGTHS) + 1}, "must start at 0"),
    "too few": (
        DataError,
        {"samples_of": offsets_of(LENGTHS)[:-1]},
        "has 48 offsets for 48 samples; give one more than",
    ),
    "not held": (UsageError, {"samples_of": offsets_of(LENGTHS), "hold": False}, "leave hold=True"),
    "other rows": (
        ModelError,
        {"samples_of": lambda b: graph_of(b)[1:]},
        f"and samples_of tells of {ROWS - 1}; every BN",
    ),
    "above": (
        ModelError,
        {"samples_of": lambda b: graph_of(b) + 1},
        "into sample 48 of a batch of 48; number .* 0 to 47",
    ),
    "below": (ModelError, {"samples_of": lambda b: graph_of(b) - 1}, "puts a row into sample -1"),
    "floats returned": (
        ModelError,
        {"samples_of": lambda b: graph_of(b).double()},
        r"returns torch.float64 of shape \(",
    ),
    "a list returned": (
        ModelError,
        {"samples_of": lambda b: [0]},
        "samples_of returns list; return the sample of each row",
    ),
    "no rows": (
        DataError,
        {"loader": [tuple(SPARSE)], "samples_of": graph_of},
        r"4 samples have 0 rows together, too few .*leave samples without rows out",
    ),
    "as many by chance": (
        ModelError,
        {"loader": [(SPARSE[0], torch.arange(48) % 3, SPARSE[2])], "samples_of": graph_of},
        "given 48 rows for 48 samples, which are as many by chance.*let the loader begin with other samples",
    ),
    "output by row": (
        ModelError,
        {"model": seeded(Rowwise)(), "samples_of": graph_of},
        rf"returns shape \({ROWS}, 3\) for 48 samples; return .*one row per sample, the mean over its rows, say, by forward=",
    ),
}


@pytest.mark.parametrize(("kind", "options", "words"), ERRORS.values(), ids=ERRORS)
def test_error(kind: type[BnlensError], options: dict[str, Any], words: str) -> None:
    model = options.get("model")
    with pytest.raises(kind, match=words) as caught:
        report(**options)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert model is None or (model.training and not any(module._forward_hooks for module in model.modules()))


def test_rows_without_samples_of_are_samples() -> None:
    assert SampleRows().whose(Batch((torch.zeros(2, 1),), 2, 0, None)) is None
