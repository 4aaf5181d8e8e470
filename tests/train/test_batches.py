import pytest
import torch

from bnlens.train import ImageData
from bnlens.train.batches import Batches


@pytest.fixture
def data():
    images = torch.arange(50.0).view(50, 1, 1, 1).expand(50, 1, 8, 8).contiguous()
    return ImageData(images, torch.arange(50), tuple(map(str, range(50))), "toy", "train", (0.0,), (1.0,))


def test_an_epoch_holds_each_image_once_at_most(data):
    batches = Batches(data, 16, micro=4)
    assert batches.per_epoch == 3
    epochs = [torch.cat([batches.next()[1] for _ in range(3)]) for _ in range(40)]
    assert all(len(epoch.unique()) == 48 for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])
    left_out = {image for epoch in epochs for image in set(range(50)) - set(epoch.tolist())}
    assert len(left_out) > 30  # 80 draws of 50: 40 expected


def test_images_keep_their_labels(data):
    images, labels = Batches(data, 16, micro=16).next()
    assert torch.equal(images[:, 0, 0, 0].long(), labels)


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_each_forward_pass(data, processes):
    alone = Batches(data, 16, micro=16 // 2, seed=3)
    together = [
        Batches(data, 16, micro=8 // processes, seed=3, rank=rank, processes=processes) for rank in range(processes)
    ]
    for _ in range(7):
        expected = alone.next()[1].split(8)
        shares = [batches.next()[1].split(8 // processes) for batches in together]
        for number, whole in enumerate(expected):
            assert torch.equal(torch.cat([share[number] for share in shares]), whole)


def test_crops_do_not_depend_on_the_number_of_processes(data):
    alone = Batches(data, 16, micro=16, augmented=True, seed=3)
    together = [Batches(data, 16, micro=8, augmented=True, seed=3, rank=rank, processes=2) for rank in range(2)]
    for _ in range(4):
        assert torch.equal(torch.cat([batches.next()[0] for batches in together]), alone.next()[0])


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("done", [0, 1, 3, 5])
def test_goes_on_from_a_state(data, augmented, done):
    first, second = (Batches(data, 16, micro=16, augmented=augmented, seed=seed) for seed in (7, 8))
    for _ in range(done):
        first.next()
    second.load_state_dict(first.state_dict())
    for _ in range(8):
        for mine, other in zip(first.next(), second.next(), strict=True):
            assert torch.equal(mine, other)
