"""Plans the claims about convolutional networks: parameters, their checks, and jobs by what they train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bnlens.claims._claim import Job, Scale, Setup
from bnlens.claims._ranges import INFINITE
from bnlens.errors import DataError, UsageError
from bnlens.experiments import networks

__all__ = [
    "POPULATION",
    "check_full_scale",
    "check_setup",
    "finite_sizes",
    "learning_rate",
    "network_job",
    "parameters",
    "parameters_where_bn_helps",
    "related_job",
    "seeds_of",
    "source_of",
]

POPULATION = INFINITE
_REFERENCE_BATCH = 256  # images, at which the parameter lr is the learning rate
_LARGEST_PASS = 256  # images per forward pass, unless the statistics are over more
_RECIPES: Mapping[str, Mapping[str, Any]] = {
    "digits": {"seeds": 4, "net": "cnn", "samples": 1000, "epochs": 20, "batch_size": 256},
    "quick": {"seeds": 2, "net": "cnn", "samples": 2000, "epochs": 5, "batch_size": 256},
    "full": {"seeds": 3, "net": "cnn", "samples": 10_000, "epochs": 10, "batch_size": 256},
}
_WHERE_BN_HELPS: Mapping[str, Mapping[str, Any]] = {
    net: {"samples": samples, "epochs": epochs, "seeds": 5}
    for net, samples, epochs in (("resnet", 10_000, 10), ("cnn-fc", 5000, 20))
}
# Seconds on one core for 256 images of CIFAR-10, forward and backward; of the digits a twelfth.
_SECONDS = {
    "mlp": 0.007,
    "cnn": 0.07,
    "cnn-fc": 0.07,
    "resnet": 0.055,
    "resnet14": 0.35,
    "resnet20": 0.5,
    "resnet18": 4.0,
}
_FUNCTIONS = {
    None: networks.train_network,
    "gamma-decay": networks.train_network_with_gamma_decay,
    "curvature": networks.train_network_with_curvature_penalty,
}
_FACTORS = {None: 1.0, "gamma-decay": 1.7, "curvature": 4.6}


def parameters(scale: Scale, data: Path | None, **own: Any) -> dict[str, Any]:
    """Parameters that every claim has, with defaults, and a claim's own.

    An own parameter is a dict by recipe (``"digits"``, ``"quick"``, ``"full"``), or the same for all; the last two are of
    CIFAR-10.
    """
    recipe = "digits" if data is None else scale
    chosen = {name: value[recipe] if isinstance(value, Mapping) else value for name, value in own.items()}
    return {**_RECIPES[recipe], "lr": 0.3, "augment": False, **chosen}


def parameters_where_bn_helps(scale: Scale, data: Path | None, *, net: str = "cnn-fc", **own: Any) -> dict[str, Any]:
    """`parameters` of a claim that compares regularisers in a net; at scale full in a setting where BN lowers the test loss.

    It was found, before any of the claims ran there, by the rule in ``benchmarks/premise_search.py``.
    """
    found = _WHERE_BN_HELPS[net] if data is not None and scale == "full" else {}
    return parameters(scale, data, **{"net": net, **found, **own})


def source_of(setup: Setup) -> str:
    """``data`` of a job: ``"digits"`` or the folder of CIFAR-10."""
    return "digits" if setup.data is None else str(setup.data)


def check_setup(claim: str, setup: Setup) -> None:
    """Raise where the parameters cannot give a judgement; look at the data, so that bad ones end a run before it begins.

    Raises:
        UsageError: the scale is full and there are no data, or a number does not go with another.
        DataError: the data cannot be read or are too few.
    """
    given = setup.parameters
    others = (given.get(name, 1) for name in ("large_batch", "wn_batch_size"))
    sizes = [given["batch_size"], *given.get("batch_sizes", []), *others]
    if max(sizes) > given["samples"]:
        raise UsageError(
            f"{claim}: a batch of {max(sizes)} is larger than the {given['samples']} training images; raise parameter "
            "'samples' or lower the batch size"
        )
    finite = finite_sizes(given.get("M", []))
    if finite and finite[-1] > given["samples"]:
        raise UsageError(
            f"{claim}: statistics over {finite[-1]} images are of more than the {given['samples']} training images; lower "
            "parameter 'M', or give 'inf'"
        )
    check_full_scale(claim, setup, samples=max(given["samples"], *given.get("other_samples", [0])))


def check_full_scale(claim: str, setup: Setup, *, samples: int = 10) -> None:
    """Raise where the scale is full and there are no data; look at the data, so that bad ones end a run before it begins.

    Args:
        claim: id of the claim.
        setup: of the claim.
        samples: images that the runs train on.

    Raises:
        UsageError: see above.
        DataError: the data cannot be read or are too few.
    """
    data = setup.data
    if data is None and setup.scale == "full":
        raise UsageError(
            f"{claim} at scale full trains on CIFAR-10; give its folder with --data DIR, or use --scale quick"
        )
    if not setup.check:
        return
    from bnlens.train import check_data, load_data

    try:
        check_data("digits" if data is None else str(data), samples=samples)
    except DataError as error:
        raise DataError(f"{claim}: {error}") from error
    if data is not None:
        for split in ("train", "test"):
            load_data(str(data), split=split, samples=10)


def finite_sizes(given: Any) -> list[int]:
    """The statistics batch sizes below infinity, ascending, each once."""
    sizes = given if isinstance(given, (list, tuple)) else [given]
    return sorted({int(size) for size in sizes if size != POPULATION})


def network_job(
    setup: Setup,
    seed: int,
    *,
    M: int | str = POPULATION,
    regulariser: str | None = None,
    noise: str | None = None,
    dropout: float = 0.0,
    steps: int | None = None,
    weight_norm: bool = False,
    **changes: Any,
) -> Job:
    """The job of one run; claims that ask for the same run share its result.

    The learning rate is the parameter ``lr`` times the batch over 256.

    Args:
        setup: of the claim; its parameters give what all runs have in common.
        seed: of the run.
        M: statistics batch size.
        regulariser: see `bnlens.experiments.networks.train_network`.
        noise: likewise.
        dropout: likewise.
        steps: of the optimizer, in place of the parameter ``epochs``.
        weight_norm: whether to train with weight normalization, whose learning rate is the parameter ``wn_lr``, in place of BN.
        **changes: in place of the parameters ``net``, ``samples``, ``epochs``, ``batch_size``.
    """
    given = {**setup.parameters, **changes}
    batch = given["batch_size"]
    device = batch if M != POPULATION and int(M) > _LARGEST_PASS else min(batch, _LARGEST_PASS)
    if batch % device:
        device = batch
    lr = learning_rate(given["wn_lr" if weight_norm else "lr"], batch)
    config = {"net": given["net"], "data": source_of(setup), "samples": given["samples"], "epochs": given["epochs"]}
    config |= {"batch_size": batch, "lr": lr, "augment": given["augment"], "statistics_batch_size": M}
    config |= {"device_batch_size": device, "regulariser": regulariser, "noise": noise}
    config |= {"dropout": float(dropout), "seed": seed} | ({} if steps is None else {"steps": steps})
    function: Callable[..., dict[str, Any]] = networks.train_network_with_noise if noise else _FUNCTIONS[regulariser]
    if weight_norm:
        config["weight_norm"], function = True, networks.train_network_with_weight_norm
    return Job(_name(config), function, config, cost=_cost(config))


def learning_rate(lr: float, batch_size: int) -> float:
    """The rate at that batch in proportion to ``lr``, the one at a batch of 256."""
    return lr * batch_size / _REFERENCE_BATCH


def related_job(
    setup: Setup,
    seed: int,
    function: Callable[..., dict[str, Any]],
    name: str,
    *,
    M: int | str,
    cost: float = 1.0,
    **own: Any,
) -> Job:
    """The job of another function with the recipe by which `network_job` trains a net with BN over M.

    Args:
        setup: of the claim.
        seed: of the run.
        function: takes the recipe, without regulariser, noise and dropout, and ``own``.
        name: goes before that of the training.
        M: statistics batch size.
        cost: in times that of the training.
        **own: further configuration, or in place of the recipe's.
    """
    trained = network_job(setup, seed, M=M)
    recipe = {key: value for key, value in trained.config.items() if key not in ("regulariser", "noise", "dropout")}
    return Job(f"{name}-{trained.name}", function, {**recipe, **own}, cost=cost * trained.cost)


def _name(config: Mapping[str, Any]) -> str:
    length = f"steps{config['steps']}" if "steps" in config else f"epochs{config['epochs']}"
    parts = [config["net"], config["samples"], length, f"batch{config['batch_size']}"]
    parts += [f"M{config['statistics_batch_size']}"]
    parts += ["wn"] if "weight_norm" in config else []
    parts += [part for part in (config["regulariser"], config["noise"] and f"{config['noise']}-noise") if part]
    parts += [f"dropout{config['dropout']:g}"] if config["dropout"] else []
    return "-".join(str(part) for part in (*parts, f"seed{config['seed']}"))


def _cost(config: Mapping[str, Any]) -> float:
    """Seconds on one core."""
    per_batch = _SECONDS.get(config["net"], 0.5) * _FACTORS[config["regulariser"]]
    per_batch *= 2.0 if config["noise"] else 1.0
    per_batch *= 1 + 4 / config["device_batch_size"]
    images = config["steps"] * config["batch_size"] if "steps" in config else config["samples"] * config["epochs"]
    passes = images / 256
    is_small = config["data"] == "digits"
    seconds: float = passes * per_batch + 100 * _SECONDS.get(config["net"], 0.5) * (1 + config["samples"] / 2500)
    return 0.3 + seconds / 12 if is_small else 3 + seconds


def seeds_of(setup: Setup) -> Sequence[int]:
    """The seeds of a claim's runs."""
    return range(setup.parameters["seeds"])
