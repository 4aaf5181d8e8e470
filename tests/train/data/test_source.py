import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnlens.errors import DataError
from bnlens.train.data.source import balanced_subset, check_labels


@given(classes=st.integers(1, 6), samples=st.integers(1, 60), seed=st.integers(0, 100))
def test_subset_is_balanced_and_without_repeats(classes, samples, seed):
    labels = np.arange(classes * 60) % classes
    rows = balanced_subset(labels, classes, samples, seed)
    counts = np.bincount(labels[rows], minlength=classes)
    assert len(set(rows.tolist())) == len(rows) == samples
    assert counts.max() - counts.min() <= 1
    assert np.array_equal(rows, balanced_subset(labels, classes, samples, seed))


def test_seeds_draw_different_subsets():
    labels = np.arange(100) % 2
    assert set(balanced_subset(labels, 2, 20, 0)) != set(balanced_subset(labels, 2, 20, 1))


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"),
    [
        (
            balanced_subset,
            ([0, 0, 0, 1, 1], 2, 6, 0),
            DataError,
            "6 balanced samples need 3 images of class 1, which has 2;",
        ),
        (
            check_labels,
            ([0, 1, 7], 3, "file"),
            DataError,
            "file: row 2 has the label 7, outside the 3 classes; .* 0 to 2",
        ),
        (check_labels, ([], 3, "file"), DataError, "file holds no images"),
    ],
)
def test_wrong_labels_and_sizes(function, arguments, error, message):
    labels, *rest = arguments
    with pytest.raises(error, match=message):
        function(np.array(labels, dtype=np.int64), *rest)
