"""Group statistics: the identity of theory sheet D.2, its mirror image, and the gaps against torch's own training mode."""

import copy

import pytest
import torch
import torch.nn.functional as F
from measure_cases import Case, mlp
from measure_twin import GROUP, bench, take
from torch import nn

from bnlens.measure._groups import Perturbation, mirrored_handler
from bnlens.measure._probe import default_forward

SMALL = torch.randn(24, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64), torch.arange(24) % 3
EXACT = 1e-10  # float64, losses of about one nat


def test_a_group_computes_what_population_normalization_does_at_moved_parameters(case: Case) -> None:
    """Theory sheet D.2: BN on a group equals PN at theta + eps; the quadratic term takes theta - eps beside it."""
    with bench(case.model(), case.batches(), case.loss) as b:
        calls = list(b.sampler.populations)
        law = b.sampler.law(b.batch, GROUP, b.zero, calls)
        gaps = b.sampler.gaps(b.batch, GROUP, b.zero.result.losses)
        torch.testing.assert_close(b.sampler.losses(b.batch), b.zero.result.losses, rtol=0, atol=EXACT)
        for group in range(3):
            rows, eps = b.members(group), b.recorded(group)
            assert tuple(eps) == case.calls

            def losses(sign: int) -> torch.Tensor:
                scales, shifts = ({name: sign * pair[i] for name, pair in eps.items()} for i in (0, 1))  # noqa: B023
                with torch.no_grad(), b.twin.shifted(scales, shifts):
                    return b.twin.losses(rows).mean()  # noqa: B023

            base = b.zero.result.losses[rows].mean()
            assert float(gaps[group]) == pytest.approx(float(losses(1) - base), abs=EXACT)
            assert float(law.quadratic[group]) == pytest.approx(float((losses(1) + losses(-1)) / 2 - base), abs=EXACT)
            assert float(law.linear[group]) == pytest.approx(float(b.twin.work(rows, eps, 0.0).sum()), abs=EXACT)


def test_the_gap_of_a_group_is_that_of_torch_in_training_mode(case: Case) -> None:
    with bench(case.model(), case.batches(), case.loss) as b:
        model = b.sampler.probe.model
        batch, gap = b.batch.head(GROUP), b.sampler.shares(b.batch, GROUP, b.zero).gaps[0]
    if any(isinstance(m, nn.SyncBatchNorm) for m in model.modules()):
        model = copy.deepcopy(model)
        model[1].__class__ = nn.BatchNorm2d  # which is what it does in one process; torch refuses it a CPU
    with torch.no_grad():
        output, target = default_forward(model.train(), batch.data)
    losses = torch.stack([case.loss(output[j : j + 1], target[j : j + 1]).mean() for j in range(GROUP)])
    assert float(gap) == pytest.approx(float(losses.mean() - b.zero.result.losses[:GROUP].mean()), abs=EXACT)


def test_a_single_layer_leaves_the_others_on_population_statistics() -> None:
    model, (x, labels) = mlp().double(), SMALL
    with bench(model, [(x, labels)], F.cross_entropy) as b:
        gaps = b.sampler.gaps(b.batch, GROUP, b.zero.result.losses, ["4"])
        law = b.sampler.law(b.batch, GROUP, b.zero, ["4"], keep=True)
    members = b.members(0)
    assert list(law.recorded) == ["4"]
    assert torch.equal(law.controls, b.zero.controls(GROUP)[:, 1:])
    with torch.no_grad():
        b.twin.norms[0].count = 0
        h = b.twin.model[0][:4](take(x, members))
        y = F.batch_norm(h, None, None, model[4].weight, model[4].bias, training=True)
        losses = F.cross_entropy(model[5:](y), labels[members], reduction="none")
    assert float(gaps[0]) == pytest.approx(float((losses - b.zero.result.losses[members]).mean()), abs=EXACT)


def test_the_whole_pool_as_one_group_has_no_gap(case: Case) -> None:
    size = 41 if case.name == "last batch of one" else 48
    with bench(case.model(), case.batches(), case.loss, size=size) as b:
        found = b.sampler.shares(b.batch, size, b.zero)
    assert found.shares is not None
    assert found.gaps.shape == (1,)
    assert abs(float(found.gaps)) < EXACT
    assert found.shares.abs().max() < EXACT


def test_batches_are_disjoint_reproducible_and_complete() -> None:
    def draw(seed: int) -> list[torch.Tensor]:
        with bench(mlp(), [SMALL], F.cross_entropy) as b:
            generator = torch.Generator().manual_seed(seed)
            return [batch.indices for batch in b.sampler.probe.pool.shuffled(10, generator)]

    parts = draw(0)
    assert [len(part) for part in parts] == [10, 10, 4]
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(24))
    assert torch.equal(torch.cat(parts), torch.cat(draw(0)))
    assert not torch.equal(torch.cat(parts), torch.cat(draw(1)))


def test_samples_that_fill_no_group_are_left_out() -> None:
    with bench(mlp(), [SMALL], F.cross_entropy) as b:
        whole, head = (
            b.sampler.shares(b.batch.head(rows), GROUP, b.sampler.zero(b.batch.head(rows))) for rows in (23, 18)
        )
    assert whole.gaps.shape == (3,)
    torch.testing.assert_close(whole.gaps, head.gaps)
    torch.testing.assert_close(whole.shares, head.shares)


def test_a_mirrored_call_without_record_is_population_normalised() -> None:
    with bench(mlp(), [SMALL], F.cross_entropy) as b:
        still = Perturbation(torch.zeros(4, 4, dtype=torch.float64), torch.zeros(4, 4, dtype=torch.float64))
        losses = b.sampler.probe.losses(
            b.batch, mirrored_handler(b.sampler.populations, {"4": still}, GROUP, b.sampler.probe.rows)
        )
    torch.testing.assert_close(losses, b.zero.result.losses)
