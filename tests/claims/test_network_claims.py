"""Claims D8 and E1 to E9: their judges on results made by hand, each verdict reached; their plans and those of N1 to N4."""

import math

import numpy as np
import pytest
from network_results import folded, run, runs, trials

from bnlens.claims import Results, d8_one_layer, get_claims
from bnlens.claims._noises import effects
from bnlens.claims._results import TrainingRuns
from bnlens.claims.e5_learning_rates import bracket
from bnlens.claims.e7_gap_and_generalization import correlation
from bnlens.errors import DataError, UsageError
from bnlens.experiments.one_layer import count_layers
from bnlens.runs.key import job_key

CLAIMS = {claim.id: claim for claim in get_claims(["D8", "E1", "E2", "E3", "E4", "E5", "E6", "E7", "E8", "E9"])}
HOLDS, ROUGHLY, NOT, UNMET = "holds", "holds approximately", "does not hold here", "premise not met"


def judged(claim_id, results, verdict):
    """The finding, after a look at its verdict, at the figure and at what every table needs."""
    claim = CLAIMS[claim_id]
    finding = claim.judge(results)
    assert finding.verdict == verdict
    assert len(claim.figure(results).data) > 1
    if verdict != UNMET:
        assert all(math.isfinite(number) for number in (finding.measured, finding.predicted, finding.stderr))
    return finding


def normalised(decay, *, bn=((0.5, 1.1), (0.3, 1.3)), curvature=(0.5, 1.1)):
    """BN at M = 4 and 16, PN at (0.2, 1.4), gamma decay at both M, the curvature penalty."""
    kinds = [{"train": 0.2, "test": 1.4}]
    for M, (train, test), of_decay in zip((4, 16), bn, decay, strict=True):
        kinds.append({"train": train, "test": test, "M": M})
        for name, pair in (("gamma-decay", of_decay), ("curvature", curvature)):
            kinds.append({"train": pair[0], "test": pair[1], "M": M, "regulariser": name})
    return runs(kinds)


@pytest.mark.parametrize(
    ("decay", "verdict", "equal"),
    [
        (((0.5, 1.1), (0.3, 1.3)), HOLDS, HOLDS),
        (((0.5, 0.8), (0.3, 1.2)), HOLDS, NOT),  # more than BN's
        (((0.9, 1.1), (0.3, 1.3)), HOLDS, NOT),  # at another train loss
        (((0.38, 1.22), (0.3, 1.3)), ROUGHLY, ROUGHLY),
        (((0.5, 1.1), (0.3, 1.39)), NOT, NOT),
        (((0.5, 1.4), (0.3, 1.3)), NOT, NOT),
    ],
)
def test_gamma_decay_beside_bn(decay, verdict, equal):
    finding = judged("E1", normalised(decay), verdict)
    assert finding.measured == pytest.approx((1.4 - decay[0][1]) / 0.3, abs=0.03)
    assert finding.parts["equal train and test losses (ours)"] == equal
    assert [row["method"] for row in finding.rows] == ["PN", *["BN", "PN + gamma decay", "PN + curvature penalty"] * 2]


@pytest.mark.parametrize("test", [1.4, 1.5])
def test_where_bn_does_not_lower_the_test_loss_there_is_nothing_to_recover(test):
    results = normalised(((0.5, 1.1), (0.3, 1.3)), bn=((0.2, test), (0.2, test)))
    finding = CLAIMS["E1"].judge(results)
    assert finding.verdict == UNMET
    assert "nothing that a penalty could recover" in finding.summary


def test_gamma_decay_is_judged_at_the_m_that_help():
    finding = judged("E1", normalised(((0.5, 1.1), (0.9, 2.0)), bn=((0.5, 1.1), (0.3, 1.4))), HOLDS)
    assert list(finding.parts.values())[:2] == [HOLDS, UNMET]


