import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bnlens.errors import UsageError
from bnlens.moments import MomentSums, compute_moments, merge_moments, update_moments

FIELDS = ("mean", "sum2", "sum3", "sum4")


def sums_of(samples: np.ndarray | torch.Tensor) -> MomentSums:
    batch = torch.as_tensor(samples)
    return update_moments(MomentSums.empty(batch.shape[1]), batch)


def draw(seed: int, samples: int, channels: int = 3) -> np.ndarray:
    """Skewed samples of another scale and place in each channel."""
    generator = np.random.default_rng(seed)
    return generator.exponential(size=(samples, channels)) * 10.0 ** np.arange(channels) - 5 * np.arange(channels)


def exact_sums(samples: np.ndarray) -> dict[str, np.ndarray]:
    """The definition, in extended precision."""
    wide = samples.astype(np.longdouble)
    centred = wide - wide.mean(0)
    sums = {"mean": wide.mean(0), **{f"sum{p}": (centred**p).sum(0) for p in (2, 3, 4)}}
    return {name: value.astype(np.float64) for name, value in sums.items()}


def assert_close(sums: MomentSums, expected: MomentSums | dict[str, np.ndarray], rtol: float = 1e-11) -> None:
    """Equality up to ``rtol`` of the scale that each sum has, n sigma^p: sum3 may cancel to anything."""
    of = expected.__getitem__ if isinstance(expected, dict) else lambda name: getattr(expected, name).numpy()
    count = max(sums.count.item(), 1)
    spread = np.sqrt(of("sum2") / count)
    for order, name in zip((1, 2, 3, 4), FIELDS, strict=True):
        scale = np.abs(of(name)) + (1 if name == "mean" else count) * spread**order
        np.testing.assert_array_less(np.abs(getattr(sums, name).numpy() - of(name)), rtol * scale + 1e-300, name)


def test_equals_the_definition() -> None:
    samples = draw(0, 1000)
    assert_close(sums_of(samples), exact_sums(samples))


def test_a_large_offset_costs_only_the_digits_of_the_mean() -> None:
    generator = np.random.default_rng(1)
    small = generator.exponential(size=(5000, 2)).astype(np.float32).astype(np.float64)
    moved = np.float64(1e8) + small
    sums = MomentSums.empty(2)
    for part in np.split(moved, [7, 100, 3000]):
        sums = update_moments(sums, torch.from_numpy(part))
    estimates = compute_moments(sums)
    # The samples as stored are the data: their own rounding at 1e8 is not the sums' error.
    stored = moved - 1e8
    np.testing.assert_allclose(estimates.variance, stored.var(0), rtol=1e-7)
    np.testing.assert_allclose(estimates.skewness, stats.skew(stored), rtol=1e-7)
    np.testing.assert_allclose(estimates.excess_kurtosis, stats.kurtosis(stored), rtol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("spatial", [(), (5,), (4, 5), (2, 3, 4)], ids=str)
def test_every_dtype_and_layout_gives_the_sums_of_its_values(dtype: torch.dtype, spatial: tuple[int, ...]) -> None:
    batch = (
        torch.randn(6, 3, *spatial, generator=torch.Generator().manual_seed(0), dtype=torch.float64).add(3).to(dtype)
    )
    sums = sums_of(batch)
    assert all(getattr(sums, name).dtype == torch.float64 for name in FIELDS)
    assert sums.count == 6 * np.prod(spatial, dtype=int)
    assert_close(sums, exact_sums(batch.double().movedim(1, -1).reshape(-1, 3).numpy()))


@pytest.mark.parametrize("layout", ["channels_last", "transposed", "strided", "expanded"])
def test_memory_format_does_not_matter(layout: str) -> None:
    batch = torch.randn(4, 6, 8, 10, generator=torch.Generator().manual_seed(1))
    viewed = {
        "channels_last": batch.contiguous(memory_format=torch.channels_last),
        "transposed": batch.transpose(2, 3),
        "strided": batch[::2, :, 1::3],
        "expanded": batch[:1].expand(4, -1, -1, -1),
    }[layout]
    assert_close(sums_of(viewed), exact_sums(viewed.double().movedim(1, -1).reshape(-1, 6).numpy()))


@pytest.mark.parametrize("shape", [(300_000, 1), (3, 2, 200, 300), (2, 200_000), (700, 5, 11, 13)], ids=str)
def test_batches_of_many_pieces(shape: tuple[int, ...]) -> None:
    batch = torch.rand(shape, generator=torch.Generator().manual_seed(2))
    rows = batch.double().movedim(1, -1).reshape(-1, shape[1])
    sums = sums_of(batch)
    assert sums.count == rows.shape[0]
    assert_close(sums, exact_sums(rows.numpy()))


@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 60), max_size=8))
def test_any_split_gives_the_same_sums(seed: int, cuts: list[int]) -> None:
    samples = draw(seed, 60)
    parts = np.split(samples, sorted(cuts))
    updated = MomentSums.empty(3)
    merged = MomentSums.empty(3)
    for part in parts:
        updated = update_moments(updated, torch.from_numpy(part))
        merged = merge_moments(sums_of(part), merged)
    assert updated.count == merged.count == 60
    assert_close(updated, exact_sums(samples))
    assert_close(merged, exact_sums(samples))


