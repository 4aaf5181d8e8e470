"""Claims N1 to N4: their judges on losses made by hand."""

import pytest
from network_results import runs

from bnlens.claims import get_claims, n2_device_batch
from bnlens.nn import matching_window

CLAIMS = {claim.id: claim for claim in get_claims(["N1", "N2", "N3", "N4"])}


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
    sizes = (4, 16, 64, 256, "inf")
    results = runs([{"M": M, "train": a, "test": b} for M, a, b in zip(sizes, train, test, strict=True)])
    finding = CLAIMS["N1"].judge(results)
    assert finding.verdict == verdict
    assert [row["M"] for row in finding.rows] == list(sizes)
    assert finding.rows[1]["change of train loss"] == pytest.approx(train[1] - train[0])
    assert len(CLAIMS["N1"].figure(results).data) == 2


def dialled(M, devices, plain, shared, windows, ghost=0.0):
    """Train losses above that of BN over M, at the device batches; test losses are as far below."""
    kinds = [({"M": M, "device_batch_size": M}, 0.0), ({"M": M}, ghost)]
    for device, of_plain, of_shared in zip(devices, plain, shared, strict=True):
        kinds.append(({"M": device}, of_plain))
        kinds.append(({"M": M, "device_batch_size": device, "share_statistics": True}, of_shared))
    for device, of_window in zip(devices, windows, strict=False):
        kinds.append(({"M": matching_window(M, device), "device_batch_size": device}, of_window))
    return runs([{**kind, "train": 0.2 + above, "test": 1.4 - above} for kind, above in kinds])


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
    for shared, verdict in ((0.1, "does not hold here"), (0.03, "holds approximately")):
        assert CLAIMS["N2"].judge(dialled(16, (8, 4), (0.1, 0.2), (0.0, shared), (0.0, 0.1))).verdict == verdict


@pytest.mark.parametrize(("claim", "penalty"), [("N3", "gamma-decay"), ("N4", "curvature")])
@pytest.mark.parametrize(
    ("train", "test", "verdict"),
    [
        (0.3, 1.3, "holds"),
        (0.34, 1.3, "holds approximately"),
        (0.3, 1.24, "does not hold here"),
        (0.2, 1.4, "does not hold here"),
    ],
)
def test_explicit_regularisers(claim, penalty, train, test, verdict):
    penalised = {"regulariser": penalty, "gamma": 0.2}
    kinds = [{"M": 16, "train": 0.3, "test": 1.3}, {"train": 0.2, "test": 1.4}]
    kinds.append({**penalised, "M": 16, "train": train, "test": test})
    if claim == "N4":
        kinds.append({**penalised, "M": 32, "train": 0.25, "test": 1.35})
    results = runs(kinds)
    finding = CLAIMS[claim].judge(results)
    assert finding.verdict == verdict
    assert finding.measured == pytest.approx((train - 0.2) / 0.1, abs=0.06)
    if claim == "N3":
        assert "0.20 to 0.20 times BN's" in finding.summary
        assert (finding.corrects_paper is None) == (verdict == "holds")
    assert len(CLAIMS[claim].figure(results).data) == len(finding.rows) == len(kinds)


@pytest.mark.parametrize(("claim", "penalty"), [("N3", "gamma-decay"), ("N4", "curvature")])
def test_explicit_regularisers_need_an_effect_of_bn(claim, penalty):
    kinds = [{"M": 16, "train": 0.3, "test": 1.4003}, {"train": 0.2, "test": 1.4}]
    kinds += [{"regulariser": penalty, "M": M, "train": 0.3, "test": 1.4} for M in (16, 32)[: 1 + (claim == "N4")]]
    finding = CLAIMS[claim].judge(runs(kinds))
    assert (finding.verdict, finding.corrects_paper) == ("premise not met", None)
    assert "in test loss" in finding.summary
    assert "in train loss." not in finding.summary.partition("cannot be told")[2]


def test_claims_share_what_they_have_in_common():
    shared = {str(job.config) for job in CLAIMS["N1"].plan()}
    assert sum(str(job.config) in shared for job in CLAIMS["N4"].plan()) == 6


def test_windows_are_those_that_match():
    assert {pair: matching_window(*pair) for pair in n2_device_batch._WINDOWS} == n2_device_batch._WINDOWS
