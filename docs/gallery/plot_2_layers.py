"""
2. Which layers carry it
========================

A report splits the gap of the whole network into one **share** for each layer; the shares add up to it. Here are
those of a residual net with nine BN layers.
"""

import plotly.express as px
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import bnlens
from bnlens.train import build_net, fit, load_data

digits = load_data("digits")
model = build_net("resnet", input_shape=digits.input_shape, num_classes=digits.num_classes)
fit(model, digits, statistics_batch_size=16, steps=40, lr=0.1)

loader = DataLoader(TensorDataset(digits.images, digits.labels), 256, shuffle=True)
report = bnlens.report(model, loader, F.cross_entropy, statistics_batch_size=16)
shares = report.to_frame().xs(16, level="statistics_batch_size").drop("(network)")
print(shares[["share", "share_stderr"]].round(4))

# %%
# Read off that the last stage carries most of it: change M there, with ``bnlens.set_statistics_batch_size`` on that
# part of the model, and most of what can be changed is changed. The first shortcut and the first stages carry little:
# freezing their statistics changes little. A negative share would mean that a layer takes out noise which the layers
# before it put in.

figure = px.scatter(
    shares, x="share", error_x="share_stderr", labels={"share": "share of the gap at M = 16 (nats per sample)"}
)
figure.update_yaxes(autorange="reversed")
figure.show()
