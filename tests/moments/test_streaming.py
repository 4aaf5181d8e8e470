import pickle

import numpy as np
import pytest
import torch

from bnlens.moments import CrossMoments, Moments


def test_moments_follow_a_stream_with_a_gap_in_it() -> None:
    data = np.random.default_rng(0).normal(2, 3, size=(100, 2))
    moments = Moments(2)
    moments.update(torch.from_numpy(data[:30]))
    moments.update(torch.full((5, 2), torch.nan))
    moments.update(torch.from_numpy(data[30:]))
    estimates = moments.compute()
    np.testing.assert_allclose(estimates.variance, data.var(0), rtol=1e-12)
    np.testing.assert_allclose(moments.compute(bessel=True).variance, data.var(0, ddof=1), rtol=1e-12)
    assert repr(moments) == "Moments(num_features=2, count=100, skipped_batches=1)"


@pytest.mark.parametrize("kind", [Moments, CrossMoments])
def test_merge_reset_and_pickle(kind: type[Moments] | type[CrossMoments]) -> None:
    data = torch.rand(20, 3, generator=torch.Generator().manual_seed(0))
    first, second, whole = kind(3), kind(3), kind(3)
    first.update(data[:4])
    second.update(data[4:])
    whole.update(data)
    first.merge(second)
    assert second.compute().count == 16
    torch.testing.assert_close(first.compute().mean, whole.compute().mean)
    assert repr(pickle.loads(pickle.dumps(first))) == repr(first) == repr(whole)
    first.reset()
    assert first.compute().count == 0
    assert first.compute().mean.isnan().all()


def test_cross_moments_give_the_covariance() -> None:
    data = np.random.default_rng(1).normal(size=(50, 3))
    cross = CrossMoments(3)
    for part in np.split(data, [1, 20]):
        cross.update(torch.from_numpy(part))
    np.testing.assert_allclose(cross.compute(bessel=True).covariance, np.cov(data.T), rtol=1e-10, atol=1e-12)
    assert repr(cross) == "CrossMoments(num_features=3, count=50, skipped_batches=0)"
