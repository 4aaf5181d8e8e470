"""Measure the gap of a small network on handwritten digits, and predict it at another batch size.

Run: python examples/quickstart.py
"""

import torch.nn.functional as F

import bnlens
from bnlens.train import build_net, fit, load_data, loader

digits = load_data("digits")
model = build_net("cnn", input_shape=digits.input_shape, num_classes=digits.num_classes)
fit(model, digits, statistics_batch_size=16, steps=40, lr=0.1)

report = bnlens.report(model, loader(digits, 256), F.cross_entropy, statistics_batch_size=16, rounds=2)
print(report)
print(report.predict(128))