@given(seed=st.integers(0, 2**32 - 1), order=st.permutations(range(20)))
def test_the_order_of_samples_does_not_matter(seed: int, order: list[int]) -> None:
    samples = draw(seed, 20)
    assert_close(sums_of(samples[order]), sums_of(samples))


@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.floats(0.01, 100).flatmap(lambda s: st.sampled_from([s, -s])),
    shift=st.floats(-100, 100),
)
def test_affine_maps_act_on_the_sums_as_they_should(seed: int, scale: float, shift: float) -> None:
    samples = draw(seed, 30)
    plain, moved = sums_of(samples), sums_of(scale * samples + shift)
    powers = {f"sum{p}": getattr(plain, f"sum{p}").numpy() * scale**p for p in (2, 3, 4)}
    # The map itself rounds at the size of its terms, which a small scale leaves above the spread.
    assert_close(moved, {"mean": plain.mean.numpy() * scale + shift, **powers}, rtol=1e-9)


@given(seed=st.integers(0, 2**32 - 1), counts=st.tuples(*[st.integers(0, 9)] * 3))
def test_merge_is_associative_and_commutative(seed: int, counts: tuple[int, int, int]) -> None:
    samples = np.split(draw(seed, sum(counts)), np.cumsum(counts)[:2])
    first, second, third = map(sums_of, samples)
    left = merge_moments(merge_moments(first, second), third)
    assert_close(left, merge_moments(first, merge_moments(second, third)))
    assert_close(left, merge_moments(third, merge_moments(second, first)))
    assert left.count == sum(counts)


def test_empty_sums_are_neutral_to_the_last_bit() -> None:
    sums, empty = sums_of(draw(3, 10)), MomentSums.empty(3)
    for merged in (merge_moments(sums, empty), merge_moments(empty, sums)):
        assert all(torch.equal(getattr(merged, name), getattr(sums, name)) for name in ("count", *FIELDS))
    both = merge_moments(empty, empty)
    assert all(torch.equal(getattr(both, name), getattr(empty, name)) for name in ("count", *FIELDS))


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 4), (2, 3, 0)], ids=str)
def test_a_batch_without_values_changes_nothing(shape: tuple[int, ...]) -> None:
    sums = sums_of(draw(4, 5))
    assert update_moments(sums, torch.empty(shape)) is sums


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_a_batch_with_one_value_that_is_not_finite_is_left_out_whole(value: float, dtype: torch.dtype) -> None:
    good = torch.from_numpy(draw(5, 10)).to(dtype)
    bad = torch.ones(4, 3, 2, 2, dtype=dtype)
    bad[2, 1, 0, 1] = value
    before = sums_of(good)
    after = update_moments(before, bad)
    assert after.skipped_batches == 1
    assert all(torch.equal(getattr(after, name), getattr(before, name)) for name in ("count", *FIELDS))
    assert_close(update_moments(after, good), sums_of(torch.cat([good, good])))


def test_a_bad_value_in_a_late_piece_is_found() -> None:
    batch = torch.ones(300_000, 2)
    batch[-1, 0] = torch.nan
    assert update_moments(MomentSums.empty(2), batch).skipped_batches == 1


def test_values_whose_fourth_power_overflows_are_left_out() -> None:
    sums = update_moments(sums_of(draw(6, 5)), torch.tensor([[1e80] * 3, [-1e80] * 3], dtype=torch.float64))
    assert (sums.count, sums.skipped_batches) == (5, 1)


def test_skipped_batches_add_up_over_merges() -> None:
    bad = torch.full((2, 3), torch.nan)
    one, two = update_moments(MomentSums.empty(3), bad), update_moments(update_moments(MomentSums.empty(3), bad), bad)
    assert merge_moments(one, two).skipped_batches == 3


def test_gradients_are_not_tracked_and_the_batch_is_left_alone() -> None:
    batch = torch.rand(8, 3, dtype=torch.float64, requires_grad=True)
    copy = batch.detach().clone()
    assert not sums_of(batch).sum4.requires_grad
    assert torch.equal(batch, copy)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.ones(4, 3, dtype=torch.int64), "dtype torch.int64; convert"),
        (torch.ones(4, 3, dtype=torch.complex64), "dtype torch.complex64; convert"),
        (torch.ones(3), r"shape \(3,\); give it the shape \(N, C\)"),
        (torch.ones(4, 5), "5 channels in dimension 1 but the sums have 3; create them with num_features=5"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(batch: torch.Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        update_moments(MomentSums.empty(3), batch)


def test_sums_of_other_channels_are_refused() -> None:
    with pytest.raises(UsageError, match="over 3 and over 4 channels cannot be merged"):
        merge_moments(MomentSums.empty(3), MomentSums.empty(4))
    with pytest.raises(UsageError, match="num_features is 0"):
        MomentSums.empty(0)
