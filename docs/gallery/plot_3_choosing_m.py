"""
3. Choosing M
=============

The gap says what BN over M samples adds to the training loss *at the weights at hand*. Does it say which M to train
with? Here a small net is trained on 512 digits with BN over 4 to 128 samples, everything else equal.
"""

import pandas as pd
import plotly.express as px
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import bnlens
from bnlens.train import build_net, evaluate, fit, load_data

SIZES = [4, 8, 16, 32, 64, 128]
train, test = load_data("digits", samples=512), load_data("digits", split="test")
losses = pd.DataFrame(index=pd.Index(SIZES, name="M"), columns=["train loss", "test loss"], dtype=float)
for M in SIZES:
    model = build_net("mlp", input_shape=train.input_shape, num_classes=train.num_classes)
    fit(model, train, statistics_batch_size=M, batch_size=128, steps=40, lr=0.05)
    losses.loc[M] = evaluate(model, train).cross_entropy, evaluate(model, test).cross_entropy
print(losses.round(4))

# %%
# The last net has the least noise. A report on it predicts the gap at every M at once.

loader = DataLoader(TensorDataset(train.images, train.labels), 256, shuffle=True)
report = bnlens.report(model, loader, F.cross_entropy, statistics_batch_size=[8, 32])
predicted = report.predict(SIZES[:-1])
print(predicted)

# %%
# Read off two things. The train loss rises as M falls, as the gap does; it rises by less, since the weights adapt to
# the noise. Over nets, numbers of images and M of CIFAR-10 the two correlate by 0.96 (:doc:`claim E7 </networks>`).
# The test loss is another matter: it is lowest where more noise begins to cost more than it gains, and the gap does
# not say where (correlation 0.24). So let the gap tell which M *make a difference*, and a validation set which of
# them is best.

losses["rise of the train loss"] = losses["train loss"] - losses["train loss"].iloc[-1]
losses["predicted gap"] = predicted.to_frame().xs("(network)")["predicted"]
shown = losses.drop(columns="train loss").iloc[:-1]
px.line(shown, markers=True, log_x=True, log_y=True, labels={"value": "nats per sample", "variable": ""}).show()
