"""Small networks with their data and loss: every case goes through every check of this folder that takes ``case``."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 3
SIZE = 48


@dataclass(frozen=True)
class Case:
    name: str
    model: Callable[[], nn.Module]
    batches: Callable[[], list[Any]]
    loss: Any = F.cross_entropy
    calls: tuple[str, ...] = ()


class Residual(nn.Module):
    """BN, in-place ReLU and a shortcut, nested two deep; BN modules also under a container."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.block = nn.ModuleDict({"conv": nn.Conv2d(4, 4, 3, padding=1), "bn": nn.BatchNorm2d(4)})
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(self.block["bn"](self.block["conv"](x)).add_(x), inplace=True)
        return self.head(x.mean((2, 3)))


class Shared(nn.Module):
    """One BN module, used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.bn = nn.Linear(5, 4), nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.bn(self.second(torch.tanh(self.bn(self.first(x)))))))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.bn = nn.Linear(5, 4), nn.Linear(3, 4), nn.BatchNorm1d(4)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.head(torch.tanh(self.bn(self.left(left) + self.right(right))))


class Wrapped(nn.Module):
    """Puts the output of a model where other libraries put it."""

    def __init__(self, model: nn.Module, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.model, self.wrap = model, wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.model(x))


class BatchNormAct2d(nn.BatchNorm2d):
    """As in timm: a BN layer that calls ``F.batch_norm`` itself and adds an activation."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.act = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        use_batch = self.training or self.running_mean is None
        y = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, use_batch, 0.1, self.eps)
        return self.act(y)


def seeded(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """The model with random gamma and beta, so that no formula is spared them."""

    def build() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model = make()
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
                    nn.init.uniform_(module.weight, 0.5, 1.5)
                    nn.init.normal_(module.bias, 0.0, 0.3)
        return model

    return build


def mlp(**options: Any) -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 6), nn.BatchNorm1d(6, **options), nn.ReLU(inplace=True),
        nn.Linear(6, 4), nn.BatchNorm1d(4, **options), nn.Tanh(), nn.Linear(4, CLASSES),
    )  # fmt: skip


def conv(dimension: int, norm: type[nn.Module] | None = None) -> nn.Module:
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimension - 1]
    norm = norm or (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dimension - 1]
    relu = nn.ReLU(inplace=norm is not BatchNormAct2d)
    return nn.Sequential(layer(2, 3, 2), norm(3), relu, nn.Flatten(), nn.LazyLinear(CLASSES))


def initialised(model: nn.Module, *shape: int) -> nn.Module:
    model.eval()
    with torch.no_grad():
        model(torch.zeros(2, *shape))
    return model.train()


def segmenter() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, CLASSES, 1))


