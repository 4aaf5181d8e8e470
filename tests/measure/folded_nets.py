"""Nets that fold steps or views of a sample into dimension 0, beside nets that keep them in a dimension of their own."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnlens.measure import Report

STEPS, FEATURES, CLASSES = 4, 3, 3


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def sequences(samples: int = 48) -> list[Tensor]:
    """Sequences (samples, steps, features), whose steps have much in common, and labels."""
    g = generator()
    x = torch.randn(samples, 1, FEATURES, generator=g) + 0.5 * torch.randn(samples, STEPS, FEATURES, generator=g)
    return [(x + 0.3 * x.square()).double(), torch.randint(CLASSES, (samples,), generator=g)]


class Folded(nn.Module):
    """Linear and BN layers on all steps of all samples; the last BN layer is on samples."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.bn1 = nn.Linear(FEATURES, 5), nn.BatchNorm1d(5)
        self.second, self.bn2 = nn.Linear(5, 4), nn.BatchNorm1d(4)
        self.bn3, self.head = nn.BatchNorm1d(4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.first(x.flatten(0, 1))))
        h = F.relu(self.bn2(self.second(h)))
        return self.head(self.bn3(h.view(len(x), -1, 4).mean(1)))


class Unfolded(Folded):
    """The same function with the steps as pixels."""

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.first(x).transpose(1, 2)))
        h = F.relu(self.bn2(self.second(h.transpose(1, 2)).transpose(1, 2)))
        return self.head(self.bn3(h.mean(2)))


class Views(nn.Module):
    """Convolution and BN on the views of all images, first views first; or with the views as a dimension of pixels."""

    def __init__(self, concatenated: bool) -> None:
        super().__init__()
        self.concatenated = concatenated
        self.conv, self.head = nn.Conv2d(2, 4, 2), nn.Linear(4, CLASSES)
        self.bn = (nn.BatchNorm2d if concatenated else nn.BatchNorm3d)(4)

    def forward(self, x: Tensor) -> Tensor:
        views = [self.conv(view) for view in x.unbind(1)]
        folded = torch.stack(self.bn(torch.cat(views)).chunk(len(views)), 2) if self.concatenated else None
        return self.head(F.relu(self.bn(torch.stack(views, 2)) if folded is None else folded).mean((2, 3, 4)))


def same(first: Report, second: Report) -> None:
    one, other = first.to_frame(), second.to_frame()
    assert list(one.columns) == list(other.columns)
    torch.testing.assert_close(
        torch.tensor(one.to_numpy(float)), torch.tensor(other.to_numpy(float)), rtol=1e-6, atol=1e-9, equal_nan=True
    )
