"""
7. A segmentation net
=====================

A network with an output for each pixel: which pixels of a noisy digit are ink? The sample is the image, whatever
number of pixels it has, so M counts images here as everywhere.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import bnlens
from bnlens.train import load_data

torch.manual_seed(0)
digits = load_data("digits").images[:512]
ink = (digits[:, 0] > 0.5).long()  # (N, 8, 8)
noisy = digits + torch.randn(512, 1, 1, 1) + 0.7 * torch.randn_like(digits)
loader = DataLoader(TensorDataset(noisy, ink), 64, shuffle=True)
model = nn.Sequential(
    *(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
    *(nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
    *(nn.ConvTranspose2d(32, 16, 2, stride=2, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
    nn.Conv2d(16, 2, 1),
)
optimizer = torch.optim.Adam(model.parameters(), 0.01)
for _ in range(10):
    for images, labels in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

report = bnlens.report(model, loader, nn.CrossEntropyLoss(), statistics_batch_size=[4, 16])
print(report)
columns = ["pixels", "effective_samples_mean", "effective_samples_std"]
print(report.to_frame().xs(16, level="statistics_batch_size").drop("(network)")[columns].round(1))

# %%
# Read off the last table how many independent samples an image is worth. Its pixels are correlated, so that the
# statistics of a layer are noisier than their number of pixels suggests: here the brightness of each image is random,
# and its pixels share it. That is why BN over a few images can regularise even with thousands of pixels each. In the
# figure the gap is about as 1/M; with a loss per pixel it stays small beside the loss.

report.plot().show()
