"""Small data sets in each layout, written from pixels that the tests know."""

import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


def encode(pixels, image_format="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format)
    return buffer.getvalue()


class PythonTwoPickler(pickle._Pickler):
    """Writes bytes and text as Python 2's ``str``, as the published batches have them."""

    def save(self, obj, save_persistent_id=True):
        if not isinstance(obj, (bytes, str)):
            return super().save(obj, save_persistent_id)
        raw = obj.encode("latin-1") if isinstance(obj, str) else obj
        return self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)


def python_two_pickle(value):
    buffer = io.BytesIO()
    PythonTwoPickler(buffer, protocol=2).dump(value)
    return buffer.getvalue()


@pytest.fixture
def pixels():
    """Random RGB images, uint8, (20, 32, 32, 3)."""
    return np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def write_parquet(pixels):
    """Write rows ``start`` to ``stop`` of ``pixels`` with labels 0, 1, ..., 9, 0, ... as one parquet file."""

    def write(path, start=0, stop=20, *, column="img", labels=None, image_format="PNG", damaged=None):
        rows = range(start, stop)
        images = [{"bytes": encode(pixels[row], image_format), "path": ""} for row in rows]
        for row, content in (damaged or {}).items():
            images[row]["bytes"] = content
        labels = [row % 10 for row in rows] if labels is None else labels
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({column: images, "label": labels}), path)
        return path

    return write


@pytest.fixture
def write_batches(pixels):
    """Write five training batches of four images each and a test batch of four, and return the folder."""

    def write(folder, dumps=python_two_pickle):
        folder.mkdir(parents=True, exist_ok=True)
        rows = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(20, -1)
        for number, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
            chosen = range(4 * (number % 5), 4 * (number % 5) + 4)
            batch = {
                b"batch_label": b"training batch",
                b"labels": [row % 10 for row in chosen],
                b"data": rows[list(chosen)],
                b"filenames": [b"image.png"] * 4,
            }
            (folder / name).write_bytes(dumps(batch))
        return folder

    return write


@pytest.fixture
def write_image_folder(pixels):
    """Write the first six images as two classes, three images each, under ``folder``."""

    def write(folder: Path, *, suffix=".png", images=None):
        images = pixels[:6] if images is None else images
        for row, image in enumerate(images):
            place = folder / ("cat", "dog")[row % 2]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{row}{suffix}")
        return folder

    return write


@pytest.fixture
def unstandardised():
    """Undo the standardisation: pixels in [0, 1], (P, C, H, W)."""

    def undo(data):
        std, mean = (np.reshape(np.float32(values), (-1, 1, 1)) for values in (data.std, data.mean))
        return data.images.numpy() * std + mean

    return undo
