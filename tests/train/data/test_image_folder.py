import numpy as np
import pytest

from bnlens.errors import DataError
from bnlens.train import load_data


def test_reads_splits(tmp_path, pixels, write_image_folder, unstandardised):
    write_image_folder(tmp_path / "train")
    write_image_folder(tmp_path / "test", images=pixels[6:10])
    train, test = load_data(tmp_path), load_data(tmp_path, split="test")
    expected = pixels.transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(unstandardised(train), expected[[0, 2, 4, 1, 3, 5]], atol=1e-6)
    np.testing.assert_allclose(unstandardised(test), expected[[6, 8, 7, 9]], atol=1e-6)
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert (train.class_names, train.name) == (("cat", "dog"), tmp_path.name)


def test_constants_come_from_the_training_images(tmp_path, pixels, write_image_folder):
    write_image_folder(tmp_path / "train")
    write_image_folder(tmp_path / "val", images=pixels[6:10])
    train = load_data(tmp_path)
    np.testing.assert_allclose(train.images.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(train.images.std((0, 2, 3), correction=0), 1, atol=1e-5)
    assert load_data(tmp_path, split="test").mean == train.mean


def test_folder_without_splits_is_training_data(tmp_path, write_image_folder):
    write_image_folder(tmp_path)
    assert len(load_data(tmp_path)) == 6
    with pytest.raises(DataError, match=r"has no test split; put its images in .*test, one folder per class"):
        load_data(tmp_path, split="test")


def test_any_common_format_and_size(tmp_path, write_image_folder):
    write_image_folder(tmp_path, images=np.zeros((4, 5, 7, 3), np.uint8), suffix=".JPG")
    assert load_data(tmp_path).images.shape == (4, 3, 5, 7)


def test_grey_images_have_one_channel_and_a_constant_one_stays_finite(tmp_path, write_image_folder):
    write_image_folder(tmp_path, images=np.full((4, 6, 6), 51, np.uint8))
    data = load_data(tmp_path)
    assert data.images.shape == (4, 1, 6, 6)
    assert data.mean == pytest.approx((0.2,))
    assert data.images.abs().max() < 1e-6


def test_subset_reads_only_its_images(tmp_path, write_image_folder):
    write_image_folder(tmp_path)
    assert load_data(tmp_path, samples=4).labels.bincount().tolist() == [2, 2]


def test_sizes_must_agree(tmp_path, pixels, write_image_folder):
    write_image_folder(tmp_path)
    write_image_folder(tmp_path, images=np.zeros((2, 8, 9, 3), np.uint8), suffix=".bmp")
    with pytest.raises(DataError, match=r"0\.png is 32x32 pixels where 8x9 is expected; resize the images"):
        load_data(tmp_path)


@pytest.mark.parametrize(("name", "kept"), [("dog/3.png", 500), ("cat/0.png", 0)])  # the first image is read before
def test_corrupt_image(tmp_path, write_image_folder, name, kept):
    path = write_image_folder(tmp_path) / name
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=rf"{path.name} is not a readable image; replace or remove it"):
        load_data(tmp_path)


def test_test_class_unknown_to_training(tmp_path, write_image_folder):
    write_image_folder(tmp_path / "train")
    write_image_folder(tmp_path / "test")
    (tmp_path / "test" / "dog").rename(tmp_path / "test" / "horse")
    with pytest.raises(DataError, match="class horse of the test split has no folder in the training split"):
        load_data(tmp_path, split="test")


def test_hidden_folders_and_other_files_are_ignored(tmp_path, write_image_folder):
    write_image_folder(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "a.png").write_bytes(b"")
    (tmp_path / "cat" / "notes.txt").write_text("")
    assert load_data(tmp_path).class_names == ("cat", "dog")
