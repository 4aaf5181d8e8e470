"""
1. A first report
=================

How much does batch normalization (BN) regularise a network? One call answers for any PyTorch model: give it the
model, a loader and the loss that it was trained with. Here it is a small convolutional net on handwritten digits.
"""

import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import bnlens
from bnlens.train import build_net, fit, load_data

digits = load_data("digits")
model = build_net("cnn", input_shape=digits.input_shape, num_classes=digits.num_classes)
fit(model, digits, statistics_batch_size=16, steps=40, lr=0.1)

loader = DataLoader(TensorDataset(digits.images, digits.labels), 256, shuffle=True)
report = bnlens.report(model, loader, F.cross_entropy, statistics_batch_size=[16, 64])
print(report)

# %%
# The first sentences are the answer: so many nats are added to the training loss when each layer normalises by 16
# samples in place of all, and so many per cent of the loss that is. **measured** comes from random groups of M
# samples, **predicted** from groups of other sizes; a ratio near 1 says that you can trust predictions between the
# sizes.
#
# The figure has the gap over M. Read off where it becomes small beside the loss: above that M, BN's noise regularises
# no more.

report.plot().show()
