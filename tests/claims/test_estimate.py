from __future__ import annotations

import pytest

from bnlens.claims._estimate import Estimate, farthest, grade


def test_grade_forgives_two_standard_errors() -> None:
    assert grade([Estimate(0.04, 0.0), Estimate(-0.06, 0.006)]) == "holds"
    assert grade([Estimate(0.04, 0.0), Estimate(-0.07, 0.006)]) == "holds approximately"
    assert grade([Estimate(0.2, 0.02)]) == "does not hold here"


def test_a_prediction_over_a_measurement_has_the_errors_of_both() -> None:
    measured = Estimate(-2.0, 0.2)
    assert measured.under(1.0) == pytest.approx((-0.5, 0.05))
    assert measured.under(Estimate(1.0, 0.3)) == pytest.approx((-0.5, (0.15**2 + 0.05**2) ** 0.5))


def test_the_farthest_deviation_loses_its_sign() -> None:
    assert farthest([Estimate(0.1, 9.0), Estimate(-0.2, 0.0)]) == 0.2
