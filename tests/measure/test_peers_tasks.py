"""docs/tasks.md, networks of other packages: the report beside the networks themselves in train mode."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tasks_page import BLOCKS, SIZE, Total, assert_measured, brute_force, executed, needs_peers, with_batch_statistics
from torch import Tensor, nn

import bnlens
from peers import define_torchvision_operators, peer

define_torchvision_operators()
timm, transformers, nets, losses, monai_data = map(
    peer, ("timm", "transformers", "monai.networks.nets", "monai.losses", "monai.data")
)
timm_losses = peer("timm.loss")

Names = dict[str, Any]
SAMPLES = 128


def classification(n: Names) -> Total:
    return lambda rows: F.cross_entropy(n["model"](n["images"][rows]), n["labels"][rows], reduction="sum")


def segmentation(n: Names) -> Total:
    def total(rows: Tensor) -> Tensor:
        labels = n["labels"][rows]
        logs = n["model"](n["images"][rows]).log_softmax(1).movedim(1, -1)
        return -logs[labels != 255].gather(1, labels[labels != 255].unsqueeze(1)).sum()

    return total


def own_loss(n: Names) -> Total:
    """The model's own loss of the batch, a mean, in place of the report's."""
    return lambda rows: len(rows) * n["model"](pixel_values=n["images"][rows], labels=n["labels"][rows]).loss


TOTALS: dict[str, Callable[[Names], Total]] = {
    "Classification": classification,
    "Segmentation": segmentation,
    "Models of transformers": own_loss,
    "The loss of a model of transformers": own_loss,
}


def test_every_block_has_a_test() -> None:
    assert {heading for heading, block in BLOCKS.items() if needs_peers(block)} == set(TOTALS)


@pytest.mark.parametrize("heading", TOTALS)
def test_block(heading: str) -> None:
    names = executed(heading)
    counted = int((names["labels"] != 255).sum()) if heading == "Segmentation" else SAMPLES
    expected = brute_force(names["model"], TOTALS[heading](names), SAMPLES, counted, rounds=20)
    assert_measured(names["report"], expected)


def images(size: int) -> Tensor:
    x = torch.randn(4 * SIZE, 3, size, size, generator=torch.Generator().manual_seed(3)).double()
    return x + 0.3 * x.square()


def classed(size: int, *shape: int) -> tuple[Tensor, Tensor]:
    return images(size), torch.randint(3, (4 * SIZE, *shape), generator=torch.Generator().manual_seed(4))


def by_place(x: Tensor, y: Tensor) -> list[Any]:
    return [*zip(x.split(24), y.split(24), strict=True)]


def by_name(x: Tensor, y: Tensor) -> list[Any]:
    return [{"pixel_values": images, "labels": labels} for images, labels in by_place(x, y)]


def by_monai(x: Tensor, y: Tensor) -> Any:
    """Batches of MetaTensors."""
    samples = [
        {"image": monai_data.MetaTensor(a), "label": monai_data.MetaTensor(b)} for a, b in zip(x, y, strict=True)
    ]
    return monai_data.DataLoader(samples, batch_size=24)


def unet() -> nn.Module:
    return nets.UNet(spatial_dims=2, in_channels=3, out_channels=3, channels=(4, 8), strides=(2,), norm="batch")


Make = Callable[[], Any]
NETWORKS: dict[str, tuple[Make, Make, tuple[Tensor, Tensor], Callable[[Tensor, Tensor], Any]]] = {
    "resnet of transformers, keyword": (
        lambda: transformers.ResNetForImageClassification(
            transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3)
        ),
        lambda: F.cross_entropy,
        classed(32),
        by_name,
    ),
    "mobilenet of transformers": (
        lambda: transformers.MobileNetV2ForImageClassification(
            transformers.MobileNetV2Config(depth_multiplier=0.25, image_size=32, num_labels=3)
        ),
        lambda: nn.CrossEntropyLoss(label_smoothing=0.1),
        classed(32),
        by_name,
    ),
    "timm, activation in the layer": (
        lambda: timm.create_model("test_efficientnet", num_classes=3, drop_rate=0.5),
        lambda: timm_losses.LabelSmoothingCrossEntropy(0.1),
        classed(32),
        by_place,
    ),
    "monai, Dice": (
        unet, lambda: losses.DiceLoss(to_onehot_y=True, softmax=True), classed(8, 1, 8, 8), by_monai,
    ),
    "monai, Dice and cross-entropy": (
        unet, lambda: losses.DiceCELoss(to_onehot_y=True, softmax=True), classed(8, 1, 8, 8), by_place,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_groups_in_order_are_train_mode_exactly(name: str) -> None:
    """No estimate on either side: the loss of consecutive groups in train mode less that of all samples as one."""
    build, make_loss, (x, y), make_loader = NETWORKS[name]
    torch.manual_seed(0)
    model, loss_fn = build().double(), make_loss()
    report = bnlens.report(model, make_loader(x, y), loss_fn, statistics_batch_size=SIZE, rounds=1, shares=False)

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        output = model(inputs)
        return loss_fn(getattr(output, "logits", output), targets)

    with_batch_statistics(model)
    with torch.no_grad():
        groups = torch.stack([loss(*group) for group in zip(x.split(SIZE), y.split(SIZE), strict=True)])
        gap = float(groups.mean() - loss(x, y))
    assert report.network.as_loaded[SIZE].value == pytest.approx(gap, rel=1e-6, abs=1e-12)
    assert abs(gap) > 1e-6
