"""D7: two neurons, and the sign with which their correlation enters the gap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Scale, Setup, Verdict
from bnlens.claims._estimate import Estimate, finding, span
from bnlens.claims._figures import add_estimates
from bnlens.claims._results import Results
from bnlens.experiments.neuron_pair import simulate_pair_gap

_M, _SEED = 64, 970
_CORRELATIONS = (-0.8, -0.4, 0.0, 0.4, 0.8)
_SIGNS = {"same sign": (1.0, 1.0), "opposite signs": (1.0, -1.0)}
_NOISES = {"mean": "batch mean", "std": "batch deviation"}
_BATCHES: Mapping[Scale, int] = {"quick": 20_000, "full": 300_000}


def _config(signs: str, correlation: float) -> dict[str, Any]:
    return {"correlation": correlation, "signs": list(_SIGNS[signs]), "batch_size": _M}


def _jobs(setup: Setup) -> Sequence[Job]:
    batches = _BATCHES[setup.scale]
    cases = [(signs, correlation) for signs in _SIGNS for correlation in _CORRELATIONS]
    return [
        Job(
            f"{signs}-{correlation:g}".replace(" ", "-"),
            simulate_pair_gap,
            {**_config(signs, correlation), "batches": batches, "seed": _SEED + index},
            batches / 2e4,
        )
        for index, (signs, correlation) in enumerate(cases)
    ]


def _off_diagonal(noise: str, r: float) -> float:
    """F_12 M Cov for weights of one sign: the off-diagonal Fisher is 1 (mean) or r (std), M Cov is r or r^2/2."""
    return r if noise == "mean" else r**3 / 2


class _Pair(NamedTuple):
    """M times the gap of a noise: what the correlation adds, simulated and by the off-diagonal terms of the expansion."""

    signs: str
    correlation: float
    noise: str
    whole: Estimate
    alone: Estimate

    @property
    def added(self) -> Estimate:
        """The gap of the pair above that of the two neurons apart; the errors as if independent."""
        stderr = (self.whole.stderr**2 + self.alone.stderr**2) ** 0.5
        return Estimate(self.whole.value - self.alone.value, stderr)

    @property
    def product(self) -> float:
        """Of the two output weights."""
        first, second = _SIGNS[self.signs]
        return first * second

    @property
    def predicted(self) -> float:
        """By the off-diagonal terms of the expansion."""
        return self.product * _off_diagonal(self.noise, self.correlation)

    @property
    def row(self) -> dict[str, Any]:
        row = {"output weights": self.signs, "correlation": self.correlation, "noise of": _NOISES[self.noise]}
        return {
            **row,
            **self.whole.columns("M × gap"),
            **self.added.columns("by correlation"),
            "off-diagonal": self.predicted,
        }


def _pairs(results: Results) -> list[_Pair]:
    pairs = []
    for signs in _SIGNS:
        for correlation in _CORRELATIONS:
            result = results.one(**_config(signs, correlation))
            for noise in _NOISES:
                whole, alone = (result[name] for name in (noise, f"{noise} alone"))
                scaled = (Estimate(_M * one["gap"], _M * one["stderr"]) for one in (whole, alone))
                pairs.append(_Pair(signs, correlation, noise, *scaled))
    return pairs


def _raised(pairs: Sequence[_Pair]) -> Verdict:
    """Return whether correlation raises the gap: by two standard errors in every pair, or at least lowers it in none."""
    if all(one.added.in_errors >= 2 for one in pairs):
        return "holds"
    return "holds approximately" if all(one.added.in_errors > -2 for one in pairs) else "does not hold here"


def _judge(results: Results) -> Finding:
    pairs = [one for one in _pairs(results) if one.correlation]
    alike = [one for one in pairs if one.product * one.correlation > 0]
    opposed = [one for one in pairs if one.product * one.correlation < 0]
    parts = {"neurons whose outputs add": _raised(alike), "neurons whose outputs cancel": _raised(opposed)}
    verdict = _raised(pairs)
    worst = max(abs(one.added.value - one.predicted) for one in pairs)
    headline = next(one for one in pairs if (one.signs, one.correlation, one.noise) == ("same sign", 0.8, "std"))
    correction = (
        "The off-diagonal Fisher penalises correlation only between neurons whose outputs add; where they cancel it rewards "
        f"it, by {span(-one.added.value for one in opposed)}$/M$ nats here."
    )
    summary = (
        f"Correlation of two neurons adds {span(one.added.value for one in alike)}$/M$ to the gap where their outputs "
        f"add and {span(one.added.value for one in opposed)}$/M$ where they cancel; the off-diagonal terms of the "
        f"expansion are within {worst:.2f}$/M$ of that. Headline: $M$ times what a correlation of 0.8 adds by the noise "
        r"of $\sigma_B$."
    )
    rows = [one.row for one in _pairs(results)]
    return finding(verdict, headline.added, headline.predicted, summary, rows, correction, parts)


def _figure(results: Results) -> Figure:
    from bnlens.render import PALETTE, dense, new_figure

    figure = new_figure(x="correlation of the two neurons", y="M × what correlation adds to the gap", height=460)
    between = dense(_CORRELATIONS)
    series = [(signs, noise) for signs in _SIGNS for noise in _NOISES]
    for (signs, noise), color in zip(series, PALETTE, strict=False):
        some = [one for one in _pairs(results) if (one.signs, one.noise) == (signs, noise)]
        x, name = [one.correlation for one in some], f"{_NOISES[noise]}, {signs}"
        curve = [some[0].product * _off_diagonal(noise, r) for r in between]
        figure.add_scatter(x=between, y=curve, name=name, mode="lines", line={"color": color})
        add_estimates(figure, f"{name}, simulated", x, [one.added for one in some], marker={"color": color})
    return figure


CLAIM = Claim(
    id="D7",
    title="Correlation between neurons",
    statement=(
        "With several neurons the off-diagonal entries of the Fisher information make the noise of the batch statistics "
        "penalise correlation between them: it raises the gap."
    ),
    source="arXiv 1809.00846, reading of Theorem 1 for several neurons; theory sheet D.1",
    paper=PaperStatement(
        words=r"With several neurons the term of $\sigma_B$, by the off-diagonal Fisher information, penalises correlation.",
        section="A probabilistic interpretation of BN, reading of Theorem 1",
        known="as remembered",
    ),
    agreement=(
        "Two linear neurons, outputs added or subtracted, correlations of $-0.8$ to 0.8, $M = 64$: the gap of the pair above "
        r"that of the two apart, for the noise of $\mu_B$ and of $\sigma_B$. Holds: above by two standard errors in every "
        "case; approximately: below by two in none; else it does not."
    ),
    quantity="M × what a correlation of 0.8 adds to the gap by the noise of the standard deviation, in nats",
    works=("ioffe2015batch",),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
