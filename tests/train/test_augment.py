import pytest
import torch
from torch.nn import functional as F

from bnlens.train.augment import augment, draw_crops, padding


@pytest.mark.parametrize(("height", "width"), [(32, 32), (8, 8), (5, 16)])
def test_each_crop_is_cut_from_its_own_padded_image(height, width):
    images = torch.randn(40, 3, height, width, generator=torch.Generator().manual_seed(0))
    crops = draw_crops(40, height, width, torch.Generator().manual_seed(1))
    result = augment(images, crops)
    rows, columns = padding(height), padding(width)
    for image, top, left, flipped, crop in zip(images, *crops, result, strict=True):
        padded = F.pad(image, (columns, columns, rows, rows))
        expected = padded[:, top : top + height, left : left + width]
        assert torch.equal(crop, expected.flip(2) if flipped else expected)


def test_places_and_flips_are_uniform():
    count = 90_000
    crops = draw_crops(count, 32, 32, torch.Generator().manual_seed(0))
    for draws in (crops.top, crops.left):
        counts = draws.bincount(minlength=9)
        assert len(counts) == 9
        # four standard errors of a binomial count
        assert (counts - count / 9).abs().max() < 4 * (count / 9 * 8 / 9) ** 0.5
    assert abs(crops.flipped.sum() - count / 2) < 4 * (count / 4) ** 0.5
    joint = torch.stack([crops.top, crops.left, crops.flipped.long()]).double()
    assert (torch.corrcoef(joint) - torch.eye(3)).abs().max() < 4 / count**0.5


def test_part_of_a_batch_is_cropped_as_within_the_whole():
    images = torch.randn(12, 1, 8, 8)
    crops, rows = draw_crops(12, 8, 8, torch.Generator().manual_seed(3)), torch.tensor([1, 5, 6])
    assert torch.equal(augment(images[rows], crops.of(rows)), augment(images, crops)[rows])


def test_leaves_the_images_and_the_global_generator_alone():
    images = torch.randn(4, 1, 8, 8)
    before, state = images.clone(), torch.get_rng_state()
    augment(images, draw_crops(4, 8, 8, torch.Generator().manual_seed(0)))
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)
