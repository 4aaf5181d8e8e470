import functools
import os
import pickle

import numpy as np
import pytest

from bnlens.errors import DataError
from bnlens.train import load_data


@pytest.mark.parametrize("place", [".", "cifar-10-batches-py"])
def test_reads_the_published_format(tmp_path, pixels, write_batches, unstandardised, place):
    write_batches(tmp_path / place)
    data = load_data(tmp_path)
    np.testing.assert_allclose(unstandardised(data), pixels.transpose(0, 3, 1, 2) / 255, atol=1e-6)
    assert data.labels.tolist() == [row % 10 for row in range(20)]
    assert data.name == "CIFAR-10"
    assert load_data(tmp_path, split="test").labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_reads_batches_pickled_again(tmp_path, pixels, write_batches, unstandardised, protocol):
    write_batches(tmp_path, functools.partial(pickle.dumps, protocol=protocol))
    np.testing.assert_allclose(unstandardised(load_data(tmp_path)), pixels.transpose(0, 3, 1, 2) / 255, atol=1e-6)


class Calls:
    def __init__(self, function, argument):
        self.call = function, (argument,)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "make",
    [
        lambda path: Calls(os.mkdir, str(path)),
        lambda _: Calls(eval, "1 + 1"),
        lambda _: np.float64,
        lambda _: pickle.Unpickler,
    ],
)
def test_never_follows_other_globals(tmp_path, write_batches, make):
    write_batches(tmp_path)
    canary = tmp_path / "canary"
    (tmp_path / "data_batch_3").write_bytes(pickle.dumps({b"data": make(canary), b"labels": []}, protocol=2))
    with pytest.raises(DataError, match=r"data_batch_3 refers to \w+\.\w+, which CIFAR-10 never does and which could"):
        load_data(tmp_path)
    assert not canary.exists()


def test_arrays_of_objects_are_refused(tmp_path, write_batches):
    write_batches(tmp_path)
    batch = {b"data": np.array([{}], dtype=object), b"labels": [0]}
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(batch, protocol=4))
    with pytest.raises(DataError, match="data_batch_1 is not a readable CIFAR-10 batch"):
        load_data(tmp_path)


@pytest.mark.parametrize("length", [0, 10, 2000])
def test_truncated_batch(tmp_path, write_batches, length):
    write_batches(tmp_path)
    path = tmp_path / "data_batch_2"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match="data_batch_2 is not a readable CIFAR-10 batch; download or copy it again"):
        load_data(tmp_path)


def test_missing_batch(tmp_path, write_batches):
    write_batches(tmp_path)
    (tmp_path / "data_batch_4").unlink()
    with pytest.raises(DataError, match="data_batch_4 is missing; unpack the archive"):
        load_data(tmp_path)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([1, 2], "has no entry 'data'"),
        ({b"data": np.zeros((2, 3072), np.float32), b"labels": [0, 0]}, "has no entry 'data' of uint8 rows of 3072"),
        ({b"data": np.zeros((2, 100), np.uint8), b"labels": [0, 0]}, "has no entry 'data'"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, "has no entry 'labels' of 2 integers"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, "cat"]}, "has no entry 'labels'"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 12]}, "row 1 has the label 12, outside the 10"),
    ],
)
def test_other_content(tmp_path, write_batches, batch, message):
    write_batches(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(batch, protocol=4))
    with pytest.raises(DataError, match=f"data_batch_1.*{message}"):
        load_data(tmp_path)