def by_batch(*, plain, held, train=0.05):
    """Test losses at batches of 16, 64 and 256, once to convergence and once 40 steps, beside 1.4 for PN; M is held at 16."""
    kinds = []
    for steps, of_plain, of_held in zip(({}, {"steps": 40}), plain, held, strict=True):
        for batch, test, with_held in zip((16, 64, 256), of_plain, (None, *of_held), strict=True):
            at = {"batch_size": batch, "train": train, **steps}
            kinds += [{**at, "test": 1.4}, {**at, "M": batch, "test": test}]
            kinds += [] if with_held is None else [{**at, "M": 16, "test": with_held}]
    return runs(kinds)


FADES, STAYS, NEVER = (1.1, 1.2, 1.39), (1.1, 1.1, 1.1), (1.4, 1.2, 1.2)
KEPT, LOST = (1.1, 1.1), (1.2, 1.4)


@pytest.mark.parametrize(
    ("plain", "held", "train", "verdicts"),
    [
        ((FADES, FADES), (KEPT, KEPT), 0.05, [HOLDS, HOLDS, HOLDS, HOLDS]),
        ((FADES, STAYS), (LOST, LOST), 0.05, [HOLDS, NOT, NOT, NOT]),
        ((FADES, NEVER), (KEPT, LOST), 0.05, [HOLDS, UNMET, HOLDS, UNMET]),
        ((FADES, STAYS), (KEPT, LOST), 0.5, [UNMET, NOT, UNMET, NOT]),
        ((NEVER, NEVER), (KEPT, KEPT), 0.05, [UNMET] * 4),
    ],
)
def test_batch_sizes(plain, held, train, verdicts):
    results = by_batch(plain=plain, held=held, train=train)
    overall = NOT if NOT in verdicts[:2] else HOLDS if HOLDS in verdicts[:2] else UNMET
    finding = judged("E2", results, overall)
    assert list(finding.parts.values()) == verdicts
    assert finding.measured == pytest.approx(plain[0][-1] - plain[0][0], abs=0.004)
    assert len(finding.rows) == 10


def noisy(both, mean, std, none, *, neurons=((0.1, 1.0, 0.2),) * 4, wn=(1.4, 1.3, 1.3)):
    """Losses of nets with BN layers, and test losses with weight normalization alone, the mean's noise, and the other's."""
    kinds = ({"M": 8}, {"M": 8, "noise": "mean"}, {"M": 8, "noise": "std"}, {})
    losses = zip(kinds, (both, mean, std, none), neurons, strict=True)
    of_bn = [{**kind, "train": pair[0], "test": pair[1], "neurons": of} for kind, pair, of in losses]
    kinds = ({}, {"M": 8, "noise": "mean"}, {"M": 8, "noise": "std"})
    return runs(
        of_bn
        + [{**kind, "weight_norm": True, "train": 0.2, "test": test} for kind, test in zip(kinds, wn, strict=True)]
    )


BN_LAYERS = ((0.5, 1.1), (0.35, 1.25), (0.35, 1.25), (0.2, 1.4))


@pytest.mark.parametrize(
    ("wn", "verdicts"),
    [
        ((1.4, 1.3, 1.3), (HOLDS, HOLDS, HOLDS)),
        ((1.4, 1.3, 1.3992), (ROUGHLY, HOLDS, ROUGHLY)),
        ((1.4, 1.3975, 1.3992), (ROUGHLY, ROUGHLY, ROUGHLY)),
        ((1.4, 1.3, 1.4), (NOT, HOLDS, NOT)),
        ((1.4, 1.5, 1.3), (NOT, NOT, HOLDS)),
    ],
)
def test_two_noises(wn, verdicts):
    finding = judged("E3", noisy(*BN_LAYERS, wn=wn), verdicts[0])
    assert (finding.parts["WN, mean's noise"], finding.parts["WN, standard deviation's noise"]) == verdicts[1:]
    assert [row["net"] for row in finding.rows] == ["WN"] * 3 + ["BN layers"] * 7
    change = finding.rows[1]["test loss less that without noise"]
    assert change == pytest.approx(wn[1] - wn[0], abs=0.004)


