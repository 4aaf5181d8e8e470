"""Results found by configuration, and estimates over seeds."""

import numpy as np
import pytest
from network_results import run

from bnlens.claims import Results
from bnlens.claims._estimate import Estimate, estimate, farthest, grade, share_of_distance
from bnlens.claims._results import TrainingRuns


def test_results_are_found_by_configuration():
    results = Results([({"a": 1, "b": [2]}, {"is": "one"}), ({"a": 1}, {"is": "other"})])
    assert results.one(b=[2]) == {"is": "one"}
    assert [job.result["is"] for job in results.select(a=1)] == ["one", "other"]
    for conditions, count in (({"a": 1}, 2), ({"b": None}, 0)):
        with pytest.raises(ValueError, match=f"{count} jobs have .*, not one"):
            results.one(**conditions)


def test_runs_are_found_by_what_was_trained():
    made = [run(0, 1, train=0.1, test=0.2), run(0, 0, train=0.3, test=0.4)]
    made.append(run(0, 0, train=0.5, test=0.6, noise="mean", M=8))
    made += [run(0, seed, train=0.7, test=0.8, regulariser="curvature", M=16) for seed in range(4)]
    other = ({"normalisation": "bn", "seed": 0}, {"data": "of no run"})
    runs = TrainingRuns(Results([other, *made]))
    assert runs.data == "made up"
    assert runs.values("train_loss", M="inf") == pytest.approx([0.302, 0.098])
    assert runs.seeds(M=8) == runs.seeds(M=16) == 0
    assert runs.seeds(M=16, regulariser="curvature") == 4
    assert runs.distinct("M") == [8, 16, "inf"]
    assert runs.distinct("M", regulariser="curvature") == [16]
    with pytest.raises(ValueError, match="several runs of one seed"):
        TrainingRuns(Results([*made, made[0]])).select(M="inf")


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


@pytest.mark.parametrize(
    ("forgiven", "verdict"), [(2, "holds"), (1.5, "holds approximately"), (0.1, "does not hold here")]
)
def test_grade_forgives_standard_errors(forgiven, verdict):
    assert grade([Estimate(0.04, 0.0), Estimate(-0.16, 0.06)], forgiven=forgiven) == verdict
    worst = {"holds": (-0.06, 0.006), "holds approximately": (-0.07, 0.006), "does not hold here": (0.2, 0.02)}
    assert grade([Estimate(0.04, 0.0), Estimate(*worst[verdict])]) == verdict  # two are forgiven


def test_a_prediction_over_a_measurement_has_the_errors_of_both():
    measured = Estimate(-2.0, 0.2)
    assert measured.under(1.0) == pytest.approx((-0.5, 0.05))
    assert measured.under(Estimate(1.0, 0.3)) == pytest.approx((-0.5, (0.15**2 + 0.05**2) ** 0.5))
    assert farthest([Estimate(0.1, 9.0), Estimate(-0.2, 0.0)]) == 0.2
