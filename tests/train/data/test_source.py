from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnlens.errors import DataError, UsageError
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


def test_too_few_images_of_a_class():
    with pytest.raises(DataError, match="6 balanced samples need 3 images of class 1, which has 2; ask for fewer"):
        balanced_subset(np.array([0, 0, 0, 1, 1]), 2, 6, 0)


def test_samples_must_be_positive():
    with pytest.raises(UsageError, match="samples must be at least 1, got 0"):
        balanced_subset(np.zeros(3, np.int64), 1, 0, 0)


def test_labels_outside_the_classes_are_named_by_row():
    with pytest.raises(DataError, match="file: row 2 has the label 7, outside the 3 classes; labels run from 0 to 2"):
        check_labels(np.array([0, 1, 7]), 3, "file")


def test_no_labels():
    with pytest.raises(DataError, match="file holds no images"):
        check_labels(np.array([], dtype=np.int64), 3, "file")
