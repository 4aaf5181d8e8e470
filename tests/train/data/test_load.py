import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from bnlens.errors import DataError, UsageError
from bnlens.train import check_data, load_data

# The real images, where they are: in the folder that the variable names, or in a data folder beside the checkout.
CIFAR10 = Path(os.environ.get("BNLENS_CIFAR10", Path(__file__).parents[4] / "shared" / "data" / "cifar10"))


def as_rows(images):
    return {image.tobytes() for image in images}


def test_digits_are_split_without_overlap(unstandardised):
    train, test = load_data("digits"), load_data("digits", split="test")
    assert (len(train), len(test)) == (1437, 360)
    assert test.labels.bincount().tolist() == [36] * 10
    pixels = [np.rint(unstandardised(data) * 16).astype(np.uint8).reshape(-1, 64) for data in (train, test)]
    assert not as_rows(pixels[0]) & as_rows(pixels[1])
    assert as_rows(pixels[0]) | as_rows(pixels[1]) == as_rows(load_digits().data.astype(np.uint8))


def test_digits_keep_their_labels(unstandardised):
    data = load_data("digits", split="test")
    known = {image.tobytes(): label for image, label in zip(*load_digits(return_X_y=True), strict=True)}
    images = np.rint(unstandardised(data) * 16).astype(np.float64).reshape(-1, 64)
    assert [known[image.tobytes()] for image in images] == data.labels.tolist()


def test_constants_are_the_training_splits():
    train, test = load_data("digits"), load_data("digits", split="test")
    assert (train.mean, train.std) == (test.mean, test.std)
    assert train.images.mean().item() == pytest.approx(0, abs=1e-5)
    assert train.images.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert load_data("digits", samples=50).mean == train.mean


def test_a_seed_draws_a_subset():
    first, again, other = (load_data("digits", samples=100, seed=seed) for seed in (0, 0, 1))
    assert first.labels.bincount().tolist() == [10] * 10
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)


def test_what_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"digits, train split: 1437 balanced samples need 14. images of class"):
        load_data("digits", samples=1437)
    with pytest.raises(UsageError, match="split is 'validation'; it must be one of 'train', 'test'"):
        load_data("digits", split="validation")
    with pytest.raises(DataError, match=r"there is no folder .*nowhere; give 'digits' or the path of a folder"):
        load_data(tmp_path / "nowhere")


def test_file_instead_of_folder(tmp_path, write_parquet):
    with pytest.raises(DataError, match=r"train\.parquet is a file; give the folder that holds it"):
        load_data(write_parquet(tmp_path / "train.parquet"))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], r"holds no known layout; it needs train\.parquet, data_batch_1 or a folder"),
        (["notes/text.txt"], "has folders, such as notes, but no image in them; put those of each class in its folder"),
        (["train/cat/", "train/dog/"], "has folders, such as cat, but no image in them"),
        (["test/cat/0.png"], "holds a test split alone; put the images to train on in .*train, one folder per class"),
        (["val/cat/0.png", "train/"], "holds a val split alone"),
        (["0.png", "1.png"], "holds images that are in no class; put them in one folder per class"),
    ],
)
def test_a_folder_without_images_to_train_on(files, words, tmp_path):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).mkdir() if file.endswith("/") else (tmp_path / file).touch()
    with pytest.raises(DataError, match=f"^{tmp_path} {words}"):
        load_data(tmp_path)
    with pytest.raises(DataError, match=f"^{tmp_path} {words}"):
        check_data(tmp_path)


def test_too_many_samples_are_said_without_reading_images():
    with pytest.raises(DataError, match=r"digits, test split: 400 balanced samples need 40 images of class \d"):
        check_data("digits", split="test", samples=400)
    check_data("digits", samples=100)


def test_layouts_give_the_same_images_and_fingerprints_tell_data_apart(tmp_path, write_parquet, write_batches):
    write_parquet(tmp_path / "parquet" / "train.parquet")
    write_batches(tmp_path / "pickle")
    parquet, pickled = load_data(tmp_path / "parquet"), load_data(tmp_path / "pickle")
    assert torch.equal(parquet.images, pickled.images)
    assert torch.equal(parquet.labels, pickled.labels)
    assert (parquet.class_names, parquet.name, parquet.mean) == (pickled.class_names, pickled.name, pickled.mean)
    known = parquet.fingerprint
    assert pickled.fingerprint == known
    write_parquet(tmp_path / "other" / "train.parquet", labels=[1, *(row % 10 for row in range(1, 20))])
    others = [load_data(tmp_path / "parquet", split="train", samples=20), load_data(tmp_path / "other")]
    assert len({known, *(data.fingerprint for data in others)}) == 3


@pytest.mark.slow
@pytest.mark.skipif(not CIFAR10.is_dir(), reason=f"no CIFAR-10 at {CIFAR10}; set BNLENS_CIFAR10 to its folder")
def test_the_whole_of_cifar10():
    train, test = load_data(CIFAR10, samples=2000), load_data(CIFAR10, split="test")
    assert test.labels.bincount().tolist() == [1000] * 10
    assert train.labels.bincount().tolist() == [200] * 10
    assert train.input_shape == test.input_shape == (3, 32, 32)
    for data, tolerance in ((train, 0.05), (test, 0.03)):  # standard errors of a mean over images: 0.01 and 0.005
        assert data.images.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=tolerance)
        assert data.images.std((0, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=tolerance)
    with pytest.raises(DataError, match="need 5001 images of class"):
        load_data(CIFAR10, samples=50_010)
