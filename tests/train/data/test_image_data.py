import hashlib

import pytest
import torch

from bnlens.errors import DataError, UsageError
from bnlens.train import ImageData, loader


def make(images=None, labels=None, classes=("a", "b")):
    images = torch.arange(10.0).reshape(10, 1, 1, 1) if images is None else images
    labels = torch.arange(10) % 2 if labels is None else labels
    return ImageData(images, labels, classes, "toy", "train", (0.0,), (1.0,))


def test_describes_itself():
    data = make(torch.zeros(10, 3, 4, 5))
    assert (len(data), data.input_shape, data.num_classes) == (10, (3, 4, 5), 2)
    assert repr(data) == "ImageData('toy', split='train', images=10x3x4x5, classes=2)"


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(10, 4, 5), None, r"float32 of shape \(P, C, H, W\)"),
        (torch.zeros(10, 1, 4, 5, dtype=torch.float64), None, "got torch.float64"),
        (None, torch.zeros(9, dtype=torch.int64), r"labels must be int64 of shape \(10,\)"),
        (None, torch.zeros(10), "got torch.float32"),
        (None, torch.full((10,), 2), "label 2 lies outside the 2 classes; labels run from 0 to 1"),
        (None, torch.full((10,), -1), "label -1 lies outside"),
    ],
)
def test_rejects_what_is_no_image_data(images, labels, message):
    with pytest.raises(DataError, match=message):
        make(images, labels)


def test_loader_yields_every_image_once_with_its_label():
    batches = list(loader(make(), 4))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    images = torch.cat([images for images, _ in batches]).flatten()
    assert images.tolist() == list(range(10))
    assert torch.cat([labels for _, labels in batches]).tolist() == [0, 1] * 5


def test_shuffled_passes_differ_but_repeat_with_the_seed():
    def orders(seed):
        batches = loader(make(), 3, shuffle=True, seed=seed)
        return [torch.cat([images for images, _ in batches]).flatten().tolist() for _ in range(2)]

    first, second = orders(0)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert orders(0) == [first, second]
    assert orders(1) != [first, second]


@pytest.mark.parametrize("shuffle", [False, True])
def test_loader_keeps_images_and_labels_together_and_leaves_the_global_generator_alone(shuffle):
    before = torch.get_rng_state()
    for images, labels in loader(make(), 3, shuffle=shuffle):
        assert torch.equal(images.flatten().long() % 2, labels)
    assert torch.equal(torch.get_rng_state(), before)


def test_loader_rejects_empty_batches():
    with pytest.raises(UsageError, match="batch_size is 0; it must be an integer of at least 1"):
        loader(make(), 0)


def test_fingerprint_is_the_hash_of_the_bytes():
    data = make()
    content = b"(10, 1, 1, 1)" + data.images.numpy().tobytes() + data.labels.numpy().tobytes()
    assert data.fingerprint == hashlib.sha256(content).hexdigest()


def test_fingerprint_follows_changes_in_place():
    data = make()
    known = data.fingerprint
    data.labels[0] = 1
    changed = data.fingerprint
    data.labels[0] = 0
    assert changed != known == data.fingerprint


def test_fingerprint_does_not_depend_on_the_layout_in_memory():
    images = torch.randn(6, 2, 3, 4)
    turned = images.to(memory_format=torch.channels_last)
    assert make(images, torch.zeros(6).long()).fingerprint == make(turned, torch.zeros(6).long()).fingerprint


def test_loaders_of_processes_share_the_images():
    data = make(labels=torch.arange(10), classes=tuple("abcdefghij"))
    loaders = [loader(data, 2, rank=rank, processes=3) for rank in range(3)]
    shares = [torch.cat([labels for _, labels in each]) for each in loaders]
    assert [share.tolist() for share in shares] == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]


@pytest.mark.parametrize(("rank", "processes"), [(1, 1), (-1, 2), (0, 0)])
def test_rank_out_of_range(rank, processes):
    with pytest.raises(UsageError, match=rf"rank is {rank}; it must be|processes is 0"):
        loader(make(), 2, rank=rank, processes=processes)
