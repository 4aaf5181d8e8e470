"""`bnlens.report` on every kind of model, batch and loss, and the notes it makes."""

import dataclasses
import math
from collections import UserDict
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from measure_cases import Case, Shared, batches, conv, data, initialised, mlp, plain, seeded
from measure_twin import probing
from torch import Tensor, nn

import bnlens
from bnlens.errors import UsageError
from bnlens.measure import Report, _room, _run
from bnlens.measure._intercept import Handler
from bnlens.measure._population import estimate_population, population_handler
from bnlens.measure._probe import Probe

SIZES = {"statistics_batch_size": (4, 8), "rounds": 2, "alone": True, "first_order": True, "fisher": True}


def report_on(model: nn.Module, loader: Any = None, loss: Any = F.cross_entropy, **options: Any) -> Report:
    return bnlens.report(model, plain() if loader is None else loader, loss, **(SIZES | options))


# What rounding leaves of a gap that is zero. Losses of about one nat are subtracted that were computed in batches of other
# shapes, so that matrix products and log-softmax add their terms, ten in a loss of these nets, in another order.
ROUNDING = 10 * torch.finfo(torch.float32).eps


def make(**options: Any) -> nn.Module:
    return seeded(lambda: mlp(**options))()


def assert_near(one: Report, other: Report, tolerance: float) -> None:
    """Measured and exactly predicted gaps agree, layer by layer and at each M."""
    for (_, size, first), (_, _, second) in zip(one.gap_rows(), other.gap_rows(), strict=True):
        assert first.measured[size].value == pytest.approx(second.measured[size].value, abs=tolerance)
        assert first.first_order.value == pytest.approx(second.first_order.value, abs=tolerance)


def numbers(report: Report) -> Report:
    """The report without what differs from run to run."""
    return dataclasses.replace(report, seconds=0.0, created="", model="", notes=())


def notes(report: Report) -> dict[tuple[str, str], str]:
    return {(note.kind, note.layer): note.text for note in report.notes}


