"""The channels of a report that put out a constant."""

from __future__ import annotations

from bnlens._arguments import checked
from bnlens.errors import UsageError
from bnlens.measure._results import ReportData

__all__ = ["dead_channels"]


@checked
def dead_channels(report: ReportData) -> dict[str, dict[int, float]]:
    """Return the dead channels of each layer with the constant that each puts out in evaluation, before any activation.

    Dead is a channel whose output has a standard deviation below 0.001. The constant is beta under population statistics, as
    after `bnlens.recalibrate`. It need not be zero, so that a channel is pruned without a change of the outputs only if the
    next layer is given its part: with act the activation between and W the next weights, the bias grows by
    sum_c W[:, c] act(constant_c), for a convolution summed over the taps as well.

    That holds for linear layers and for convolutions without padding or with ``padding_mode`` other than ``"zeros"``. Beside
    zero padding a constant is none: the taps outside see zeros. What is added there depends on the position; it is the next
    layer's output, without bias, for maps of the constants (docs/report.md has the lines).

    Args:
        report: as `bnlens.report` gives it; recalibrate first, or the constants are those of running statistics that change.

    Returns:
        By the name of each call of a layer that has dead channels: channel -> constant.

    Raises:
        UsageError: the report was made by an earlier version, which kept no constants.

    Example:
        >>> import torch, bnlens
        >>> model = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> with torch.no_grad():
        ...     model[0].weight[1], model[0].bias[1] = 0.0, 1.5
        >>> batches = [(torch.randn(64, 3), torch.randint(2, (64,))) for _ in range(2)]
        >>> _ = bnlens.recalibrate(model, batches)
        >>> report = bnlens.report(model, batches, torch.nn.functional.cross_entropy, statistics_batch_size=8, rounds=1)
        >>> bnlens.dead_channels(report)
        {'0': {1: 1.5}}
    """
    for layer in report.layers:
        if len(layer.dead) != layer.dead_channels:
            raise UsageError(
                f"the report, by bnlens {report.version}, has no constants of the {layer.dead_channels} dead channels of layer "
                f"{layer.name!r}; make it anew"
            )
    return {layer.name: dict(layer.dead) for layer in report.layers if layer.dead}
