from __future__ import annotations

import io
from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image

import bnlens.train._optional as optional
from bnlens.errors import DataError
from bnlens.train import load_data
from bnlens.train.data.source import balanced_subset


def encode(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


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


def test_decodes_only_what_is_chosen(tmp_path, pixels, write_parquet):
    images = [{"bytes": encode(image)} for image in pixels]
    images[3] = {"bytes": b"damaged"}
    write_parquet(tmp_path / "train.parquet", images=images)
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


@pytest.mark.parametrize("label", [10, -1])
def test_label_outside_the_classes(tmp_path, write_parquet, label):
    write_parquet(tmp_path / "train.parquet", 0, 3, labels=[0, label, 1])
    with pytest.raises(DataError, match=rf"train\.parquet: row 1 has the label {label}, outside the 10 classes"):
        load_data(tmp_path)


@pytest.mark.parametrize("label", [None, 1.5])
def test_label_that_is_no_integer(tmp_path, write_parquet, label):
    write_parquet(tmp_path / "train.parquet", 0, 2, labels=[0, label])
    with pytest.raises(DataError, match=r"row \d has the label .*; labels are integers"):
        load_data(tmp_path)


def test_corrupt_image(tmp_path, write_parquet):
    write_parquet(tmp_path / "train.parquet", 0, 1, images=[{"bytes": b"not an image", "path": ""}])
    with pytest.raises(DataError, match=r"train\.parquet, row 0 is not a readable image; replace or remove it"):
        load_data(tmp_path)


def test_row_without_an_image(tmp_path, write_parquet):
    write_parquet(tmp_path / "train.parquet", 0, 2, images=[{"bytes": b"x"}, {"bytes": None}])
    with pytest.raises(DataError, match="row 1 holds no encoded image"):
        load_data(tmp_path)


def test_other_columns(tmp_path, write_parquet):
    write_parquet(tmp_path / "train.parquet", column="picture")
    with pytest.raises(DataError, match="has the columns picture, label; CIFAR-10 needs img"):
        load_data(tmp_path)


def test_no_rows(tmp_path, write_parquet):
    write_parquet(tmp_path / "train.parquet", 0, 0)
    with pytest.raises(DataError, match=r"train\.parquet holds no images"):
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
    with pytest.raises(
        DataError, match=rf"needs the package {package}: pip install {package} \(it .* bnlens\[vision\]\)"
    ):
        load_data(tmp_path)
