"""
6. Fine-tuning and freezing
===========================

A pretrained network meets other images: digits of half the contrast on grey ground, 128 of them. Its running
statistics are those of the old images. Should they be kept, recomputed, frozen, or trained on in small batches?
"""

from copy import deepcopy
from dataclasses import replace

import pandas as pd
import plotly.express as px
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import bnlens
from bnlens.train import build_net, evaluate, fit, load_data


def grey(data):
    """The same images in another light."""
    return replace(data, images=0.5 * data.images + 0.5)


digits = load_data("digits")
few, test = grey(load_data("digits", samples=128)), grey(load_data("digits", split="test"))
pretrained = bnlens.convert(build_net("cnn", input_shape=digits.input_shape, num_classes=digits.num_classes))
fit(pretrained, digits, statistics_batch_size=32, steps=40, lr=0.1)
loader = DataLoader(TensorDataset(few.images, few.labels), 64, shuffle=True)

# %%
# First ask a report on the new images. Its box says that the running statistics are not those of these images, how
# far off the evaluation is for it, and what mends it.

print(bnlens.report(pretrained, loader, F.cross_entropy, statistics_batch_size=16))

# %%
# Now four ways to go on, judged on test images in the new light.

model = deepcopy(pretrained)
losses = {"as it is": evaluate(model, test).cross_entropy}
bnlens.recalibrate(model, loader)
losses["statistics recalibrated"] = evaluate(model, test).cross_entropy
recalibrated = deepcopy(model)
bnlens.freeze(model)  # stays frozen whatever train() is called
fit(model, few, statistics_batch_size=32, batch_size=64, steps=20, lr=0.02, recalibrate=False)
losses["recalibrated, frozen, fine-tuned"] = evaluate(model, test).cross_entropy
fit(recalibrated, few, statistics_batch_size=4, batch_size=64, steps=20, lr=0.02)
losses["fine-tuned with BN over 4"] = evaluate(recalibrated, test).cross_entropy
losses = pd.Series(losses, name="test loss")
print(losses.round(3))

# %%
# Read off that most is won by statistics of the new images, without a gradient. Fine-tuning adds to it; whether the
# statistics are frozen then or BN goes on with small batches decides how much noise is in the training, which with
# few images can be worth having.

figure = px.scatter(losses, x="test loss", labels={"index": "", "test loss": "test loss (nats per sample)"})
figure.update_xaxes(rangemode="tozero")
figure.update_yaxes(autorange="reversed")
figure.show()