@pytest.mark.parametrize(
    ("both", "mean", "std", "verdicts"),
    [
        ((0.5, 1.1), (0.35, 1.25), (0.35, 1.25), (HOLDS, HOLDS, HOLDS)),
        ((0.6, 1.1), (0.35, 1.25), (0.35, 1.25), (HOLDS, HOLDS, NOT)),
        ((0.5, 1.1), (0.35, 1.25), (0.35, 1.3999), (HOLDS, ROUGHLY, HOLDS)),
        ((0.5, 1.1), (0.35, 1.25), (0.35, 1.45), (HOLDS, NOT, HOLDS)),
        ((0.35, 1.1), (0.35, 1.25), (0.2, 1.25), (HOLDS, NOT, HOLDS)),
    ],
)
def test_two_noises_of_bn_layers(both, mean, std, verdicts):
    finding = judged("E3", noisy(both, mean, std, (0.2, 1.4)), HOLDS)
    assert tuple(finding.parts.values()) == (HOLDS, HOLDS, *verdicts)
    last = finding.rows[-1]
    assert last["noise of"] == "effect: interaction"
    assert last["train loss"] == pytest.approx(both[0] - mean[0] - std[0] + 0.2, abs=0.01)


def test_where_bn_does_not_regularise_its_noises_are_not_judged():
    finding = judged("E3", noisy((0.5, 1.4), *BN_LAYERS[1:]), "premise not met")
    assert set(finding.parts.values()) == {"premise not met"}
    assert "both (BN) +0.300 / +0.000(0.002)" in finding.summary


@pytest.mark.parametrize(
    ("neurons", "verdict"),
    [
        # (loss increase, kurtosis, correlation) with both noises, the mean's, the standard deviation's, none
        (((0.05, 0.5, 0.1), (0.05, 1.0, 0.2), (0.1, 0.5, 0.1), (0.1, 1.0, 0.2)), HOLDS),
        (((0.05, 0.5, 0.2), (0.05, 1.0, 0.2), (0.1, 0.5, 0.2), (0.1, 1.0, 0.2)), ROUGHLY),
        (((0.1, 0.5, 0.1), (0.1, 1.0, 0.2), (0.1, 0.5, 0.1), (0.1, 1.0, 0.2)), NOT),
        (((0.05, 1.0, 0.2), (0.05, 1.0, 0.2), (0.1, 1.0, 0.2), (0.1, 1.0, 0.2)), NOT),
    ],
)
def test_single_neurons(neurons, verdict):
    finding = judged("E4", noisy(*((0.2, 1.4),) * 4, neurons=neurons), verdict)
    layers = [row["layer"] for row in finding.rows]
    assert layers.count("a") == layers.count("b") == 4
    assert finding.rows[0]["accuracy without 25% of neurons"] == pytest.approx(0.4, abs=0.01)


def test_effects_are_those_of_a_two_by_two_design():
    rng = np.random.default_rng(0)
    mean, std, together = 0.3, -0.2, 0.05
    none = rng.normal(size=5)
    found = effects([none + mean + std + together, none + mean, none + std, none])
    expected = dict(zip(found, (mean + together / 2, std + together / 2, together), strict=True))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-12)


RATES = (0.5, 1.0, 2.0, 4.0, 8.0)


def rated(bn, pn, none):
    """Largest stable rates by seed, with the whole runs of BN and PN."""
    kinds = {"bn": bn, "pn": pn, "none": none}.items()
    tried = [trials(kind, seed, RATES, largest) for kind, seeds in kinds for seed, largest in enumerate(seeds)]
    return runs([{"train": 0.2, "test": 1.4, "M": 256}, {"train": 0.2, "test": 1.4}], 2, tried)


