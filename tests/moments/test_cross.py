import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bnlens.errors import UsageError
from bnlens.moments import CrossSums, compute_cross, merge_cross, update_cross


def sums_of(samples: np.ndarray | torch.Tensor) -> CrossSums:
    batch = torch.as_tensor(samples)
    return update_cross(CrossSums.empty(batch.shape[1]), batch)


def draw(seed: int, samples: int) -> np.ndarray:
    """Correlated channels with means far from zero."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(samples, 4)) @ generator.normal(size=(4, 4)) + [0, 10, -20, 100]


@pytest.mark.parametrize("bessel", [False, True])
def test_agrees_with_numpy(bessel: bool) -> None:
    data = draw(0, 500)
    estimates = compute_cross(sums_of(data), bessel=bessel)
    assert (estimates.count, estimates.skipped_batches) == (500, 0)
    np.testing.assert_allclose(estimates.mean, data.mean(0), rtol=1e-12)
    np.testing.assert_allclose(estimates.covariance, np.cov(data.T, bias=not bessel), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(estimates.correlation, np.corrcoef(data.T), rtol=1e-10, atol=1e-12)


def test_a_large_offset_keeps_the_covariance() -> None:
    moved = 1e8 + draw(1, 1000)
    sums = CrossSums.empty(4)
    for part in np.split(moved, [3, 400]):
        sums = update_cross(sums, torch.from_numpy(part))
    np.testing.assert_allclose(compute_cross(sums).covariance, np.cov((moved - 1e8).T, bias=True), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_maps_count_each_pixel(dtype: torch.dtype) -> None:
    batch = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    rows = batch.double().movedim(1, -1).reshape(-1, 4).numpy()
    for maps in (batch, batch.contiguous(memory_format=torch.channels_last)):
        estimates = compute_cross(sums_of(maps))
        assert estimates.count == 90
        np.testing.assert_allclose(estimates.covariance, np.cov(rows.T, bias=True), rtol=1e-10, atol=1e-14)


@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 40), max_size=6), backwards=st.booleans())
def test_any_split_and_order_give_the_same_sums(seed: int, cuts: list[int], backwards: bool) -> None:
    data = draw(seed, 40)
    merged = CrossSums.empty(4)
    for part in map(sums_of, np.split(data, sorted(cuts))):
        merged = merge_cross(part, merged) if backwards else merge_cross(merged, part)
    assert merged.count == 40
    np.testing.assert_allclose(merged.mean, data.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(merged.comoment, 40 * np.cov(data.T, bias=True), rtol=1e-9, atol=1e-9)


def test_empty_sums_are_neutral_and_have_no_estimate() -> None:
    sums, empty = sums_of(draw(2, 10)), CrossSums.empty(4)
    for merged in (merge_cross(sums, empty), merge_cross(empty, sums)):
        assert torch.equal(merged.comoment, sums.comoment)
        assert torch.equal(merged.mean, sums.mean)
    assert compute_cross(empty).mean.isnan().all()
    assert compute_cross(empty, bessel=True).covariance.isnan().all()
    assert compute_cross(sums_of(draw(2, 1)), bessel=True).covariance.isnan().all()
    assert update_cross(sums, torch.empty(0, 4)) is sums


def test_a_batch_that_is_not_finite_is_left_out_and_counted() -> None:
    before = sums_of(draw(3, 10))
    bad = torch.zeros(5, 4)
    bad[4, 0] = torch.inf
    after = update_cross(before, bad)
    assert torch.equal(after.comoment, before.comoment)
    assert merge_cross(after, after).skipped_batches == 2
    assert merge_cross(after, after).count == 20


def test_a_constant_channel_has_no_correlation() -> None:
    data = draw(4, 10)
    data[:, 1] = 0.0
    correlation = compute_cross(sums_of(data)).correlation
    assert correlation.isnan().sum() == 7
    assert correlation[1].isnan().all()


def test_sums_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="2 channels in dimension 1 but the sums have 4"):
        update_cross(CrossSums.empty(4), torch.ones(3, 2))
    with pytest.raises(UsageError, match="over 4 and over 2 channels cannot be merged"):
        merge_cross(CrossSums.empty(4), CrossSums.empty(2))
    with pytest.raises(UsageError, match="num_features is -1"):
        CrossSums.empty(-1)
