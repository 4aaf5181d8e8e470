"""
5. SyncBN or not
================

Eight devices hold 16 images each. Synchronised BN would take statistics over all 128, and costs communication in
every layer and step. What would it change? One report on one device predicts it, before anything is synchronised.
"""

import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import bnlens
from bnlens.train import build_net, fit, load_data

digits = load_data("digits")
model = build_net("cnn", input_shape=digits.input_shape, num_classes=digits.num_classes)
fit(model, digits, statistics_batch_size=16, steps=40, lr=0.1)

loader = DataLoader(TensorDataset(digits.images, digits.labels), 256, shuffle=True)
report = bnlens.report(model, loader, F.cross_entropy, statistics_batch_size=[16, 128])
alone, together = (report.network.gaps.measured[M] for M in (16, 128))
loss = report.network.population_loss
print(f"gap at M = 16: {alone} nats, at M = 128: {together} nats; loss without noise: {loss} nats")
print(f"synchronising takes away {alone - together} nats, {(alone - together).value / loss.value:.0%} of that loss")

# %%
# Read off how large that part is. If it is small beside the loss, leave SyncBN out: it changes nothing that you could
# see. If it is large, as in this young net, ask which way you want to go. For less noise,
# ``bnlens.set_statistics_batch_size(model, 128, sync=True)`` counts the samples of all ranks; for the noise of 16 on
# any number of devices, set 16. The curve has what lies between.

report.predict([24, 32, 48, 64, 96]).plot().show()
