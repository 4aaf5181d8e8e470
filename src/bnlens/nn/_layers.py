"""The layers, for inputs of one, two and three dimensions."""

from __future__ import annotations

import math
from functools import partialmethod

from torch import nn

from bnlens.nn._base import DialBatchNorm

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "PopulationBatchNorm1d",
    "PopulationBatchNorm2d",
    "PopulationBatchNorm3d",
]


class BatchNorm2d(DialBatchNorm, nn.BatchNorm2d):
    r"""``torch.nn.BatchNorm2d`` with statistics over M samples, whatever the batch; eval mode is torch's.

    In training, with m samples (images, not pixels) at hand:

    - M None or m: torch's batch normalization, by the same kernel.
    - M < m: k = round(m / M) *ghost groups*, in the order of the batch, whose sizes differ by at most one and are never
      1; each is normalised by its own biased variance.
    - M > m: a *window*, exponential averages of mean and second moment, corrected for their start, the current batch
      included with weight a = 2m / (M + m): :math:`y = \gamma (x - \mu_W) / \sqrt{\sigma_W^2 + \epsilon} + \beta`. Mean and
      biased variance of a window in steady state have the noise and bias of M samples. The gradient goes through the
      current batch only, as in batch renormalization without clipping. A sample weighs 2 / (M + m) in its own statistics,
      not 1 / M, so the self-inclusion term of the own-batch law (theory sheet A.2) is 2M / (M + m) times that of M samples.
    - M = inf: a window of max(3m, 128) samples.

    With ``sync=True`` the batch at hand is that of all ranks of the process group together, in rank order, so M and m
    count the samples of the whole job: outputs, running statistics and windows are those of one process with this batch
    (to rounding), on any device. A ghost group may span ranks. Gradients of gamma and beta are sums over the rank's own
    samples, as with torch's ``SyncBatchNorm``; ``DistributedDataParallel`` averages them. Ranks may have different
    numbers of samples, also none, but each must run the layer equally often, forward and backward.

    Running statistics estimate the population in each case: they follow mean and Bessel variance of the whole batch at
    hand, exactly as torch's layer would on the same input, neither of a group nor of the window. A batch whose
    statistics are not finite is normalised as torch would, but leaves running statistics, their count and the window as
    they were; ``skipped_batches`` counts it. All statistics are in float32 or wider, also under autocast.

    Called with ``mask``, or inside :func:`bnlens.masked`, all this is of the valid values and of the samples that have any.

    One image makes a batch if it has more than one pixel. One value per channel is taken by a window that holds an earlier
    batch: the value is in the window, gamma and beta get their gradients, the input's is zero (the batch is its own mean), and
    running statistics stay as they were. An empty batch gives an empty output and changes nothing.
    Without running statistics (``track_running_stats=False``) the window works the same; eval mode then uses the
    statistics of the batch at hand, as torch does. A forward pass that activation checkpointing runs again
    uses the statistics of its first run and updates nothing.

    Warning:
        The window gives each *layer* statistics with the noise of M samples; a whole network has more of it than with BN
        over M. :func:`bnlens.set_statistics_batch_size` with ``device_batch_size`` widens the windows accordingly. Such a
        network trains nearer to one with batches of M, but not just like it; below m = M / 4 a warning says so once.
        :func:`bnlens.shared_statistics` comes nearer at any m, for one more forward pass. docs/dial.md has measured distances.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: weight of a batch in the running statistics; None averages over all batches. The window ignores it, but for
            0, which holds the window too.
        affine: whether there are gamma (``weight``) and beta (``bias``), (C,).
        track_running_stats: whether there are running statistics. Set to False on a layer that has them, it holds the window
            too.
        device: of parameters and buffers.
        dtype: of parameters and running statistics.
        statistics_batch_size: M; None, an int from 2 on, or ``math.inf``.
        sync: whether statistics are over ranks: False, True (of the default process group) or a process group.
        regime: ``"auto"`` (by the samples at hand, as above), ``"ghost"`` (groups of exactly M: a multiple of M samples) or
            ``"window"`` (at most M samples), fixed for ``torch.export`` with a dynamic batch.
        **kwargs: further arguments of torch's layer, such as ``bias`` where torch has it.

    Attributes:
        window: the window, (4, C), float32 or wider, not in the ``state_dict``: mean, biased variance, weight seen so far,
            sum of squared weights of single samples; None where M is None.
        window_samples: samples the window is worth by now; it grows to M.
        responses: what :func:`bnlens.shared_statistics` keeps for later backward passes, by stream, not in the ``state_dict``.
        skipped_batches: batches that were not finite, or came to a window that was not, in its place of which they began a new
            one; not in the ``state_dict``. None on the meta device, as is the window.

    Shape:
        Input and output (N, C, H, W), as torch's.

    Raises:
        UsageError: ``statistics_batch_size``, ``sync`` or ``regime`` cannot be used; or, in training, ``eps`` is not positive,
            there is one value per channel and no window that holds a batch (RuntimeError where that is compiled), a batch does
            not fit a fixed regime, or with ``sync`` no process group is initialised, ranks differ in M, or an explicit
            regulariser watches the layer.

    Example:
        >>> import torch
        >>> layer = BatchNorm2d(3, statistics_batch_size=32)
        >>> _ = layer(torch.randn(16, 3, 8, 8)), layer(torch.randn(16, 3, 8, 8))
        >>> round(layer.window_samples, 1)  # the first batch has a quarter of the weight
        25.6
        >>> sorted(layer.state_dict())
        ['bias', 'num_batches_tracked', 'running_mean', 'running_var', 'weight']
    """


class BatchNorm1d(DialBatchNorm, nn.BatchNorm1d):
    """``torch.nn.BatchNorm1d`` with statistics over M samples; see :class:`BatchNorm2d`. Input (N, C) or (N, C, L)."""


class BatchNorm3d(DialBatchNorm, nn.BatchNorm3d):
    """``torch.nn.BatchNorm3d`` with statistics over M samples; see :class:`BatchNorm2d`. Input (N, C, D, H, W)."""


class _Population(DialBatchNorm):
    __init__ = partialmethod(DialBatchNorm.__init__, statistics_batch_size=math.inf)


class PopulationBatchNorm1d(_Population, BatchNorm1d):
    """Population normalization for (N, C) or (N, C, L); see :class:`PopulationBatchNorm2d`."""


class PopulationBatchNorm2d(_Population, BatchNorm2d):
    """:class:`BatchNorm2d` at ``statistics_batch_size=math.inf``: population normalization (PN) that trains.

    The statistics are those of a window of max(3m, 128) samples, about three batches: statistics that are truly frozen
    do not train, and a longer window lags behind the weights. Its noise is that of as many samples, not zero.
    """


class PopulationBatchNorm3d(_Population, BatchNorm3d):
    """Population normalization for (N, C, D, H, W); see :class:`PopulationBatchNorm2d`."""
