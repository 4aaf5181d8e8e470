"""Learning curves as results: columns, frames, figures, and what they need to be imported."""

import subprocess
import sys

import numpy as np
import pytest

from bnlens.theory.generalization import BatchNorm, LeastSquares, ReluRidge, Ridge, learning_curve, optimal_decay

ALPHA = [0.5, 1.0, 2.0]


@pytest.mark.parametrize("estimator", [LeastSquares(0.25), Ridge(0.1, 0.25), BatchNorm(8, 0.25), ReluRidge(0.25, 0.25)])
def test_frame_holds_the_curve(estimator):
    curve = learning_curve(estimator, ALPHA)
    frame = curve.to_frame()
    assert frame.index.tolist() == ALPHA
    for name in ("error", "noisy_error", "training_error", "overlap", "norm", "cosine"):
        np.testing.assert_array_equal(frame[name], getattr(curve, name))
    np.testing.assert_allclose(curve.noisy_error, curve.error + 0.125)
    assert frame.attrs == {"title": estimator.title, "status": curve.status, "basis": curve.basis}
    assert curve.basis.endswith(".")


def test_figures_are_drawn_into_one_another():
    figure = learning_curve(LeastSquares(0.25), ALPHA).plot()
    assert learning_curve(BatchNorm(8, 0.25), ALPHA).plot(figure) is figure
    optimal_decay(Ridge(1, 0.25), ALPHA).plot(figure)
    plain, batch_norm, best = figure.data
    error = dict(zip(plain.x, plain.y, strict=True))
    assert error[1.0] is None  # a gap, not a point at infinity
    inside = [load for load in error if load > 1]
    assert len(inside) > 50
    assert [error[load] for load in inside] == pytest.approx([0.125 / (load - 1) for load in inside])
    assert (plain.line.dash, batch_norm.line.dash) == ("solid", "dash")
    assert "approximate" in batch_norm.name
    assert best.y == pytest.approx(optimal_decay(Ridge(1, 0.25), ALPHA).error)
    assert optimal_decay(Ridge(1, 0.25), ALPHA).to_frame()["decay"].tolist() == [0.25] * 3


def test_curves_need_neither_torch_nor_pandas_nor_plotly():
    code = (
        "import sys; from bnlens.theory.generalization import ReluRidge, learning_curve; "
        "learning_curve(ReluRidge(decay=0.25), [1.0]); sys.exit(not {'torch', 'pandas', 'plotly'}.isdisjoint(sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
