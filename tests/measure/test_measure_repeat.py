"""Passes that differ, and batch normalization outside BN layers: what the second run of the first batch finds."""

import math
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from measure_cases import Residual, batches, conv, data, images, initialised, mlp, plain, seeded
from torch import Tensor, nn

import bnlens
from bnlens.errors import ModelError
from bnlens.measure import Estimate, NetworkResult, Note, Report
from bnlens.measure._estimate import mean_estimate


def report_on(model: nn.Module, loader: Any = None, **options: Any) -> Report:
    chosen: dict[str, Any] = {"statistics_batch_size": (4, 8), "rounds": 1} | options
    return bnlens.report(model, plain() if loader is None else loader, F.cross_entropy, **chosen)


def notes(report: Report, kind: str) -> list[Note]:
    return [note for note in report.notes if note.kind == kind]


class Then(nn.Module):
    """The MLP, and a function of its output."""

    def __init__(self, after: Callable[[Tensor], Tensor], net: nn.Module | None = None) -> None:
        super().__init__()
        self.net, self.after = net or seeded(mlp)(), after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.net(x))


class Crop(nn.Module):
    """Takes a random part of an image."""

    def forward(self, x: Tensor) -> Tensor:
        start = int(torch.randint(2, ()))
        return x[..., start : start + 3]


class DropBlock(nn.Module):
    """Leaves out a block now and then, for the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x + F.tanh(x) if random.random() < 0.6 else x  # noqa: S311


class Growing(nn.Module):
    """Keeps state: its output grows from call to call."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * (1 + 0.1 * self.calls)


def stochastic_depth(x: Tensor) -> Tensor:
    return x + F.tanh(x) * torch.bernoulli(torch.full((len(x), 1), 0.5))


def quantised(x: Tensor) -> Tensor:
    return torch.floor(x * 64 + torch.rand_like(x)) / 64  # stochastic rounding


STOCHASTIC: dict[str, tuple[Callable[[], nn.Module], Callable[[], list[Any]]]] = {
    "dropout": (lambda: Then(lambda x: F.dropout(x, 0.2, training=True)), plain),
    "stochastic depth": (lambda: Then(stochastic_depth), plain),
    "quantisation noise": (lambda: Then(quantised), plain),
    "noise on the input": (lambda: nn.Sequential(Then(lambda x: x + 0.01 * torch.randn_like(x), nn.Identity()), mlp()), plain),
    "crop": (lambda: nn.Sequential(Crop(), seeded(lambda: initialised(conv(2), 2, 4, 3))()), images),
    "a block for the whole batch": (lambda: Then(DropBlock()), plain),
    "state": (lambda: nn.Sequential(Growing(), seeded(mlp)()), plain),
    "half precision": (lambda: Then(lambda x: F.dropout(x.float(), 0.5, True), seeded(mlp)().bfloat16()), lambda: halves()),
}  # fmt: skip


def halves() -> list[Any]:
    return [(x.bfloat16(), y) for x, y in plain()]


@pytest.mark.parametrize("name", STOCHASTIC)
def test_passes_that_differ_have_a_note(name: str) -> None:
    make, loader = STOCHASTIC[name]
    model = make()
    random.seed(0)  # the block is left out at the second run or so
    (note,) = notes(report_on(model, loader()), "stochastic forward")
    assert (note.layer, note.layers) == ("", ())


def test_the_note_gives_the_rms_difference_of_the_losses_and_the_gap() -> None:
    """A loss of the squared output, which is 0 plus or minus 3: half of the samples change their loss by 3."""
    model = Then(lambda x: 0 * x + 3 * torch.bernoulli(torch.full((len(x), 1), 0.5)))
    x, y = data(5, size=4096)
    report = bnlens.report(
        model, [(x, y)], lambda out, y: out[:, 0], statistics_batch_size=16, rounds=1, shares=False, reduction="none"
    )
    (note,) = notes(report, "stochastic forward")
    found = re.search(r"differ, in the losses by (\S+) nats .* the gap at M = 16 is (.+?) nats", note.text)
    assert found is not None
    assert float(found[1]) == pytest.approx(3 / math.sqrt(2), rel=0.1)
    assert found[2] == str(report.network.gaps.measured[16])