def data(*shape: int, target: Callable[[torch.Generator], Tensor] | None = None, size: int = SIZE) -> list[Tensor]:
    """Inputs that are skewed and not standardised, and targets."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(size, *shape, generator=generator)
    x = x + 0.3 * x.square() + 0.5
    return [x, torch.randint(CLASSES, (size,), generator=generator) if target is None else target(generator)]


def batches(*tensors: Tensor, size: int = 20) -> list[tuple[Tensor, ...]]:
    """Batches of tuples; 48 samples by 20 leave an uneven last batch."""
    return list(zip(*(torch.split(tensor, size) for tensor in tensors), strict=True))


def as_dicts(names: tuple[str, ...], tensors: list[Tensor]) -> list[dict[str, Tensor]]:
    return [dict(zip(names, batch, strict=True)) for batch in batches(*tensors)]


def two_inputs(*, swapped: bool = False) -> list[Tensor]:
    left, labels = data(5)
    return [data(3)[0], left, labels] if swapped else [left, data(3)[0], labels]


def trained(make: Callable[[], nn.Module], *shape: int, size: int = 512) -> tuple[nn.Module, list[Any]]:
    """A net fitted for a moment, so that its gap is not near zero, and the batch that it was fitted to."""
    (x, _), (teacher, noise) = data(*shape, size=size), (data(CLASSES, size=n)[0] for n in (math.prod(shape), size))
    target = (x.flatten(1) @ teacher + noise).argmax(1)
    model = seeded(make)()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    for rows in (rows for _ in range(8) for rows in torch.randperm(size, generator=generator).split(16)):
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), target[rows]).backward()
        optimizer.step()
    return model, [(x, target)]


def regression(generator: torch.Generator) -> Tensor:
    return torch.randn(SIZE, CLASSES, generator=generator)


def binary(generator: torch.Generator) -> Tensor:
    return torch.randint(2, (SIZE, CLASSES), generator=generator).float()


def pixel_labels(generator: torch.Generator) -> Tensor:
    return torch.randint(CLASSES, (SIZE, 4, 4), generator=generator)


def plain() -> list[Any]:
    return batches(*data(5))


def images() -> list[Any]:
    return batches(*data(2, 4, 4))


def segmentation() -> list[Any]:
    return batches(*data(2, 4, 4, target=pixel_labels))


def summed(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target, reduction="sum")


TWO = ("1", "4")
CASES = [
    Case("mlp", mlp, plain, calls=TWO),
    Case("affine=False", lambda: mlp(affine=False), plain, calls=TWO),
    Case("track_running_stats=False", lambda: mlp(track_running_stats=False), plain, calls=TWO),
    Case("momentum=None", lambda: mlp(momentum=None), plain, calls=TWO),
    Case("conv1d", lambda: initialised(conv(1), 2, 4), lambda: batches(*data(2, 4)), calls=("1",)),
    Case("conv2d", lambda: initialised(conv(2), 2, 4, 4), images, calls=("1",)),
    Case("conv3d", lambda: initialised(conv(3), 2, 3, 3, 3), lambda: batches(*data(2, 3, 3, 3)), calls=("1",)),
    Case("residual", Residual, images, calls=("stem.1", "block.bn")),
    Case(
        "channels_last",
        lambda: Residual().to(memory_format=torch.channels_last),
        lambda: [(x.to(memory_format=torch.channels_last), y) for x, y in images()],
        calls=("stem.1", "block.bn"),
    ),
    Case("shared", Shared, plain, calls=("bn", "bn#2")),
    Case("dict", mlp, lambda: as_dicts(("pixel_values", "labels"), data(5)), calls=TWO),
    Case("keywords", TwoInputs, lambda: as_dicts(("right", "left", "target"), two_inputs(swapped=True)), calls=("bn",)),
    Case("two inputs", TwoInputs, lambda: batches(*two_inputs()), calls=("bn",)),
    Case("last batch of one", mlp, lambda: batches(*(t[:41] for t in data(5))), calls=TWO),
    Case("subclass", lambda: initialised(conv(2, BatchNormAct2d), 2, 4, 4), images, calls=("1",)),
    Case("SyncBatchNorm", lambda: initialised(conv(2, nn.SyncBatchNorm), 2, 4, 4), images, calls=("1",)),
    Case(".logits", lambda: Wrapped(mlp(), lambda y: SimpleNamespace(logits=y)), plain, calls=("model.1", "model.4")),
    Case("['logits']", lambda: Wrapped(mlp(), lambda y: {"logits": y}), plain, calls=("model.1", "model.4")),
    Case("segmentation", segmenter, segmentation, calls=("1",)),
    Case("pixels summed", segmenter, segmentation, nn.CrossEntropyLoss(reduction="sum"), calls=("1",)),
    Case("double", lambda: mlp().double(), lambda: [(x.double(), y) for x, y in plain()], calls=TWO),
    Case("eval mode", lambda: mlp().eval(), plain, calls=TWO),
    Case("sum", mlp, plain, summed, calls=TWO),
    Case("none", mlp, plain, nn.CrossEntropyLoss(reduction="none"), calls=TWO),
    Case("partial", mlp, plain, functools.partial(F.cross_entropy, label_smoothing=0.1), calls=TWO),
    Case("squared error", mlp, lambda: batches(*data(5, target=regression)), nn.MSELoss(), calls=TWO),
    Case("binary", mlp, lambda: batches(*data(5, target=binary)), F.binary_cross_entropy_with_logits, calls=TWO),
    Case("custom", mlp, plain, lambda output, target: F.cross_entropy(3 * output, target), calls=TWO),
]
