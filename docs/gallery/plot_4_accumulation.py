"""
4. Gradient accumulation with shared statistics
===============================================

A device holds 4 images, the optimizer wants 64. Gradient accumulation gives it the gradient of 64, but plain BN
normalises by 4: the network is regularised as if the batch were 4. Shared statistics normalise each micro-batch by
the statistics of all 64.
"""

import pandas as pd
import plotly.express as px

import bnlens
from bnlens.train import build_net, evaluate, fit, load_data

train = load_data("digits", samples=512)
ways = {
    "BN over 64, 64 at a time": {"statistics_batch_size": 64},
    "plain BN, 4 at a time": {"statistics_batch_size": 4},
    "windows over 64, 4 at a time": {"statistics_batch_size": 64, "device_batch_size": 4},
    "shared statistics of 64, 4 at a time": {
        "statistics_batch_size": 64,
        "device_batch_size": 4,
        "share_statistics": True,
    },
}
rows = []
for way, options in ways.items():
    for seed in range(2):
        model = build_net("mlp", input_shape=train.input_shape, num_classes=train.num_classes, seed=seed)
        fit(bnlens.convert(model), train, batch_size=64, steps=40, seed=seed, **options)
        rows.append({"way": way, "seed": f"seed {seed}", "train loss": evaluate(model, train).cross_entropy})
losses = pd.DataFrame(rows)
print(losses.groupby("way", sort=False)["train loss"].mean().round(4))

# %%
# With a loop of your own it is one line around the micro-batches::
#
#     with bnlens.shared_statistics(model, images):  # images: all 64
#         for x, y in zip(images.split(4), labels.split(4)):
#             (F.cross_entropy(model(x), y) * len(x) / len(images)).backward()
#
# Read off that shared statistics end where BN over 64 does, for one more forward pass without gradient. Windows over
# the past need no such pass, and are made for device batches of a quarter of M or more; at a sixteenth, as here, they
# fall short.

figure = px.scatter(losses, x="train loss", y="way", color="seed", log_x=True, labels={"way": "", "seed": ""})
figure.update_xaxes(title="train loss after 40 steps (nats per sample)")
figure.update_yaxes(autorange="reversed")
figure.show()
