"""The content of a report: results of each BN layer and of the whole network, and how they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bnlens.errors import UsageError
from bnlens.measure._estimate import Estimate
from bnlens.theory.noise import noise_scale

__all__ = ["NETWORK", "Description", "Gaps", "LayerResult", "NetworkResult", "Note", "ReportData"]

NETWORK = "(network)"


@dataclass(frozen=True)
class Gaps:
    """The gap of one set of BN layers, nats per sample: measured at some M, predicted from another.

    Attributes:
        measured: gap by M, from running groups of M samples with their own statistics.
        exact: gap predicted at ``source``: linear terms plus the exact (antithetic) second order.
        fisher: the same with the true Fisher matrix for the second order; None if not asked for.
        two_term: the paper's value at ``source``, sum over channels of zeta gamma^2; None without a likelihood.
        source: M0, the group size the predictions were made from.
        population: P, number of samples in the pool.
    """

    measured: Mapping[int, Estimate]
    exact: Estimate
    fisher: Estimate | None
    two_term: Estimate | None
    source: int
    population: int

    def scale(self, batch_size: int, population: int | None) -> float:
        """Return the factor that takes a gap at M0 to one at ``batch_size``: the ratio of the variances of the batch mean."""
        return float(noise_scale(batch_size, population)) / float(noise_scale(self.source, self.population))

    def predicted(self, batch_size: int, kind: str = "exact", *, population: int | None = None) -> Estimate | None:
        """Return the prediction ``kind`` (``"exact"``, ``"fisher"`` or ``"two_term"``) at ``batch_size``.

        Args:
            batch_size: M.
            kind: which prediction.
            population: samples that a shuffled epoch draws from; None for fresh samples every time.
        """
        estimate: Estimate | None = getattr(self, kind)
        return None if estimate is None else estimate * self.scale(batch_size, population)

    def ratio(self, batch_size: int) -> Estimate | None:
        """Return the exact prediction over the measured gap at a measured M.

        None where the measured gap is not three standard errors from zero (an untrained network, say): a ratio to it would
        say nothing.
        """
        measured = self.measured[batch_size]
        if not abs(measured.value) > 3 * measured.stderr:
            return None
        return (self.exact * self.scale(batch_size, self.population)).over(measured)


@dataclass(frozen=True)
class Description:
    """The inputs of one call of a BN layer under population statistics, in numbers.

    Attributes:
        effective_samples_mean: independent samples per sample for mu_B: variance of a pixel over that of a sample's mean.
        effective_samples_std: the same for sigma_B.
        kurtosis: excess kurtosis of the pre-activations over pixels, averaged over channels.
        gamma_rms: root mean square of gamma.
        dead_channels: channels whose output has a standard deviation below 1e-3.
        stale_mean: rms over channels of (running mean - mu_P) / sigma_P; None without running statistics.
        stale_std: rms over channels of log(running sigma / sigma_P).
    """

    effective_samples_mean: Estimate
    effective_samples_std: Estimate
    kurtosis: Estimate
    gamma_rms: float
    dead_channels: int
    stale_mean: Estimate | None
    stale_std: Estimate | None


@dataclass(frozen=True)
class LayerResult(Description):
    """One call of a BN layer. Everything with a standard error is an ``Estimate``.

    Attributes:
        name: module path; a second call of a shared module is ``path#2``.
        kind: class of the module.
        channels: C.
        pixels: pixels per sample; 1 after a linear layer.
        gaps: with only this layer on group statistics, all others on population statistics; None if not asked for. Gaps
            alone do not add up to the network's.
        quadratic: second-order part of the Fisher prediction at M0; None if not asked for.
        self_inclusion: part of the predictions at M0 from each sample being in its own group.
        shift: part from the bias of 1 / sigma_B and the correlation of mu_B with sigma_B.
        share: by M, the layer's part of the network's gap, nats per sample: shares add up to that gap (theory sheet D.3). A
            negative one takes out what the noise of earlier layers put in. Empty in reports of bnlens before shares.
        two_term: the paper's value at M0, sum over channels of zeta gamma^2; None without a likelihood.
    """

    name: str
    kind: str
    channels: int
    pixels: int
    gaps: Gaps | None
    quadratic: Estimate | None
    self_inclusion: float
    shift: float
    share: Mapping[int, Estimate] = field(default_factory=dict)
    two_term: Estimate | None = None


@dataclass(frozen=True)
class NetworkResult:
    """The whole network, all BN layers on group statistics at once.

    Attributes:
        gaps: measured and predicted; one joint second-order form over all layers, not a sum of layers.
        population_loss: mean loss under population statistics, nats per sample.
        running_discrepancy: mean loss with the model's running statistics (eval mode) less that with population
            statistics; None where a layer keeps no running statistics.
        unattributed: by M, the gap less the sum of the layers' shares: the error of the quadrature.
    """

    gaps: Gaps
    population_loss: Estimate
    running_discrepancy: Estimate | None
    unattributed: Mapping[int, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """Something about the model that its user may not know.

    Attributes:
        kind: ``"frozen"``, ``"moving statistics"``, ``"weight decay"``, ``"stale statistics"``, ``"dead channels"``,
            ``"no gradient"``, ``"shared layer"``, ``"streamed"`` or ``"beyond first order"``.
        layer: module path, or an empty string for the whole network.
        text: one sentence with the numbers, and the fix where there is one.
    """

    kind: str
    layer: str
    text: str


@dataclass(frozen=True)
class ReportData:
    """The content of a `Report`, which documents it."""

    model: str
    layers: tuple[LayerResult, ...]
    network: NetworkResult
    notes: tuple[Note, ...]
    statistics_batch_sizes: tuple[int, ...]
    prediction_batch_size: int
    samples: int
    rounds: int
    likelihood: str | None
    population_passes: int
    seed: int
    seconds: float
    version: str
    created: str
    precision: float | None = None
    stopped: str = "rounds"
    groups: Mapping[int, int] = field(default_factory=dict)

    def __getitem__(self, name: str) -> LayerResult:
        """Return the layer of that name.

        Raises:
            UsageError: there is none.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise UsageError(f"the report has no layer {name!r}; it has {', '.join(layer.name for layer in self.layers)}")

    def share_of_gap(self, layer: LayerResult, size: int) -> Estimate | None:
        """Return a layer's share over the network's gap at a measured M; None where that is not three errors from zero."""
        gap = self.network.gaps.measured[size]
        if size not in layer.share or not abs(gap.value) > 3 * gap.stderr:
            return None
        return layer.share[size] * (1 / gap.value)

    def gap_rows(self, sizes: Sequence[int] | None = None) -> list[tuple[str, int, Gaps]]:
        """Return (name, M, gaps) of the network and of each layer, at the measured sizes or those given."""
        named = [(NETWORK, self.network.gaps)]
        named += [(layer.name, layer.gaps) for layer in self.layers if layer.gaps is not None]
        return [(name, size, gaps) for name, gaps in named for size in (sizes or self.statistics_batch_sizes)]
