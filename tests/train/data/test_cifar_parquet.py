from contextlib import nullcontext

import numpy as np
import pytest

import bnlens.train._optional as optional
from bnlens.errors import DataError
from bnlens.train import load_data
from bnlens.train.data.source import balanced_subset


def test_reads_pixels_and_labels(tmp_path, pixels, write_parquet, unstandardised):
    write_parquet(tmp_path / "train.parquet")
    data = load_data(tmp_path)
    np.testing.assert_allclose(unstandardised(data), pixels.transpose(0, 3, 1, 2) / 255, atol=1e-6)
    assert data.labels.tolist() == [row % 10 for row in range(20)]
    assert (data.name, data.class_names[8]) == ("CIFAR-10", "ship")


@pytest.mark.parametrize("place", [".", "data", "plain_text"])
def test_reads_shards_in_order(tmp_path, pixels, write_parquet, unstandardised, place):
    write_parquet(tmp_path / place / "train-00001-of-00002-ab.parquet", 10, 20, column="image")
    write_parquet(tmp_path / place / "train-00000-of-00002-cd.parquet", 0, 10, column="image")
    np.testing.assert_allclose(unstandardised(load_data(tmp_path)), pixels.transpose(0, 3, 1, 2) / 255, atol=1e-6)


def test_splits_are_separate_files(tmp_path, write_parquet):
    write_parquet(tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"has no test\*\.parquet; put the file of the test split there"):
        load_data(tmp_path, split="test")
    write_parquet(tmp_path / "test.parquet", 0, 10)
    assert len(load_data(tmp_path, split="test")) == 10


def test_says_when_the_images_lost_detail(tmp_path, write_parquet):
    write_parquet(tmp_path / "train.parquet", image_format="JPEG")
    assert load_data(tmp_path).name == "CIFAR-10 (JPEG)"


def test_decodes_only_what_is_chosen(tmp_path, write_parquet):
    write_parquet(tmp_path / "train.parquet", damaged={3: b"damaged"})
    labels = np.arange(20) % 10
    drawn = {seed: 3 in balanced_subset(labels, 10, 10, seed) for seed in range(12)}  # image 13 is of class 3 too
    assert set(drawn.values()) == {False, True}
    for seed, is_drawn in drawn.items():
        expectation = pytest.raises(DataError, match="row 3 is not a readable image") if is_drawn else nullcontext()
        with expectation:
            assert len(load_data(tmp_path, samples=10, seed=seed)) == 10


def test_truncated_file(tmp_path, write_parquet):
    path = write_parquet(tmp_path / "train.parquet")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"train\.parquet is not a readable parquet file; download or copy it again"):
        load_data(tmp_path)


def test_damage_in_the_middle(tmp_path, write_parquet):
    path = write_parquet(tmp_path / "train.parquet")
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)  # the header of the first page
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"train\.parquet"):
        load_data(tmp_path)


@pytest.mark.parametrize(
    ("stop", "options", "message"),
    [
        (3, {"labels": [0, 10, 1]}, "train.parquet: row 1 has the label 10, outside the 10 classes"),
        (3, {"labels": [0, -1, 1]}, "train.parquet: row 1 has the label -1, outside the 10 classes"),
        (2, {"labels": [0, None]}, r"row \d has the label .*; labels are integers"),
        (2, {"labels": [0, 1.5]}, r"row \d has the label .*; labels are integers"),
        (1, {"damaged": {0: b"no image"}}, "train.parquet, row 0 is not a readable image; replace or remove it"),
        (2, {"damaged": {1: None}}, "row 1 holds no encoded image"),
        (20, {"column": "picture"}, "has the columns picture, label; CIFAR-10 needs img"),
        (0, {}, "train.parquet holds no images"),
    ],
)
def test_other_content(tmp_path, write_parquet, stop, options, message):
    write_parquet(tmp_path / "train.parquet", 0, stop, **options)
    with pytest.raises(DataError, match=message):
        load_data(tmp_path)


@pytest.mark.parametrize(("module", "package"), [("pyarrow", "pyarrow"), ("PIL", "pillow")])
def test_package_not_installed(tmp_path, monkeypatch, write_parquet, module, package):
    write_parquet(tmp_path / "train.parquet")
    found = optional.importlib.import_module

    def import_module(name):
        if name.startswith(module):
            raise ImportError(name)
        return found(name)

    monkeypatch.setattr(optional.importlib, "import_module", import_module)
    words = rf"needs the package {package}; pip install -c constraints.txt '.\[vision\]' in a clone"
    with pytest.raises(DataError, match=words):
        load_data(tmp_path)