@pytest.mark.parametrize(
    ("bn", "pn", "none", "verdict"),
    [
        ((4.0, 4.0), (2.0, 2.0), (0.5, 0.5), HOLDS),
        ((4.0, 4.0), (4.0, 4.0), (0.5, 0.5), ROUGHLY),
        ((2.0, 2.0), (4.0, 4.0), (0.5, 0.5), ROUGHLY),
        ((4.0, 2.0), (2.0, 2.0), (0.5, 0.5), ROUGHLY),
        ((1.0, 1.0), (4.0, 4.0), (0.5, 0.5), NOT),
        ((4.0, 4.0), (2.0, 2.0), (2.0, 2.0), NOT),
    ],
)
def test_largest_rates(bn, pn, none, verdict):
    finding = judged("E5", rated(bn, pn, none), verdict)
    assert finding.measured == pytest.approx(np.mean(np.log2(bn)) - np.mean(np.log2(pn)))
    brackets = [row for row in finding.rows if row["what"] == "bracket"]
    assert [row["largest stable lr"] for row in brackets] == [*bn, *pn, *none]


def test_brackets_at_the_ends_of_the_grid():
    made = [trials("bn", 0, RATES, largest)[1]["trials"] for largest in (0.1, 8.0)]
    assert bracket(made[0]) == (0.0, 0.5)
    assert bracket(made[1]) == (8.0, math.inf)
    finding = judged("E5", rated((8.0, 8.0), (4.0, 4.0), (0.1, 0.1)), HOLDS)
    assert finding.measured == pytest.approx(1.0)
    brackets = [row for row in finding.rows if row["what"] == "bracket"]
    assert [row["largest stable lr"] for row in brackets] == [8.0, 8.0, 4.0, 4.0, None, None]
    assert [row["smallest diverging lr"] for row in brackets] == [None, None, 8.0, 8.0, 0.5, 0.5]


def large(plain, smaller, dropout):
    """Train and test loss at a batch of 512 after 40 steps, beside those of PN, (0.2, 1.4)."""
    batch = {"batch_size": 512, "steps": 40}
    return runs(
        [
            {**batch, "M": 512, "train": plain[0], "test": plain[1]},
            {**batch, "M": 16, "train": smaller[0], "test": smaller[1]},
            {**batch, "train": 0.2, "test": 1.4},
            {**batch, "M": 512, "dropout": 0.1, "train": dropout[0], "test": dropout[1]},
            {"batch_size": 32, "M": 32, "steps": 40, "train": 0.3, "test": 1.2},
        ]
    )


@pytest.mark.parametrize(
    ("plain", "smaller", "dropout", "verdicts"),
    [
        ((0.2, 1.39), (0.3, 1.3), (0.3, 1.3), [HOLDS, HOLDS, HOLDS]),
        ((0.2, 1.39), (0.3, 1.3), (0.3, 1.4), [HOLDS, NOT, HOLDS]),
        ((0.2, 1.3), (0.3, 1.25), (0.3, 1.2), [NOT, HOLDS, HOLDS]),
        ((0.2, 1.4), (0.3, 1.4), (0.3, 1.3), [UNMET, HOLDS, NOT]),
        ((0.2, 1.4), (0.3, 1.4), (0.3, 1.4), [UNMET, NOT, NOT]),
    ],
)
def test_large_batches(plain, smaller, dropout, verdicts):
    finding = judged("E6", large(plain, smaller, dropout), NOT if NOT in verdicts[:2] else HOLDS)
    assert list(finding.parts.values()) == verdicts
    assert finding.measured == pytest.approx(plain[1] - dropout[1], abs=0.004)
    assert [row["M"] for row in finding.rows] == [512, 16, "inf", 512, 32]