def test_a_target_drawn_anew_has_a_note() -> None:
    def forward(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        return model(batch[0]), torch.where(torch.rand(len(batch[1])) < 0.3, (batch[1] + 1) % 3, batch[1])

    assert notes(report_on(seeded(mlp)(), forward=forward), "stochastic forward")
    again = lambda model, batch: (model(batch[0]), batch[1].clone())  # noqa: E731
    assert not notes(report_on(seeded(mlp)(), forward=again), "stochastic forward")


def reordered() -> Callable[[Tensor], Tensor]:
    """Sums with terms in another order at each call, as a GPU's atomic additions make them."""
    generator = torch.Generator().manual_seed(0)

    def do(x: Tensor) -> Tensor:
        order = torch.randperm(x.shape[1], generator=generator)
        return torch.stack([sum(x[:, i] * w for i in order) for w in (0.3, -1.7, 1.4)], dim=1)  # type: ignore[misc]

    return do


DETERMINISTIC: dict[str, tuple[Callable[[], nn.Module], Callable[[], list[Any]]]] = {
    "plain": (seeded(mlp), plain),
    "dropout that is off": (lambda: Then(nn.Dropout(0.5)).train(), plain),
    "sums in another order": (lambda: Then(reordered(), seeded(mlp)()[:-1]), plain),
    "sums in another order, half precision": (lambda: Then(reordered(), seeded(mlp)()[:-1].bfloat16()), halves),
    "masked outputs": (lambda: Then(lambda x: torch.cat([x, torch.full_like(x[:, :1], -math.inf)], 1)), plain),
    "draws without effect": (lambda: Then(lambda x: x + 0 * torch.rand_like(x)), plain),
    "draws that are seeded": (
        lambda: Then(lambda x: x + torch.randn(len(x), 3, generator=torch.Generator().manual_seed(0))),
        plain,
    ),
}


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_passes_that_differ_by_rounding_have_none(name: str) -> None:
    make, loader = DETERMINISTIC[name]
    assert not notes(report_on(make(), loader()), "stochastic forward")


def test_sums_in_another_order_do_differ() -> None:
    """Else the case above would show nothing."""
    x, do = torch.randn(16, 4), reordered()
    assert len({do(x).numpy().tobytes() for _ in range(10)}) > 1


class Noisy(nn.Module):
    """Draws noise before and after its BN layer. Under the squared error, that after BN adds nothing to a gap."""

    def __init__(self, before: float, after: float) -> None:
        super().__init__()
        self.bn, self.out, self.before, self.after = nn.BatchNorm1d(4), nn.Linear(4, 1), before, after
        with torch.no_grad():
            self.out.weight.copy_(torch.tensor([[1.0, -0.5, 0.7, 0.2]]))
            self.out.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn(x + self.before * torch.randn_like(x))
        return self.out(torch.tanh(h)) + self.after * torch.randn(len(x), 1)


def regression() -> tuple[Tensor, Tensor]:
    x = torch.randn(128, 4, generator=torch.Generator().manual_seed(0))
    return x, (1.5 * x).tanh() @ torch.tensor([[0.8], [-0.9], [0.3], [0.5]])


def network_of(before: float, after: float, seed: int, **goal: Any) -> NetworkResult:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        chosen: dict[str, Any] = {"statistics_batch_size": 8, "seed": seed} | goal
        return bnlens.report(Noisy(before, after), [regression()], F.mse_loss, **chosen).network


def test_the_gap_of_a_net_with_noise_is_that_without_and_its_error_counts_the_noise() -> None:
    """To a precision: losses kept from one pass would put the same noise into every round, which no error would show."""
    expected = network_of(0.0, 0.0, 0, rounds=64).gaps.measured[8]
    found = [network_of(0.0, 0.5, seed, precision=0.15).gaps.measured[8] for seed in range(1, 13)]
    z = [(one - expected).value / (one - expected).stderr for one in found]
    assert all(one.stderr > 3 * expected.stderr for one in found)
    assert abs(sum(z)) / math.sqrt(len(z)) < 3
    assert math.sqrt(sum(value**2 for value in z) / len(z)) < 1.5


def brute_force(sigma: float, size: int = 8, groups: int = 40_000) -> Estimate:
    """The gap with noise before BN, from groups with fresh noise and the known statistics of the population."""
    (x, y), generator = regression(), torch.Generator().manual_seed(1)
    mean, std = x.mean(0), (x.var(0, unbiased=False) + sigma**2 + 1e-5).sqrt()
    weight = Noisy(0.0, 0.0).out.weight[0].detach()
    rows = torch.rand(groups, len(x), generator=generator).argsort(1)[:, :size]
    h = x[rows] + sigma * torch.randn(groups, size, 4, generator=generator)
    own = (h - h.mean(1, keepdim=True)) / (h.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    losses = [(xhat.tanh() @ weight - y[rows, 0]).square().mean(1) for xhat in (own, (h - mean) / std)]
    return mean_estimate(losses[0] - losses[1])


def test_noise_that_reaches_a_layer_leaves_the_measured_gap_unbiased_and_shows_in_what_is_not_attributed() -> None:
    found = [network_of(0.7, 0.0, seed, rounds=16) for seed in range(1, 13)]
    gaps, left = (
        mean_estimate(torch.tensor([estimate.value for estimate in estimates]))
        for estimates in ([one.gaps.measured[8] for one in found], [one.unattributed[8] for one in found])
    )
    difference = gaps - brute_force(0.7)
    assert abs(difference.value) < 3 * difference.stderr
    assert difference.stderr < 0.1 * gaps.value
    assert abs(left.value) > 5 * left.stderr


# Batch normalization outside BN layers


class Functional(nn.Module):
    """Keeps statistics itself, without being a BN layer."""

    def __init__(self, channels: int, call: str = "F", *, training: bool | None = None) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.call, self.hard_wired = call, training

    def forward(self, x: Tensor) -> Tensor:
        training = self.training if self.hard_wired is None else self.hard_wired
        statistics = self.running_mean, self.running_var
        if self.call == "F":
            return F.batch_norm(x, *statistics, training=training)
        if self.call == "keyword":
            return F.batch_norm(input=x, running_mean=None, running_var=None, training=True)
        if self.call == "torch":
            return torch.batch_norm(x, None, None, *statistics, training, 0.1, 1e-5, False)
        if self.call == "native":
            return torch.native_batch_norm(x, None, None, *statistics, training, 0.1, 1e-5)[0]
        return torch.ops.aten.native_batch_norm.default(x, None, None, *statistics, training, 0.1, 1e-5)[0]


class Unregistered(nn.Module):
    """Holds a BN layer in a list, where neither ``modules()`` nor ``eval()`` finds it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.BatchNorm1d(4)]

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[0](x)


@pytest.mark.parametrize("training", [None, True, False])
@pytest.mark.parametrize("call", ["F", "keyword", "torch", "native", "aten"])
def test_functional_batch_norm_has_a_note_with_its_place(call: str, training: bool | None) -> None:
    model = seeded(mlp)()
    model[5] = Functional(4, call, training=training)
    report = report_on(model)
    assert [layer.name for layer in report.layers] == ["1", "4"]
    (note,) = notes(report, "functional batch norm")
    assert (note.layer, note.layers) == ("5", ("5",))
    assert re.search(
        r"\(1 call at test_measure_repeat.py:\d+ in a forward pass\): it keeps its own statistics", note.text
    )


def test_a_place_is_named_once_with_the_number_of_its_calls() -> None:
    functional = Functional(4)
    model = nn.Sequential(
        *seeded(mlp)()[:5], functional, nn.Tanh(), functional, Functional(4, "torch"), nn.Linear(4, 3)
    )
    (note,) = notes(report_on(model), "functional batch norm")
    assert note.layers == ("5", "8")
    assert (note.layer, note.place) == ("", "2 layers (5 and 8)")
    assert re.search(r"2 calls at test_measure_repeat.py:\d+ and 1 call at test_measure_repeat.py:\d+ in", note.text)


def test_a_layer_in_a_plain_list_has_a_note() -> None:
    model = seeded(mlp)()
    model[5] = Unregistered()
    (note,) = notes(report_on(model), "functional batch norm")
    assert note.layer == "5"
    assert "test_measure_repeat.py:" in note.text


def test_a_call_outside_the_model_has_a_note_without_a_layer() -> None:
    def forward(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        return F.batch_norm(model(batch[0]), None, None, training=True), batch[1]

    (note,) = notes(report_on(seeded(mlp)(), forward=forward), "functional batch norm")
    assert (note.layer, note.layers) == ("", ())
    assert note.text.startswith("batch normalization is called as a function")


@pytest.mark.parametrize("training", [False, True])
def test_another_network_has_a_note_in_train_mode_alone(training: bool) -> None:
    other = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5)).train(training)

    def forward(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        return model(other(batch[0])), batch[1]

    found = notes(report_on(seeded(mlp)(), forward=forward), "functional batch norm")
    assert [note.text.endswith("in eval mode if it belongs to another network") for note in found] == [True] * training


def frozen() -> nn.Module:
    model = seeded(mlp)().train()
    model[1].eval()
    return model


class StandardisedLinear(nn.Linear):
    """Standardises its weights with batch_norm, as timm's convolutions do."""

    def forward(self, x: Tensor) -> Tensor:
        weight = F.batch_norm(self.weight.unsqueeze(0), None, None, training=True, momentum=0.0).squeeze(0)
        return F.linear(x, weight, self.bias)


class InstanceNorm(nn.Module):
    """Instance normalization by batch_norm over a single row."""

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x.reshape(1, -1, *x.shape[2:]), None, None, training=True).view_as(x)


NOT_OVER_SAMPLES: dict[str, tuple[Callable[[], nn.Module], Callable[[], list[Any]]]] = {
    "plain": (seeded(mlp), plain),
    "a frozen layer": (frozen, plain),
    "standardised weights": (lambda: nn.Sequential(StandardisedLinear(5, 5), *seeded(mlp)()), plain),
    "InstanceNorm": (lambda: nn.Sequential(nn.InstanceNorm2d(2), seeded(Residual)()), images),
    "GroupNorm": (lambda: nn.Sequential(nn.GroupNorm(1, 2), seeded(Residual)()), images),
    "InstanceNorm by batch_norm": (lambda: nn.Sequential(InstanceNorm(), seeded(Residual)()), images),
}


@pytest.mark.parametrize("name", NOT_OVER_SAMPLES)
def test_other_normalization_has_none(name: str) -> None:
    make, loader = NOT_OVER_SAMPLES[name]
    assert not notes(report_on(make(), loader()), "functional batch norm")


class Borrowing(nn.Module):
    """Has a BN layer that never runs: its statistics are given to the function."""

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.head = nn.BatchNorm1d(5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.batch_norm(x, self.bn.running_mean, self.bn.running_var, self.bn.weight, self.bn.bias))


def test_a_model_with_functional_batch_norm_alone_is_told_where() -> None:
    with pytest.raises(
        ModelError, match=r"no BN layer .* runs .*called as a function \(1 call at test_measure_repeat.py:\d+"
    ):
        report_on(Borrowing())
    with pytest.raises(ModelError, match=r"has no BN layer.*calls of F.batch_norm in other modules are not seen"):
        report_on(nn.Sequential(Functional(5), nn.Linear(5, 3)))


def test_batches_are_given_to_the_second_run_as_they_are() -> None:
    """A last batch of one sample, which is one row of its own, is told from instance normalization."""
    model = seeded(mlp)()
    model[5] = Functional(4)
    (note,) = notes(report_on(model, batches(*(t[:41] for t in data(5)))), "functional batch norm")
    assert note.layer == "5"


# Samples that interact outside BN layers


@pytest.mark.parametrize(
    ("after", "found"),
    [
        (lambda z: z - z.mean(0), True),
        (lambda z: F.softmax(z @ z.T, 1) @ z, True),
        (lambda z: z.sort(0).values, True),
        (lambda z: z - z.mean(1, keepdim=True), False),
        (lambda z: F.layer_norm(z, (3,)), False),
    ],
    ids=["centred", "attention", "sorted", "centred alone", "layer norm"],
)
def test_samples_that_interact_have_a_note(after: Callable[[Tensor], Tensor], found: bool) -> None:
    assert [note.text.count("up to 24 here") for note in notes(report_on(Then(after)), "coupled samples")] == [
        1
    ] * found


@pytest.mark.parametrize("options", [{"track_running_stats": False}, {}], ids=str)
def test_batch_statistics_of_bn_layers_are_no_interaction(options: dict[str, Any]) -> None:
    assert not notes(report_on(seeded(lambda: mlp(**options))()), "coupled samples")


def test_a_loss_that_draws_random_numbers_has_a_note() -> None:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(F.dropout(output), target, reduction="none")

    report = bnlens.report(seeded(mlp)(), plain(), loss, statistics_batch_size=4, rounds=1)
    (note,) = notes(report, "stochastic forward")
    assert "the model or the loss draws random numbers" in note.text
