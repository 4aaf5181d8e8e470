"""Group statistics: the identity of theory sheet D.2, its mirror image, and the gaps against torch's own training mode."""

import copy

import pytest
import torch
import torch.nn.functional as F
from measure_cases import Case, mlp
from measure_twin import Twin, double, probing, take
from torch import nn

from bnlens.measure import _groups
from bnlens.measure._groups import Perturbation, Rounds, SecondOrder, group_gaps
from bnlens.measure._population import Population, estimate_population, population_handler
from bnlens.measure._probe import Probe, default_forward

GROUP = 6
SMALL = torch.randn(24, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64), torch.arange(24) % 3


def runs_of(probe: Probe, active: list[str] | None = None) -> tuple[dict[str, Population], torch.Tensor, SecondOrder]:
    populations, _ = estimate_population(probe, tolerance=1e-13)
    everything = [probe.losses(i, population_handler(populations)) for i in probe.pool.batches(probe.batch_size)]
    baseline = torch.cat(everything)
    active = list(populations) if active is None else active
    return populations, baseline, _groups.second_order(probe, populations, baseline, active, GROUP, Rounds(1, 3))


def test_a_group_computes_what_population_normalization_does_at_moved_parameters(case: Case) -> None:
    """Theory sheet D.2: BN on a group equals PN at theta + eps; the quadratic term takes theta - eps beside it."""
    model = case.model().double()
    with probing(model, double(case.batches()), case.loss) as probe:
        _, baseline, runs = runs_of(probe)
        twin = Twin(model, probe.pool.take(torch.arange(len(probe.pool))), case.loss)
        assert tuple(runs.perturbations) == case.calls
        for group in range(3):
            members = runs.members[group]
            scales = {name: p.scale[group] for name, p in runs.perturbations.items()}
            shifts = {name: p.shift[group] for name, p in runs.perturbations.items()}
            base = baseline[members]
            with torch.no_grad(), twin.shifted(scales, shifts):
                plus = torch.stack([twin.loss(int(j)) for j in members])
            opposite = ({n: -t for n, t in scales.items()}, {n: -t for n, t in shifts.items()})
            with torch.no_grad(), twin.shifted(*opposite):
                minus = torch.stack([twin.loss(int(j)) for j in members])
            assert float(runs.gaps[group]) == pytest.approx(float((plus - base).mean()), abs=1e-10)
            assert float(runs.quadratic[group]) == pytest.approx(float(((plus + minus) / 2 - base).mean()), abs=1e-10)


def test_the_gap_of_a_group_is_that_of_torch_in_training_mode(case: Case) -> None:
    model = case.model().double()
    with probing(model, double(case.batches()), case.loss) as probe:
        _, baseline, runs = runs_of(probe)
        batch = probe.pool.take(runs.members[0])
    if any(isinstance(m, nn.SyncBatchNorm) for m in model.modules()):
        model = copy.deepcopy(model)
        model[1].__class__ = nn.BatchNorm2d  # which is what it does in one process; torch refuses it a CPU
    with torch.no_grad():
        output, target = default_forward(model.train(), batch)
    losses = torch.stack([case.loss(output[j : j + 1], target[j : j + 1]).mean() for j in range(GROUP)])
    expected = float(losses.mean() - baseline[runs.members[0]].mean())
    assert float(runs.gaps[0]) == pytest.approx(expected, abs=1e-10)


def test_a_single_layer_leaves_the_others_on_population_statistics() -> None:
    model, (x, labels) = mlp().double(), SMALL
    with probing(model, [(x, labels)], F.cross_entropy) as probe:
        _, baseline, runs = runs_of(probe, ["4"])
        twin = Twin(model, (x, labels), F.cross_entropy)
    members = runs.members[0]
    assert list(runs.perturbations) == ["4"]
    with torch.no_grad():
        twin.norms[0].count = 0
        h = twin.model[0][:4](take(x, members))
        y = F.batch_norm(h, None, None, model[4].weight, model[4].bias, training=True)
        losses = F.cross_entropy(model[5:](y), labels[members], reduction="none")
    assert float(runs.gaps[0]) == pytest.approx(float((losses - baseline[members]).mean()), abs=1e-10)


def test_the_whole_pool_as_one_group_has_no_gap(case: Case) -> None:
    model = case.model().double()
    with probing(model, double(case.batches()), case.loss) as probe:
        populations, baseline, _ = runs_of(probe)
        size = len(probe.pool)
        runs = group_gaps(probe, populations, baseline, list(populations), size, Rounds(1, 0))
    assert runs.gaps.shape == (1,)
    assert abs(float(runs.gaps[0])) < 1e-10


def test_groups_are_disjoint_reproducible_and_leave_out_the_rest() -> None:
    def draw(seed: int) -> list[torch.Tensor]:
        return list(_groups.random_groups(47, 5, 12, torch.Generator().manual_seed(seed)))

    parts = draw(0)
    assert [len(part) for part in parts] == [10, 10, 10, 10, 5]
    together = torch.cat(parts)
    assert len(together.unique()) == 45
    assert int(together.max()) < 47
    assert torch.equal(together, torch.cat(draw(0)))
    assert not torch.equal(together, torch.cat(draw(1)))


def test_a_mirrored_call_without_record_is_population_normalised() -> None:
    with probing(mlp().double(), [SMALL], F.cross_entropy) as probe:
        populations, baseline, _ = runs_of(probe)
        still = Perturbation(torch.zeros(4, 4, dtype=torch.float64), torch.zeros(4, 4, dtype=torch.float64))
        losses = probe.losses(torch.arange(24), _groups.mirrored_handler(populations, {"4": still}, 6))
    torch.testing.assert_close(losses, baseline)