def with_dropout(wn, bn, tenth, fifth):
    """Test losses of WN, of BN over 8, and of WN with dropout of 0.1 and of 0.2."""
    kinds = [{"weight_norm": True}, {"M": 8}, *({"weight_norm": True, "dropout": rate} for rate in (0.1, 0.2))]
    return runs(
        [{**kind, "train": 0.2, "test": test} for kind, test in zip(kinds, (wn, bn, tenth, fifth), strict=True)]
    )


@pytest.mark.parametrize(
    ("tenth", "fifth", "verdicts"),
    [
        (1.2, 1.1, (HOLDS, HOLDS, HOLDS)),
        (1.2, 0.9, (HOLDS, HOLDS, HOLDS)),
        (1.2, 1.16, (HOLDS, HOLDS, ROUGHLY)),  # four fifths of the way
        (1.24, 1.3, (HOLDS, HOLDS, ROUGHLY)),
        (1.35, 1.3, (HOLDS, HOLDS, NOT)),
        (1.2, 1.3975, (HOLDS, ROUGHLY, ROUGHLY)),
        (1.5, 1.1, (NOT, HOLDS, HOLDS)),
    ],
)
def test_dropout_with_weight_norm(tenth, fifth, verdicts):
    worst = max(verdicts, key=(HOLDS, ROUGHLY, NOT).index)
    finding = judged("E9", with_dropout(1.4, 1.1, tenth, fifth), worst)
    assert tuple(finding.parts.values()) == verdicts
    assert finding.measured == pytest.approx(min(tenth, fifth), abs=0.004)
    assert finding.predicted == pytest.approx(1.1, abs=0.004)
    assert [row["net"] for row in finding.rows] == ["WN", "BN", "WN + dropout 0.1", "WN + dropout 0.2"]


def test_where_bn_is_not_below_weight_norm_there_is_nothing_to_reach():
    finding = judged("E9", with_dropout(1.4, 1.4, 1.2, 1.1), "premise not met")
    assert set(finding.parts.values()) == {"premise not met"}


def predicted(falls):
    """Nets with gaps of 1, 2, 4 and 8 over M at M = 4 and 16; falls of test loss per net and M."""
    kinds = []
    for net, gap, of_net in zip(("a", "b", "c", "d"), (1.0, 2.0, 4.0, 8.0), falls, strict=True):
        kinds.append({"net": net, "train": 0.2, "test": 2.4, "gap": gap})
        kinds += [
            {"net": net, "M": M, "train": 0.2 + gap / M, "test": 2.4 - fall}
            for M, fall in zip((4, 16), of_net, strict=True)
        ]
    return runs(kinds)


@pytest.mark.parametrize(
    ("falls", "verdict"),
    [
        (((0.25, 0.06), (0.5, 0.12), (1.0, 0.25), (2.0, 0.5)), HOLDS),
        (((1.0, 0.1), (1.02, 0.08), (1.01, 0.12), (1.03, 0.07)), ROUGHLY),  # M alone matters
        (((2.0, 1.0), (1.0, 1.0), (0.5, 1.0), (0.25, 1.0)), NOT),
    ],
)
def test_gap_as_a_predictor(falls, verdict):
    finding = judged("E7", predicted(falls), verdict)
    gaps = np.array([[gap / M for M in (4, 16)] for gap in (1.0, 2.0, 4.0, 8.0)])
    assert finding.measured == pytest.approx(np.corrcoef(gaps.ravel(), np.ravel(falls))[0, 1], abs=0.02)
    of_train = next(row for row in finding.rows if "rise of train loss, all points" in row["net"])
    assert of_train["correlation"] > 0.99


def test_correlation_without_variation_is_nan():
    assert math.isnan(correlation(np.ones(3), np.arange(3.0)))