def test_every_case(case: Case) -> None:
    report = report_on(case.model(), case.batches(), case.loss)
    assert tuple(layer.name for layer in report.layers) == case.calls
    assert report.statistics_batch_sizes == (4, 8)
    assert report.prediction_batch_size == 6
    assert report.samples == sum(len(next(iter(_tensors(batch)))) for batch in case.batches())
    assert (report.likelihood is None) == (case.name in ("sum", "custom"))
    for _, size, gaps in report.gap_rows():
        assert math.isfinite(gaps.measured[size].value)
        assert gaps.measured[size].stderr > 0
        assert math.isfinite(gaps.first_order.value)
        assert (gaps.fisher is None) == (gaps.two_term is None) == (report.likelihood is None)
        assert gaps.two_term is None or gaps.two_term.value > 0
        assert size not in report.groups or report.groups[size] == 2 * (report.samples // size)
    for size in report.statistics_batch_sizes:
        parts = [*(layer.share[size] for layer in report.layers), report.network.unattributed[size]]
        assert sum(part.value for part in parts) == pytest.approx(report.network.gaps.measured[size].value, abs=1e-12)
    assert "(network)" in repr(report)


def _tensors(batch: Any) -> list[Tensor]:
    return list(batch.values()) if isinstance(batch, dict) else list(batch)


def test_a_known_likelihood_does_not_change_what_is_measured() -> None:
    known = report_on(make())
    custom = report_on(make(), loss=lambda output, target: F.cross_entropy(output, target))
    assert known.network.gaps.fisher is not None
    assert custom.network.gaps.fisher is None
    assert_near(known, custom, 1e-6)


def test_a_sum_over_samples_is_the_same_loss_as_a_mean() -> None:
    assert numbers(report_on(make())) == numbers(report_on(make(), loss=nn.CrossEntropyLoss(reduction="sum")))


def test_a_function_that_draws_targets_gives_the_fisher_value() -> None:
    def draw(output: Tensor, generator: torch.Generator) -> Tensor:
        return torch.multinomial(output.softmax(1), 1, generator=generator).squeeze(1)

    known, given = report_on(make(), rounds=8), report_on(make(), likelihood=draw, rounds=8)
    assert given.likelihood == "given"
    for (_, _, first), (_, _, second) in zip(known.gap_rows(), given.gap_rows(), strict=True):
        assert first.two_term is not None
        assert second.two_term is not None
        difference = first.two_term - second.two_term
        assert abs(difference.value) < 4 * difference.stderr
        assert difference.value != 0


def test_dropout_is_off() -> None:
    nets = [make().train(), make().train()]
    for net, layer in zip(nets, (nn.Dropout(0.5), nn.Identity()), strict=True):
        net[2] = nn.Sequential(nn.ReLU(), layer)
    assert numbers(report_on(nets[0])) == numbers(report_on(nets[1]))


def test_wrappers_are_looked_through() -> None:
    expected = numbers(report_on(make()))
    compiled = torch.compile(make(), backend="eager")
    assert numbers(report_on(compiled)) == expected
    assert numbers(report_on(nn.DataParallel(make()))) == expected
    inside = make()
    inside[0] = torch.compile(nn.Sequential(inside[0]), backend="eager")
    assert numbers(report_on(inside)) == expected


def test_a_compiled_model_that_has_run_is_seen_too() -> None:
    compiled = torch.compile(make(), backend="eager")
    compiled.eval()
    compiled(plain()[0][0])
    assert numbers(report_on(compiled)) == numbers(report_on(make()))


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_does_not_matter(training: bool) -> None:
    assert numbers(report_on(make().train(training))) == numbers(report_on(make()))


def test_a_caller_without_gradients_gets_the_same() -> None:
    model, expected = make(), numbers(report_on(make()))
    with torch.no_grad():
        assert numbers(report_on(model)) == expected
    with torch.inference_mode():
        assert numbers(report_on(model)) == expected


def test_autocast_is_respected_and_loses_little() -> None:
    seen = []
    model = initialised(seeded(lambda: initialised(conv(2), 2, 4, 4))(), 2, 4, 4)
    handle = model[0].register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    loader = batches(*data(2, 4, 4))
    full = report_on(model, loader)
    assert set(seen) == {torch.float32}
    seen.clear()
    with torch.autocast("cpu", torch.bfloat16):
        half = report_on(model, loader)
    handle.remove()
    assert set(seen) == {torch.bfloat16}
    assert_near(full, half, 0.003)


def test_bfloat16_weights() -> None:
    report = report_on(make().bfloat16(), [(x.bfloat16(), y) for x, y in plain()])
    reference = report_on(make())
    assert report.network.gaps.first_order.value == pytest.approx(reference.network.gaps.first_order.value, abs=0.01)


def test_double_precision_agrees_with_single() -> None:
    assert_near(report_on(make()), report_on(make().double(), [(x.double(), y) for x, y in plain()]), 1e-5)


@pytest.mark.parametrize("size", [2, 3, 20, 47, 48])
def test_how_the_loader_cuts_batches_does_not_matter(size: int) -> None:
    """Where each M divides the largest one, so that no batch of whole groups leaves samples out."""
    whole, cut = (report_on(make(), batches(*data(5), size=n), prediction_batch_size=16) for n in (48, size))
    assert_near(whole, cut, 1e-5)


def test_samples_beyond_the_maximum_are_not_read() -> None:
    read = []

    def endless() -> Any:
        for batch in iter(lambda: plain()[0], None):
            read.append(batch)
            yield batch

    report = report_on(make(), endless(), max_samples=50)
    assert report.samples == 50
    assert len(read) == 3


def test_numpy_integers_are_integers() -> None:
    report = report_on(make(), statistics_batch_size=np.array([8, 4]), prediction_batch_size=np.int64(5))
    assert report.statistics_batch_sizes == (4, 8)
    assert report.prediction_batch_size == 5
    assert isinstance(report.to_json(), str)


@pytest.mark.parametrize(("sizes", "source"), [(8, 16), ((8,), 16), ((4, 16), 8), ((4, 8, 16), 9), ((2, 3), 4), (2, 4)])
def test_predictions_come_from_a_size_that_is_not_measured(sizes: Any, source: int) -> None:
    assert report_on(make(), statistics_batch_size=sizes, alone=False).prediction_batch_size == source


def test_gaps_alone_and_the_fisher_matrix_are_only_made_on_request() -> None:
    report, asked = report_on(make(), alone=False, first_order=False, fisher=False), report_on(make())
    assert [layer.gaps for layer in report.layers] == [None, None]
    assert [layer.quadratic for layer in report.layers] == [None, None]
    assert (report.network.gaps.fisher, report.network.gaps.first_order, report.network.gaps.logits) == (None, None, {})
    assert None not in [asked.network.gaps.fisher, *(layer.quadratic for layer in asked.layers)]
    assert report.network.gaps.measured == asked.network.gaps.measured
    assert [layer.share for layer in report.layers] == [layer.share for layer in asked.layers]
    with pytest.raises(UsageError, match=r"needs bnlens.report\(..., fisher=True\)"):
        report.predict(32, kind="fisher")


@pytest.mark.parametrize(
    ("asked", "found"), [(["4"], ["4"]), ("1", ["1"]), (True, ["1", "4"]), (["4", "1"], ["1", "4"]), ([], [])]
)
def test_gaps_alone_of_some_layers(asked: Any, found: list[str]) -> None:
    report, reference = report_on(make(), alone=asked), report_on(make())
    assert [layer.name for layer in report.layers if layer.gaps is not None] == found
    assert [report[name].gaps for name in found] == [reference[name].gaps for name in found]


def test_the_name_of_a_shared_layer_stands_for_all_its_calls() -> None:
    calls = {name: report_on(seeded(Shared)(), alone=[name]).layers for name in ("bn", "bn#2")}
    assert [[layer.gaps is not None for layer in layers] for layers in calls.values()] == [[True, True], [False, True]]


def test_the_old_name_of_alone() -> None:
    with pytest.warns(DeprecationWarning, match="per_layer is deprecated; use alone=True"):
        old = report_on(make(), alone=False, per_layer=True)
    assert numbers(old) == numbers(report_on(make()))


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_a_device_where_the_model_is_changes_nothing(device: Any) -> None:
    assert numbers(report_on(make(), device=device)) == numbers(report_on(make()))


@pytest.mark.parametrize(("limit", "expected"), [(2**30, (24, 24)), (1, (8, 2)), (2000, (24, 17)), (250, (16, 2))])
def test_batches_hold_whole_groups_and_fit_the_memory(
    limit: int, expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """About as many samples as the loader's 20 where memory allows, one group, and fewer in a backward pass, where not."""
    monkeypatch.setattr(_room, "_LIMIT", limit)
    with probing(make(), plain(), F.cross_entropy) as probe:
        populations, _ = estimate_population(probe)
        found = _room.samples_at_once(probe, 8, population_handler(populations))
    assert found == expected


@pytest.mark.parametrize("rows", [2, 3, 7, 8, 17])
def test_a_backward_pass_need_not_hold_a_whole_group(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def few(probe: Probe, largest: int, handler: Handler) -> tuple[int, int]:
        return _room.samples_at_once(probe, largest, handler)[0], rows

    whole = report_on(make())
    monkeypatch.setattr(_run, "samples_at_once", few)
    parts = report_on(make())
    assert_near(whole, parts, 1e-5)
    for one, other in zip(whole.layers, parts.layers, strict=True):
        for size in (4, 8):
            assert other.share[size].value == pytest.approx(one.share[size].value, abs=1e-5)
            assert other.share[size].stderr == pytest.approx(one.share[size].stderr, rel=1e-3)


def test_other_leaves_of_a_batch() -> None:
    loader = [
        {"x": x, "name": [f"file {i}" for i in range(len(x))], "factor": torch.tensor(1.0), "note": None, "y": y}
        for x, y in plain()
    ]
    seen = []

    def forward(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        seen.append((len(batch["name"]), len(batch["x"]), batch["name"][0], batch["note"]))
        return model(batch["x"]) * batch["factor"], batch["y"]

    assert numbers(report_on(make(), loader, forward=forward)) == numbers(report_on(make()))
    assert all(names == rows and name.startswith("file ") and note is None for names, rows, name, note in seen)


def test_a_mapping_that_is_no_dict() -> None:
    loader = [UserDict(x=x, labels=y) for x, y in plain()]
    assert numbers(report_on(make(), loader)) == numbers(report_on(make()))
    nested = [(UserDict(inputs=UserDict(x=x)), y) for x, y in plain()]
    found = report_on(make(), nested, forward=lambda model, batch: (model(batch[0]["inputs"]["x"]), batch[1]))
    assert numbers(found) == numbers(report_on(make()))


def test_seeds() -> None:
    first, again, other = report_on(make(), seed=5), report_on(make(), seed=5), report_on(make(), seed=6)
    assert numbers(first) == numbers(again)
    assert first.network.gaps.measured != other.network.gaps.measured
    assert first.network.gaps.first_order != other.network.gaps.first_order
    assert first.network.gaps.two_term != other.network.gaps.two_term
    assert first.network.population_loss == other.network.population_loss


def test_the_seed_of_the_caller_does_not_matter() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = report_on(make())
        torch.manual_seed(2)
        second = report_on(make())
    assert numbers(first) == numbers(second)


def test_one_pixel_is_one_effective_sample() -> None:
    for layer in report_on(make()).layers:
        assert (layer.effective_samples_mean.value, layer.effective_samples_mean.stderr) == (1.0, 0.0)
        assert (layer.effective_samples_std.value, layer.effective_samples_std.stderr) == (1.0, 0.0)


def test_effective_samples_of_repeated_and_of_independent_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    labels = torch.arange(400) % 3
    independent = torch.randn(400, 3, 4, 4, generator=generator)
    repeated = independent[:, :, :1, :1].expand(-1, -1, 4, 4).contiguous()
    (many,) = report_on(model, [(independent, labels)]).layers
    (one,) = report_on(model, [(repeated, labels)]).layers
    assert one.effective_samples_mean.value == pytest.approx(1, abs=1e-5)
    assert one.effective_samples_mean.stderr < 1e-5
    assert many.effective_samples_mean.value == pytest.approx(16, abs=4 * many.effective_samples_mean.stderr)
    assert many.effective_samples_std.value == pytest.approx(16, abs=4 * many.effective_samples_std.stderr)
    assert 0 < many.effective_samples_mean.stderr < 1
    assert abs(many.kurtosis.value) < 4 * many.kurtosis.stderr < 0.2


# Notes


def test_a_frozen_layer_has_no_row_and_a_note() -> None:
    model = make().train()
    model[1].eval()
    report = report_on(model)
    assert [layer.name for layer in report.layers] == ["4"]
    assert "is frozen (eval mode in a model in train mode)" in notes(report)["frozen", "1"]
    alone = report_on(model[2:], [(model[1](model[0](x)).detach(), y) for x, y in plain()])
    assert alone.network.gaps.measured[4].value == pytest.approx(report.network.gaps.measured[4].value, abs=1e-6)


def test_a_layer_in_eval_mode_without_running_statistics_is_not_frozen() -> None:
    model = make(track_running_stats=False).train()
    model[1].eval()
    report = report_on(model)
    assert [layer.name for layer in report.layers] == ["1", "4"]
    assert ("frozen", "1") not in notes(report)
    assert report.network.running_discrepancy is None
    assert report.layers[0].stale_mean is None


def test_a_layer_that_only_looks_frozen_has_a_note() -> None:
    model = make().train()
    for parameter in model[1].parameters():
        parameter.requires_grad_(False)
    report = report_on(model)
    assert [layer.name for layer in report.layers] == ["1", "4"]
    assert "call .eval() on it after every model.train()" in notes(report)["moving statistics", "1"]
    assert ("moving statistics", "4") not in notes(report)


def test_weight_decay_on_gamma_has_a_note() -> None:
    model = make()
    groups = [{"params": [model[1].weight], "weight_decay": 0.1}, {"params": [model[4].weight], "weight_decay": 0.0}]
    report = report_on(model, optimizer=torch.optim.SGD(groups, 0.1))
    explicit = 0.05 * float(model[1].weight.detach().square().sum())
    assert f"weight decay 0.1 on gamma adds {explicit:.4g}" in notes(report)["weight decay", "1"]
    assert "leave gamma out of weight decay" in notes(report)["weight decay", "1"]
    assert ("weight decay", "4") not in notes(report)
    assert not [kind for kind, _ in notes(report_on(make())) if kind == "weight decay"]


def test_stale_running_statistics_have_a_note() -> None:
    model = make()
    fresh = nn.Sequential(*model)
    for module in fresh.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = None
            module.reset_running_stats()
    fresh.train()
    with torch.no_grad():
        for _ in range(20):
            fresh(data(5)[0])
    report = report_on(fresh)
    assert not [kind for kind, _ in notes(report) if kind == "stale statistics"]
    assert report["1"].stale_mean is not None
    assert report["1"].stale_mean.value < 0.1
    fresh[1].running_mean += 5 * fresh[1].running_var.sqrt()
    report = report_on(fresh, plain() * 8)
    assert "recompute them before evaluating" in notes(report)["stale statistics", "1"]
    assert ("stale statistics", "4") not in notes(report)
    assert report["1"].stale_mean is not None
    assert report["1"].stale_mean.value == pytest.approx(5, rel=0.1)
    assert report.network.running_discrepancy is not None
    assert "evaluation with the running statistics changes the loss by" in notes(report)["stale statistics", ""]


def test_dead_channels_have_a_note() -> None:
    model = make()
    with torch.no_grad():
        model[0].weight[2] = 0  # a constant input
        model[1].weight[4] = 0  # a constant output
    report = report_on(model)
    assert report["1"].dead_channels == 2
    assert "2 of 6 channels have an output that does not vary" in notes(report)["dead channels", "1"]
    assert report["4"].dead_channels == 0
    assert math.isfinite(report["1"].kurtosis.value)


def test_a_layer_without_effect() -> None:
    model = make()
    nn.init.zeros_(model[4].weight)
    report = report_on(model)
    assert report["4"].dead_channels == 4
    assert report["4"].gaps is not None
    assert abs(report["4"].gaps.measured[4].value) < ROUNDING
    assert abs(report["4"].gaps.first_order.value) < ROUNDING
    assert report["4"].gaps.two_term is not None
    assert report["4"].gaps.two_term.value == 0  # a multiple of gamma^2


def test_a_second_call_of_a_shared_layer_has_a_note() -> None:
    report = report_on(seeded(Shared)())
    assert "is call 2 of 'bn'" in notes(report)["shared layer", "bn#2"]
    assert report["bn#2"].channels == report["bn"].channels == 4


class OutOfReach(nn.Module):
    """A first BN layer whose output gives the loss no gradient."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.bn, self.rest = way, nn.BatchNorm1d(5), make()

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "unused":
            self.bn(x)
            return self.rest(x)
        if self.way == "detached":
            return self.rest(self.bn(x).detach())
        with torch.no_grad():
            h = self.bn(x)
        return self.rest(h)


@pytest.mark.parametrize("way", ["unused", "detached", "no_grad"])
def test_a_layer_that_no_gradient_reaches_has_a_note(way: str) -> None:
    report = report_on(OutOfReach(way))
    assert [layer.name for layer in report.layers] == ["bn", "rest.1", "rest.4"]
    assert "predictions leave out its part of first order" in notes(report)["no gradient", "bn"]
    assert report["bn"].self_inclusion == report["bn"].shift == 0
    assert report["bn"].gaps is not None
    assert (abs(report["bn"].gaps.measured[4].value) < ROUNDING) == (way == "unused")
    if way == "unused":
        assert report.network.gaps.first_order.value == pytest.approx(
            report_on(make()).network.gaps.first_order.value, abs=1e-6
        )


def test_no_notes_without_cause() -> None:
    assert report_on(make(track_running_stats=False)).notes == ()


@pytest.mark.parametrize(("samples", "size", "source"), [(64, 16, 32), (63, 16, 8), (12, 3, 6)])
def test_a_single_size_is_predicted_from_twice_or_half_of_it(samples: int, size: int, source: int) -> None:
    data = (torch.randn(samples, 4), torch.randint(3, (samples,)))
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    result = bnlens.report(model, [data], F.cross_entropy, statistics_batch_size=size, rounds=1, alone=False)
    assert result.prediction_batch_size == source
