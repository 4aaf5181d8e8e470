"""Claims N1 to N4: their judges on losses made by hand, their plans, and one real job on few images."""

import itertools

import numpy as np
import pytest

from bnlens.claims import get_claims
from bnlens.claims._paired import Estimate, Runs, estimate, share_of_distance
from bnlens.claims._training import run_name, train_once
from bnlens.errors import DataError, UsageError
from bnlens.nn import matching_window

CLAIMS = {claim.id: claim for claim in get_claims(["N1", "N2", "N3", "N4"])}
NOISE = 0.003 * np.array([1.0, -1.0, 0.5, -0.5])  # over four seeds


def made(losses, *, noise=NOISE, gamma=1.0):
    """Results by job name from (M, device, regulariser) -> (train loss, test loss); each kind has its own order of noise."""
    results = {}
    for kind, (M, device, regulariser) in enumerate(losses):
        train, test = losses[M, device, regulariser]
        for seed, off in enumerate(np.roll(noise, kind)):
            scale = gamma if regulariser in ("gamma-decay", "curvature") else 1.0
            results[run_name(M, device, seed, regulariser)] = {
                "data": "made up",
                "train_loss": train + off,
                "test_loss": test + off,
                "test_accuracy": 0.5 + off,
                "gamma": [scale, scale, 1.4],
            }
    return results


def family(train, test):
    return made({(M, 256, None): pair for M, *pair in zip((4, 16, 64, 256, "inf"), train, test, strict=True)})


@pytest.mark.parametrize(
    ("train", "test", "verdict"),
    [
        ((0.5, 0.3, 0.2, 0.19, 0.19), (1.1, 1.3, 1.4, 1.4, 1.4), "holds"),
        ((0.5, 0.3, 0.2, 0.19, 0.19), (1.1, 1.3, 1.2, 1.4, 1.4), "holds approximately"),
        ((0.5, 0.3, 0.299, 0.19, 0.19), (1.1, 1.3, 1.4, 1.4, 1.4), "holds approximately"),
        ((0.3, 0.5, 0.2, 0.19, 0.19), (1.1, 1.3, 1.4, 1.4, 1.4), "does not hold here"),
    ],
)
def test_family(train, test, verdict):
    results = family(train, test)
    finding = CLAIMS["N1"].judge(results)
    assert finding.verdict == verdict
    assert [row["M"] for row in finding.rows] == [4, 16, 64, 256, "inf"]
    assert finding.rows[1]["change of train loss"] == pytest.approx(train[1] - train[0])
    assert len(CLAIMS["N1"].figure(results).data) == 2


def dialled(M, devices, plain, shared, windows, ghost=0.0):
    """Train losses above that of BN over M, at the device batches; test losses are as far below."""
    above = {(M, M, None): 0.0, (M, 256, None): ghost}
    for device, of_plain, of_shared in zip(devices, plain, shared, strict=True):
        above |= {(device, 256, None): of_plain, (M, device, "shared"): of_shared}
    for device, of_window in zip(devices, windows, strict=False):
        above[matching_window(M, device), device, None] = of_window
    return made({key: (0.2 + value, 1.4 - value) for key, value in above.items()})


CIFAR = (32, 16, 8, 4, 2)
PLAIN = (0.05, 0.1, 0.2, 0.4, 0.9)


@pytest.mark.parametrize(
    ("shared", "ghost", "verdict"),
    [
        ((0.0, 0.0, 0.0, 0.0, 0.0), 0.0, "holds"),
        ((0.0, 0.02, 0.07, 0.2, 0.6), 0.0, "holds approximately"),
        ((0.0, 0.04, 0.07, 0.2, 0.6), 0.0, "does not hold here"),  # 16 closes 60%
        ((0.0, 0.02, 0.10, 0.2, 0.6), 0.0, "does not hold here"),  # 8 closes 50%
        ((0.04, 0.02, 0.07, 0.2, 0.6), 0.0, "does not hold here"),  # 32 is told apart
        ((0.0, 0.02, 0.07, 0.2, 0.6), 0.05, "does not hold here"),  # ghost groups are
    ],
)
def test_device_batches(shared, ghost, verdict):
    results = dialled(64, CIFAR, PLAIN, shared, (0.01, 0.05), ghost)
    finding = CLAIMS["N2"].judge(results)
    assert finding.verdict == verdict
    assert finding.measured == pytest.approx(1 - shared[1] / PLAIN[1], abs=0.1)
    assert [row["device batch"] for row in finding.rows] == [256, *CIFAR]
    assert [row.get("window") for row in finding.rows] == [None, 96, 122, None, None, None]
    assert finding.rows[2]["train loss, windows, closed"] == pytest.approx(0.5, abs=0.1)
    assert finding.rows[0]["train loss, shared"] == pytest.approx(ghost, abs=1e-12)
    assert "train loss, shared, closed" not in finding.rows[0]
    assert len(CLAIMS["N2"].figure(results).data) == 3