@pytest.mark.parametrize(
    ("changes", "verdict", "parts"),
    [
        ((-0.1, 0.3, 0.05), HOLDS, (HOLDS, HOLDS, HOLDS)),
        ((-0.1, 0.3, -0.05), ROUGHLY, (HOLDS, HOLDS, NOT)),
        ((0.0, 0.3, 0.05), ROUGHLY, (NOT, HOLDS, HOLDS)),
        ((0.1, 0.3, -0.05), NOT, (NOT, HOLDS, NOT)),
        ((-0.1, -0.3, 0.05), NOT, (HOLDS, NOT, HOLDS)),
    ],
)
def test_folded(changes, verdict, parts):
    ways = {"folded": changes, "kept": (-0.02, 0.1, 0.01)}
    finding = judged("E8", Results(folded(seed, ways) for seed in range(4)), verdict)
    assert tuple(finding.parts.values()) == parts
    of_folded, of_kept, less = finding.rows
    for index, name in enumerate(("train loss", "test loss", "norms")):
        assert of_folded[f"change of {name}"] == pytest.approx(changes[index])
        assert of_kept[f"change of {name}"] == pytest.approx(ways["kept"][index])
        assert less[f"change of {name}"] == pytest.approx(changes[index] - ways["kept"][index])


@pytest.mark.parametrize(("stable", "judged_at"), [(0.1, 0.1), (0.03, 0.03), (0.001, None)])
def test_the_largest_rate_at_which_no_net_diverges_is_judged(stable, judged_at):
    ways = {"folded": (-0.1, 0.3, 0.05), "kept": (-0.02, 0.1, 0.01)}
    results = Results(
        folded(seed, ways, (0.1, 0.03, 0.01), stable if seed == 1 else 0.1)  # one seed decides
        for seed in range(4)
    )
    finding = judged("E8", results, HOLDS if judged_at else "premise not met")
    assert {row["lr"] for row in finding.rows if row["judged"] == "yes"} == ({judged_at} if judged_at else set())
    if judged_at is None:
        assert "diverges in 1 of 4 seeds" in finding.summary


def by_layer(gamma, test, population=None):
    """Two layers whose gamma^2 and test loss change by so much per doubling of M, with the others at M = 16 or PN."""
    kinds = []
    for others, slopes in ((16, (gamma, test)), ("inf", population)):
        for M in (16, 4, 8) if slopes else ():
            if others == M:
                kinds.append({"M": M, "others": others, "layer": None, "gamma": 1.0, "train": 0.2, "test": 1.4})
                continue
            for layer, (of_gamma, of_test) in enumerate(zip(*slopes, strict=True)):
                doublings = math.log2(M / 16)
                kind = {"gamma": math.sqrt(1 + doublings * of_gamma), "train": 0.2, "test": 1.4 + doublings * of_test}
                kinds.append({**kind, "M": M, "others": others, "layer": layer})
    return runs(kinds)


@pytest.mark.parametrize(
    ("gamma", "test", "verdict", "parts"),
    [
        ((0.1, 0.2), (0.1, 0.05), HOLDS, (HOLDS, HOLDS)),
        ((0.1, 0.2), (0.1, 0.0), ROUGHLY, (HOLDS, ROUGHLY)),
        ((0.1, -0.2), (0.1, 0.05), NOT, (NOT, HOLDS)),
        ((0.1, 0.2), (0.0, 0.0), NOT, (HOLDS, NOT)),
    ],
)
def test_one_layer(gamma, test, verdict, parts):
    finding = judged("D8", by_layer(gamma, test), verdict)
    assert tuple(finding.parts.values()) == parts
    slopes = finding.rows[-2:]
    assert [row["γ²"] for row in slopes] == pytest.approx(gamma, abs=0.01)
    assert [row["test loss"] for row in slopes] == pytest.approx(test, abs=0.002)


def test_layers_beside_population_layers_are_told_and_do_not_count():
    rising, falling = (0.1, 0.1), (-0.1, -0.1)
    finding = judged("D8", by_layer(rising, rising, (falling, rising)), HOLDS)
    assert tuple(finding.parts.values()) == (HOLDS, HOLDS, NOT, HOLDS)
    assert len(CLAIMS["D8"].figure(by_layer(rising, rising, (falling, rising))).data) == 8


