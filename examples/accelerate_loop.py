"""Train with Accelerate, watch the gap as M is turned up in the middle, save, and recalibrate before evaluating.

Run: python examples/accelerate_loop.py
"""

import tempfile

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch.utils.data import DataLoader, TensorDataset

import bnlens
from bnlens.integrations import GapMonitor, SetStatisticsBatchSize
from bnlens.train import build_net, load_data

EVERY = 20
digits = load_data("digits")
data = TensorDataset(digits.images, digits.labels)
torch.manual_seed(0)
model = bnlens.convert(build_net("mlp", input_shape=digits.input_shape, num_classes=digits.num_classes))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

accelerator = Accelerator(cpu=True)
model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(data, 128, shuffle=True, drop_last=True))
monitor = GapMonitor(DataLoader(data, 256), F.cross_entropy, samples=256, every_n_steps=EVERY)
dial = SetStatisticsBatchSize(accelerator.unwrap_model(model), {0: 8, 2 * EVERY: 128})
accelerator.register_for_checkpointing(dial)

step = 0
while step < 4 * EVERY:
    for images, labels in loader:
        dial.step(step)
        optimizer.zero_grad()
        accelerator.backward(F.cross_entropy(model(images), labels))
        optimizer.step()
        step += 1
        if found := monitor(model, step):  # or accelerator.log(found, step=step)
            print(f"step {step}: gap at M = 16 {found['bnlens/gap_16']:.4f} ± {found['bnlens/gap_16_stderr']:.4f} nats")
with tempfile.TemporaryDirectory() as folder:
    accelerator.save_state(folder)  # with M and the windows of the layers
print(bnlens.recalibrate(model, DataLoader(data, 512)))
