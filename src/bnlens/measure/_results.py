"""The content of a report: results of each BN layer and of the whole network, and how they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, overload

import torch

from bnlens._arguments import AtLeastTwo, checked
from bnlens.errors import UsageError
from bnlens.measure._curve import CurvePoint, is_heavy, through
from bnlens.measure._estimate import Estimate
from bnlens.theory.noise import noise_scale

__all__ = [
    "KINDS",
    "NETWORK",
    "Description",
    "Gaps",
    "Kind",
    "LayerResult",
    "NetworkResult",
    "Note",
    "ReportData",
    "listed",
]

NETWORK = "(network)"

Kind = Literal["curve", "logits", "first_order", "fisher", "two_term"]
KINDS: tuple[Kind, ...] = ("curve", "logits", "first_order", "fisher", "two_term")
"""Of predictions, see `Report.predict`."""


def _check_measured(name: str, size: int, measured: Mapping[int, Estimate]) -> None:
    if size not in measured:
        raise UsageError(
            f"{name} is {size}, at which nothing was measured; it must be one of {', '.join(map(str, measured))}"
        )


@dataclass(frozen=True)
class Gaps:
    """The gap of one set of BN layers, nats per sample: measured at some M, predicted from others.

    Attributes:
        measured: gap by M, from running groups of M samples with their own statistics.
        first_order: gap at ``source`` by the theory's law: linear terms plus the antithetic second order; None if not asked
            for.
        fisher: the same with the true Fisher matrix for the second order; None if not asked for.
        two_term: the paper's value at ``source``, sum over channels of zeta gamma^2; None without a likelihood.
        source: M0, the group size that these three and the logits' noise are of.
        population: P, number of samples in the pool.
        others: gap by M, measured for predictions, at sizes that were not asked for.
        covariance: of ``measured`` and ``others`` together, in ascending order of M; empty where it is not known.
        logits: gap by M, from the noise of the outputs at M0, rescaled; empty if not asked for.
        kurtosis: the largest excess kurtosis of the pre-activations of the layers.
    """

    measured: Mapping[int, Estimate]
    first_order: Estimate | None
    fisher: Estimate | None
    two_term: Estimate | None
    source: int
    population: int
    others: Mapping[int, Estimate] = field(default_factory=dict)
    covariance: tuple[tuple[float, ...], ...] = ()
    logits: Mapping[int, Estimate] = field(default_factory=dict)
    kurtosis: float = 0.0

    @property
    def kind(self) -> Kind:
        """The default prediction: the curve, but for reports of earlier versions, which measured at no other size."""
        return "curve" if self.others or self.first_order is None else "first_order"

    @property
    def is_heavy(self) -> bool:
        """Whether the pre-activations have heavy tails, so that no order in 1/M is trusted."""
        return is_heavy(self.kurtosis)

    @checked
    def scale(self, batch_size: AtLeastTwo, population: AtLeastTwo | None) -> float:
        """Return the factor that takes a gap at M0 to one at ``batch_size``: the ratio of the variances of the batch mean."""
        return float(noise_scale(batch_size, population)) / float(noise_scale(self.source, self.population))

    @checked
    def curve(self, batch_size: AtLeastTwo, *, population: AtLeastTwo | None = None) -> CurvePoint | None:
        """Return the gap at ``batch_size`` from the gaps at other sizes, never from groups of that size; None if none is left.

        Args:
            batch_size: M.
            population: see `predicted`.
        """
        gaps = {**self.measured, **self.others}
        sizes = sorted(gaps)
        used = [index for index, size in enumerate(sizes) if size != batch_size]
        chosen = [sizes[index] for index in used]
        if not chosen:
            return None
        full = torch.tensor(self.covariance or [[0.0] * len(sizes)] * len(sizes), dtype=torch.float64)
        if not self.covariance:
            full += torch.diag(torch.tensor([gaps[size].stderr ** 2 for size in sizes], dtype=torch.float64))
        noise = [float(noise_scale(size, self.population)) for size in chosen]
        target = float(noise_scale(batch_size, population))
        values = [gaps[size].value for size in chosen]
        return through(chosen, values, full[used][:, used], noise, target, self.kurtosis)

    @checked
    def predicted(
        self, batch_size: AtLeastTwo, kind: Kind | None = None, *, population: int | None = None
    ) -> Estimate | None:
        """Return the prediction ``kind`` at ``batch_size``, None if the report has none.

        Args:
            batch_size: M.
            kind: which prediction; None for the default.
            population: samples that a shuffled epoch draws from; None for fresh samples every time.
        """
        kind = kind or self.kind
        if kind == "curve":
            point = self.curve(batch_size, population=population)
            return None if point is None else point.gap
        if kind == "logits":
            return self._from_logits(batch_size, population)
        estimate: Estimate | None = getattr(self, kind)
        return None if estimate is None else estimate * self.scale(batch_size, population)

    def _from_logits(self, batch_size: AtLeastTwo, population: AtLeastTwo | None) -> Estimate | None:
        if not self.logits:
            return None
        sizes = sorted(self.logits)
        noise = [float(noise_scale(size, self.population)) for size in sizes]
        errors = torch.diag(torch.tensor([self.logits[size].stderr ** 2 for size in sizes], dtype=torch.float64))
        target = float(noise_scale(batch_size, population))
        return through(sizes, [self.logits[size].value for size in sizes], errors, noise, target).gap

    @checked
    def has_law(self, batch_size: AtLeastTwo) -> bool:
        """Return whether the default prediction for the pool says what the gap at ``batch_size`` is, to a quarter of it."""
        point = self.curve(batch_size, population=self.population) if self.kind == "curve" else None
        return point is None or point.has_law

    @checked
    def ratio(self, batch_size: AtLeastTwo) -> Estimate | None:
        """Return the default prediction over the measured gap at a measured M.

        None where the measured gap is not three standard errors from zero (an untrained network, say): a ratio to it would
        say nothing; and where there is no law.
        """
        _check_measured("batch_size", batch_size, self.measured)
        measured = self.measured[batch_size]
        predicted = self.predicted(batch_size, population=self.population)
        if predicted is None or not abs(measured.value) > 3 * measured.stderr or not self.has_law(batch_size):
            return None
        return predicted.over(measured)


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
        pixels: pixels per sample; 1 after a linear layer. Rows times pixels where a sample has several rows, rounded mean.
        gaps: with only this layer on group statistics, all others on population statistics; None if not asked for. Gaps
            alone do not add up to the network's.
        quadratic: second-order part of the Fisher prediction at M0; None if not asked for.
        self_inclusion: part of the predictions at M0 from each sample being in its own group.
        shift: part from the bias of 1 / sigma_B and the correlation of mu_B with sigma_B. These two are nan for a loss that
            couples samples.
        share: by M, the layer's part of the network's gap, nats per sample: shares add up to that gap (theory sheet D.3). A
            negative one takes out what the noise of earlier layers put in. Empty in reports of bnlens before shares.
        two_term: the paper's value at M0, sum over channels of zeta gamma^2; None without a likelihood.
        dead: the channels that `dead_channels` counts, with the constant that each puts out in evaluation, before any
            activation; see `bnlens.dead_channels`. Empty in reports of earlier versions.
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
    dead: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkResult:
    """The whole network, all BN layers on group statistics at once.

    Attributes:
        gaps: measured and predicted; one joint second-order form over all layers, not a sum of layers.
        population_loss: mean loss under population statistics, nats per sample; over batches in the loader's order, if the
            loss couples their samples.
        running_discrepancy: mean loss with the model's running statistics (eval mode) less that with population
            statistics; None where a layer keeps no running statistics.
        unattributed: by M, the gap less the sum of the layers' shares: the error of the quadrature.
        as_loaded: by M, the gap of groups of M consecutive samples in the order that the loader gave them in (each rank's own),
            from the first one, with the standard error over these groups. Where the loader shuffles, it is the measured gap
            but for errors. An M of which there are fewer than four groups is missing; empty where ``max_seconds`` ended the
            report, and in reports of earlier versions.
    """

    gaps: Gaps
    population_loss: Estimate
    running_discrepancy: Estimate | None
    unattributed: Mapping[int, Estimate] = field(default_factory=dict)
    as_loaded: Mapping[int, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """Something about the model that its user may not know.

    Attributes:
        kind: ``"frozen"``, ``"moving statistics"``, ``"train mode"``, ``"not finite"``, ``"momentum"``, ``"fixed statistics"``,
            ``"epsilon"``, ``"no running statistics"``, ``"initial statistics"``, ``"weight decay"``, ``"stale statistics"``,
            ``"padding"``, ``"dead channels"``, ``"no gradient"``, ``"shared layer"``, ``"functional batch norm"``,
            ``"stochastic forward"``, ``"coupled samples"``, ``"streamed"``, ``"coupled loss"``, ``"loader's batches"``,
            ``"likelihood mismatch"``, ``"no law"``, ``"prediction"``, ``"random weights"``, ``"negative gap"``,
            ``"few samples"`` or ``"beyond first order"``.
        layer: module path, or an empty string for several layers and for the whole network.
        text: a sentence or two with the numbers, and the fix where there is one; where it is about layers, `place` is its
            subject.
        layers: module paths of all the layers it is about; empty for the whole network.
    """

    kind: str
    layer: str
    text: str
    layers: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The layer or the layers, the first of them by name; an empty string for the whole network.

        >>> Note("frozen", "", "are frozen", ("stem", "a", "b", "c", "d")).place
        '5 layers (stem, a, b and 2 more)'
        """
        return self.layer or (f"{len(self.layers)} layers ({listed(self.layers)})" if self.layers else "")


def listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence: all of up to four, else three and how many more.

    >>> listed(["a", "b"])
    'a and b'
    """
    shown = list(names) if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


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

    @overload
    def __getitem__(self, name: Literal["(network)"]) -> NetworkResult: ...  # type: ignore[overload-overlap]
    @overload
    def __getitem__(self, name: str) -> LayerResult: ...
    def __getitem__(self, name: str) -> LayerResult | NetworkResult:
        """Return the layer of that name, or the whole network, ``"(network)"``.

        Raises:
            UsageError: there is none.
        """
        if name == NETWORK:
            return self.network
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise UsageError(f"the report has no layer {name!r}; it has {', '.join(layer.name for layer in self.layers)}")

    @checked
    def share_of_gap(self, layer: LayerResult, size: int) -> Estimate | None:
        """Return a layer's share over the network's gap at a measured M; None where that is not three errors from zero."""
        _check_measured("size", size, self.network.gaps.measured)
        gap = self.network.gaps.measured[size]
        if size not in layer.share or not abs(gap.value) > 3 * gap.stderr:
            return None
        return layer.share[size] * (1 / gap.value)

    @checked
    def gap_rows(self, sizes: Sequence[int] | None = None) -> list[tuple[str, int, Gaps]]:
        """Return (name, M, gaps) of the network and of each layer, at the measured sizes or those given."""
        named = [(NETWORK, self.network.gaps)]
        named += [(layer.name, layer.gaps) for layer in self.layers if layer.gaps is not None]
        return [(name, size, gaps) for name, gaps in named for size in (sizes or self.statistics_batch_sizes)]