def test_layers_to_vary_are_spread_over_the_net():
    def varied(**changes):
        jobs = CLAIMS["D8"].plan(changes={"seeds": 2, **changes})
        assert len(jobs) == len({job_key(job) for job in jobs})
        return sorted({job.config["layer"] for job in jobs if job.config["layer"] is not None}), len(jobs)

    assert varied(net="cnn") == ([0, 1, 2, 3], 2 * (4 * 2 + 1))  # all layers at the largest M are one kind of run
    assert varied(layers=2) == ([0, 4], 2 * (2 * 2 + 1))
    assert varied(net="mlp") == ([0, 1, 2], 2 * (3 * 2 + 1))
    assert varied(net="resnet20", layers=3)[0] == [0, 9, 18]
    assert varied(population=True)[1] == 2 * (4 * 2 + 1 + 4 * 3)


def test_the_layers_of_the_usual_nets_are_as_many_as_they_have():
    assert {net: count_layers(net) for net in d8_one_layer._BN_LAYERS} == d8_one_layer._BN_LAYERS


@pytest.mark.parametrize("claim", get_claims(["N1", "N2", "N3", "N4", *CLAIMS]), ids=lambda claim: claim.id)
def test_plans(claim, tmp_path):
    jobs = claim.plan()
    assert {job.config["data"] for job in jobs} == {"digits"}
    assert {job.config["seed"] for job in jobs} == set(range(3 if claim.id in ("N2", "N3", "N4") else 4))
    assert {job.config["seed"] for job in claim.plan(changes={"seeds": 2})} == {0, 1}
    with pytest.raises(UsageError, match=f"{claim.id} at scale full .*--data DIR"):
        claim.plan("full")
    with pytest.raises(DataError):
        claim.plan("quick", tmp_path)


OF_RUNS = ["N1", "N2", "N3", "N4", "D8", "E1", "E2", "E3", "E4", "E6", "E7", "E9"]


@pytest.mark.parametrize("claim", get_claims(OF_RUNS), ids=OF_RUNS)
def test_judges_find_all_runs_of_their_plans(claim, monkeypatch):
    """Runs that a judge asks for as no plan has them would be numbers over no seeds."""
    found, select = [], TrainingRuns.select

    def watched(runs, **conditions):
        selected = select(runs, **conditions)
        found.extend(job.config for job in selected)
        return selected

    monkeypatch.setattr(TrainingRuns, "select", watched)
    planned = [job.config for job in claim.plan()]
    made = []
    for kind, config in enumerate(planned):
        M, gap = config["statistics_batch_size"], len(config["net"]) / 10
        noise = 0 if M == "inf" else gap / M
        result = run(kind, config["seed"], train=0.2 + noise, test=1.4 - noise, gap=gap)[1]
        made.append((config, {**result, "gamma": 5 * [1 + noise + kind / 100]}))  # all layers of cnn-fc
    summary = claim.judge(Results(made)).summary
    assert "nan" not in summary
    assert "over 0 " not in summary
    assert [config for config in planned if config not in found] == []


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_plans_follow_the_parameters(claim):
    assert all(job.config["net"] == "mlp" for job in claim.plan(changes={"net": "mlp"}) if claim.id != "E7")
    with pytest.raises(UsageError, match=f"{claim.id}: parameter 'seeds' must be .* from 2 .*over seeds.*, got 1"):
        claim.plan(changes={"seeds": 1})
    with pytest.raises(UsageError, match=f"{claim.id} has no parameter 'nett'; did you mean 'net'"):
        claim.plan(changes={"nett": "mlp"})
    with pytest.raises(UsageError, match="larger than the 100 training images"):
        claim.plan(changes={"samples": 100})


