"""What ends a report: rounds, precision, seconds or samples; and how many groups it takes till then."""

import json
import math
from typing import Any

import pytest
import torch.nn.functional as F
from measure_cases import Residual, mlp, plain, seeded, trained
from torch import Tensor

import bnlens
from bnlens.measure import Report
from bnlens.measure._measurement import Measurement
from bnlens.measure._pool import Batch
from bnlens.measure._sampling import Groups, Sampler, ZeroNode

SIZES = (4, 16)


def report_on(**options: Any) -> Report:
    model, loader = trained(mlp, 5)
    return bnlens.report(model, loader, F.cross_entropy, **({"statistics_batch_size": SIZES} | options))


def test_rounds_are_as_many_as_asked_for() -> None:
    report = report_on(rounds=2, precision=1e-9)
    assert (report.stopped, report.rounds, report.precision) == ("rounds", 2, None)
    assert report.groups == {4: 256, 16: 64}


@pytest.mark.parametrize("precision", [0.2, 0.1])
def test_errors_are_as_small_as_asked_for(precision: float) -> None:
    report = report_on(precision=precision)
    assert (report.stopped, report.precision) == ("precision", precision)
    for size, gap in report.network.gaps.measured.items():
        allowed = precision * max(abs(gap.value), 0.01 * report.network.population_loss.value)
        assert gap.stderr <= allowed
        assert all(layer.share[size].stderr <= 2 * allowed for layer in report.layers)
        assert report.groups[size] >= 32
    assert "Stopped" not in repr(report)


def test_a_gap_near_zero_need_not_be_known_better_than_a_hundredth_of_the_loss() -> None:
    """Gamma of 1e-4: the gap is far below; few groups show that."""
    model = seeded(mlp)()
    for layer in (model[1], model[4]):
        layer.weight.data.fill_(1e-4)
    report = bnlens.report(model, plain(), F.cross_entropy, statistics_batch_size=4)
    assert report.stopped == "precision"
    assert report.rounds <= 3  # of 12 groups
    assert abs(report.network.gaps.measured[4].value) < 1e-4


@pytest.mark.parametrize("seconds", [1e-6, 0.5])
def test_time_ends_it_after_a_batch_at_least(seconds: float) -> None:
    report = report_on(precision=1e-4, max_seconds=seconds, alone=True, fisher=True)
    assert report.stopped == "seconds"
    assert "Stopped by max_seconds, short of the precision asked for" in repr(report)
    assert "Stopped by max_seconds" in report.to_html() or "<dd>seconds" in report.to_html()
    gaps = [gaps for _, _, gaps in report.gap_rows()]
    estimates = [e for g in gaps for e in (*g.measured.values(), g.first_order, g.fisher, g.two_term) if e is not None]
    estimates += [e for layer in report.layers for e in layer.share.values()]
    assert all(math.isfinite(number) for e in estimates for number in (e.value, e.stderr))
    assert json.loads(report.to_json())["stopped"] == "seconds"


def test_a_gap_that_stays_unknown_ends_after_enough_samples() -> None:
    report = bnlens.report(seeded(mlp)(), plain(), F.cross_entropy, statistics_batch_size=2, precision=1e-4)
    assert (report.stopped, report.rounds) == ("samples", 64)
    assert report.groups == {2: 64 * 24 + 12}  # twelve are of the batch that said how many nodes it takes
    assert "Stopped after 64 shuffles of the samples, short of the precision asked for" in repr(report)


def test_the_seed_decides_all_numbers_also_where_precision_ends_it() -> None:
    first, again, other = (report_on(precision=0.2, seed=seed).network for seed in (3, 3, 4))
    assert first == again
    assert first.gaps.measured != other.gaps.measured


def test_sizes_whose_shares_are_known_take_forward_passes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    light: dict[int, int] = {}
    gaps, full = Sampler.gaps, []

    def counted(self: Sampler, batch: Batch, size: int, losses: Tensor, **options: Any) -> Tensor:
        found = gaps(self, batch, size, losses, **options)
        light[size] = light.get(size, 0) + len(found)
        return found

    shares = Sampler.shares

    def listed(self: Sampler, batch: Batch, size: int, zero: ZeroNode) -> Groups:
        full.append(size)
        return shares(self, batch, size, zero)

    monkeypatch.setattr(Measurement, "_run_as_loaded", lambda self: None)
    monkeypatch.setattr(Sampler, "gaps", counted)
    monkeypatch.setattr(Sampler, "shares", listed)
    model, loader = trained(Residual, 2, 4, 4)
    report = bnlens.report(model, loader, F.cross_entropy, statistics_batch_size=(8, 32), precision=0.1)
    for size in report.network.gaps.others:  # which never take a backward pass of their own
        assert size not in full
        del light[size]
    assert all(0 < count < report.groups[size] for size, count in light.items())
    assert light
    assert len(full) < 2 * report.rounds
    assert report.groups[32] - light.get(32, 0) >= 32


def _noting(sizes: list[int]) -> Any:
    gaps = Sampler.gaps

    def noted(self: Sampler, batch: Batch, size: int, losses: Tensor, **options: Any) -> Tensor:
        sizes.append(size)
        return gaps(self, batch, size, losses, **options)

    return noted


def test_rounds_give_every_group_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    gaps: list[int] = []
    monkeypatch.setattr(Measurement, "_run_as_loaded", lambda self: None)
    monkeypatch.setattr(Sampler, "gaps", _noting(gaps))
    report = report_on(rounds=3)
    assert report.stopped == "rounds"
    assert set(gaps) == set(report.network.gaps.others)


@pytest.mark.parametrize("options", [{"rounds": 40}, {"precision": 0.1}])
def test_without_shares_the_gap_is_the_same_and_nothing_is_said_of_layers(options: dict[str, Any]) -> None:
    split, whole = report_on(**options), report_on(shares=False, alone=["1"], **options)
    for size in SIZES:
        difference = split.network.gaps.measured[size] - whole.network.gaps.measured[size]
        assert abs(difference.value) < 4 * difference.stderr
    assert not any(layer.share for layer in whole.layers)
    assert [layer.name for layer in whole.layers if layer.gaps is not None] == ["1"]
    assert "Share" not in repr(whole)
    assert "Shares of the layers" not in whole.to_html()
    assert whole.compare(split).of_layers == "gaps of layers alone"