def test_device_batches_of_the_digits():
    finding = CLAIMS["N2"].judge(dialled(16, (8, 4), (0.1, 0.2), (0.0, 0.1), (0.0, 0.1)))
    assert finding.verdict == "does not hold here"
    finding = CLAIMS["N2"].judge(dialled(16, (8, 4), (0.1, 0.2), (0.0, 0.03), (0.0, 0.1)))
    assert finding.verdict == "holds approximately"


@pytest.mark.parametrize(("claim", "kind"), [("N3", "gamma-decay"), ("N4", "curvature")])
@pytest.mark.parametrize(
    ("train", "test", "verdict"),
    [
        (0.3, 1.3, "holds"),
        (0.34, 1.3, "holds approximately"),
        (0.3, 1.24, "does not hold here"),
        (0.2, 1.4, "does not hold here"),
    ],
)
def test_explicit_regularisers(claim, kind, train, test, verdict):
    losses = {(16, 256, None): (0.3, 1.3), ("inf", 256, None): (0.2, 1.4), (16, 256, kind): (train, test)}
    if claim == "N4":
        losses[32, 256, kind] = (0.25, 1.35)
    results = made(losses, gamma=0.2)
    finding = CLAIMS[claim].judge(results)
    assert finding.verdict == verdict
    assert finding.measured == pytest.approx((train - 0.2) / 0.1, abs=0.06)
    if claim == "N3":
        assert "0.20 to 0.20 times BN's" in finding.summary
        assert (finding.corrects_paper is None) == (verdict == "holds")
    assert len(CLAIMS[claim].figure(results).data) == len(finding.rows) == len(losses)


def test_plans(tmp_path):
    for claim in CLAIMS.values():
        jobs = claim.plan("quick", None)
        assert len({job.name for job in jobs}) == len(jobs)
        assert {job.config["data"] for job in jobs} == {"digits"}
        with pytest.raises(UsageError, match=f"{claim.id} at scale full .*--data DIR"):
            claim.plan("full", None)
        with pytest.raises(DataError):
            claim.plan("quick", tmp_path)
    shared = {str(job.config) for job in CLAIMS["N1"].plan("quick", None)}
    assert sum(str(job.config) in shared for job in CLAIMS["N4"].plan("quick", None)) == 6


@pytest.mark.parametrize(
    ("M", "device", "regulariser", "shared"),
    [
        (4, 256, None, False),
        (16, 4, None, False),
        (16, 4, None, True),
        ("inf", 256, None, False),
        (4, 256, "curvature", False),
        (4, 256, "gamma-decay", False),
    ],
)
def test_a_small_job(M, device, regulariser, shared):
    result = train_once(
        net="mlp", data="digits", samples=300, steps=8, lr=0.1, statistics_batch_size=M, device_batch_size=device,
        share_statistics=shared, regulariser=regulariser, seed=0,
    )  # fmt: skip
    assert result["images"] == 300
    assert 0 < result["train_loss"] < result["test_loss"] < 2.3
    assert all(0.2 < gamma < 2 for gamma in result["gamma"])


def test_estimates():
    rng = np.random.default_rng(0)
    part, whole = rng.normal(1, 0.1, 2000), rng.normal(4, 0.1, 2000)
    share = share_of_distance(part, whole)
    assert share.value == pytest.approx(0.25, abs=0.003)
    # the delta method
    expected = np.hypot(0.1 / 4, 0.25 * 0.1 / 4) / np.sqrt(2000)
    assert share.stderr == pytest.approx(expected, rel=0.1)
    assert estimate(np.array([1.0, 3.0])) == Estimate(2.0, 1.0)
    assert Estimate(3.0, 1.5).in_errors == 2
    assert Estimate(-1.0, 0.0).in_errors == -np.inf


def test_runs_are_found_by_what_they_are():
    results = made({(16, 256, None): (0.1, 0.2), (16, 256, "curvature"): (0.3, 0.4), (1, 6, None): (0.5, 0.6)})
    runs = Runs(dict(itertools.chain(reversed(results.items()))))
    assert runs.seeds(16, 256) == runs.seeds(16, 256, "curvature") == [0, 1, 2, 3]
    assert runs.seeds("inf", 256) == []
    assert runs.values("test_loss", 16, 256, "curvature").mean() == pytest.approx(0.4)