def test_claims_share_what_they_have_in_common():
    keys = {name: {job_key(job) for job in claim.plan()} for name, claim in CLAIMS.items()}
    assert keys["E3"] > keys["E4"]
    assert len(keys["E3"] - keys["E4"]) == 12  # three kinds with weight normalization, four seeds
    in_its_net = {job_key(job) for job in CLAIMS["E1"].plan(changes={"net": "cnn-fc", "M": [8]})}
    assert len(keys["E3"] & in_its_net) == 8  # BN at M = 8 and PN, four seeds
    assert len(keys["E7"] & keys["E1"]) == 12  # PN and M = 4 and 16 in the residual net, four seeds
    assert len(keys["E9"] & keys["E3"]) == 8  # WN and BN at M = 8


def test_the_learning_rate_goes_with_the_batch():
    changes = {"batch_size": 64, "further_rates": [0.01, 0.1, 0.1]}
    assert [job.config["further_rates"] for job in CLAIMS["E8"].plan(changes=changes)] == [[0.025, 0.0025]] * 4
    for job in CLAIMS["E2"].plan():
        assert job.config["lr"] == pytest.approx(0.3 * job.config["batch_size"] / 256)
        assert job.config["batch_size"] % job.config["device_batch_size"] == 0
    plain = CLAIMS["E6"].plan()[0]
    assert plain.name == "cnn-fc-1000-steps150-batch512-M512-seed0"
    assert plain.config["device_batch_size"] == 512
    assert plain.config["lr"] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("claim", "changes", "message"),
    [
        ("E1", {"M": ["inf"]}, "'M' has no finite batch size"),
        ("E1", {"M": [1]}, "'M' must be a whole number of at least 2, or 'inf', got 1"),
        ("E1", {"penalties": ["gama-decay"]}, "there is no penalty 'gama-decay'; use one of gamma-decay, curvature"),
        ("E1", {"epochs": 0}, "'epochs' must be a whole number from 1 .*, got 0"),
        ("E1", {"lr": 0.0}, "'lr' must be a number above 0"),
        ("E2", {"batch_sizes": [64]}, "needs at least two sizes"),
        ("E3", {"M": 256}, "leaves no groups in a batch of 256"),
        ("E3", {"net": "resnet14"}, "'net', 'resnet14': .* weight normalization cannot take their place"),
        ("E3", {"wn_lr": 0.0}, "'wn_lr' must be a number above 0"),
        ("E5", {"rates": [0.5]}, "needs at least two learning rates"),
        ("E6", {"batch_size": 512}, "must be below 'large_batch', 512"),
        ("E6", {"M": 512}, "needs a size below the large batch"),
        ("E6", {"dropout": [1.0]}, "must be a number above 0 and below 1, got 1.0"),
        ("D8", {"M": [8, "inf"]}, "at least two finite sizes"),
        ("D8", {"M": [8, 512]}, "M = 512 is more than a batch of 256"),
        ("D8", {"layers": 0}, "must be a whole number from 1 "),
        ("E8", {"further_rates": [0.0]}, "must be a number above 0"),
        ("E8", {"further_epochs": 0}, "must be a whole number from 1 "),
        ("E9", {"net": "resnet"}, "E9: parameter 'net', 'resnet': .* weight normalization cannot take their place"),
        ("E9", {"dropout": [0.1, 1.5]}, "must be a number above 0 and below 1, got 1.5"),
        ("E9", {"M": 512}, "leaves no groups in a batch of 256"),
        ("E7", {"other_nets": ["cnn"]}, "at least three pairs"),
        ("E7", {"M": [8, 2000]}, "2000 images are of more than the 1000 training images"),
        ("E7", {"other_samples": [200]}, "200 training images do not fill a batch of 256"),
    ],
)
def test_parameters_that_cannot_work_are_refused(claim, changes, message):
    with pytest.raises(UsageError, match=message):
        CLAIMS[claim].plan(changes=changes)
